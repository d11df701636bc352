// Spans of time: what users write, and what travels.
//
// Owns the conversion. Users say a `Duration`; the sidecar counts whole milliseconds.

extension Duration {
    /// A wait without end.
    public static var forever: Duration { .seconds(Int64.max) }
}

/// The longest span that is sent: 285 000 years.
private let longestSeconds: Int64 = (1 << 53) / 1000
private let foreverMilliseconds = UInt64.max

/// A span in whole milliseconds, rounded up so that something does not become nothing. `name` is for the error.
func milliseconds(_ span: Duration, of name: String) throws -> UInt64 {
    if span < .zero {
        throw SidelockError.badRequest("\(name) is \(span); it has to be 0 or longer")
    }
    let (seconds, attoseconds) = span.components
    if seconds >= longestSeconds { return UInt64(longestSeconds) * 1000 }
    let (whole, rest) = attoseconds.quotientAndRemainder(dividingBy: 1_000_000_000_000_000)
    return UInt64(seconds) * 1000 + UInt64(whole) + (rest > 0 ? 1 : 0)
}

/// A wait: `nil` is the client's default.
func waitMilliseconds(_ wait: Duration?) throws -> UInt64? {
    guard let wait else { return nil }
    return wait == .forever ? foreverMilliseconds : try milliseconds(wait, of: "wait")
}
