// Orders and answers as lines, which `bindings/cases/README.md` describes.
//
// Owns the lines, and nothing of waiting.

import Foundation
import Sidelock

/// A line that was read.
struct Order: Sendable {
    let actor: String
    let verb: String
    private let number: String
    private let fields: [String: String]

    init(_ line: String) {
        let words = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        (number, actor, verb) = (words[0], words[1], words[2])
        let pairs = words[3...].map { word in
            let at = word.firstIndex(of: "=")!
            return (String(word[..<at]), String(word[word.index(after: at)...]))
        }
        fields = Dictionary(uniqueKeysWithValues: pairs)
    }

    func has(_ name: String) -> Bool { fields[name] != nil }
    func maybe(_ name: String) -> String? { fields[name].map { $0.removingPercentEncoding! } }
    func text(_ name: String) -> String { maybe(name)! }
    func texts(_ name: String) -> [String] {
        fields[name]!.split(separator: ",", omittingEmptySubsequences: false).map { $0.removingPercentEncoding! }
    }
    func int(_ name: String) -> Int? { fields[name].map { Int($0)! } }
    func span(_ name: String) -> Duration? { int(name).map { .milliseconds($0) } }

    /// The answer, whole: the driver reads lines.
    func say(_ word: String, _ said: [(String, [String]?)] = []) {
        let written = said.compactMap { name, values in
            values.map { " \(name)=" + $0.map(encoded).joined(separator: ",") }
        }
        FileHandle.standardOutput.write(Data("\(number) \(word)\(written.joined())\n".utf8))
    }
}

/// What would be read as something else is `%`, comma, equals sign, blank and whatever ends a line.
private let plain = CharacterSet(
    charactersIn: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/:;@&?'\"!$()*~`<>[]{}|^\\-_.#")

private func encoded(_ text: String) -> String { text.addingPercentEncoding(withAllowedCharacters: plain)! }

extension Order {
    var options: LeaseOptions {
        LeaseOptions(
            ttl: span("ttl"), maxHold: span("max_hold"), priority: int("priority") ?? 0, reentrant: has("reentrant"))
    }

    /// What `acquire`, `try`, `run` and those of several keys ask for.
    func lock(of client: Sidelock) -> Lock {
        if has("keys") { return client.locks(texts("keys"), shared: has("shared"), options: options) }
        let key = text("key")
        if let limit = int("limit") {
            let permits = int("permits") ?? 1
            if let per = span("per") {
                return client.rate(key, limit: limit, per: per, permits: permits, options: options)
            }
            return client.semaphore(key, limit: limit, permits: permits, options: options)
        }
        return has("shared") ? client.reader(key, options: options) : client.writer(key, options: options)
    }

    var align: Align { maybe("align") == "utc" ? .utc : .rolling }

    var condition: Register.Condition {
        if let etag = maybe("if_match") { return .ifMatch(etag) }
        return has("if_absent") ? .ifAbsent : .always
    }

    func say(lease: Lease) {
        let fences = lease.fences.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
        say("lease", [("keys", has("keys") ? fences.map(\.key) : nil), ("fence", fences.map { "\($0.value)" })])
    }

    func say(value: Versioned?) {
        guard let value else { return say("absent") }
        say("value", [("value", [String(decoding: value.value, as: UTF8.self)]), ("etag", [value.etag])])
    }

    /// All that a program can decide on.
    func say(error: SidelockError) {
        let name = Mirror(reflecting: error).children.first!.label!
        var said: [(String, [String]?)] = [
            ("kind", [name.prefix(1).uppercased() + name.dropFirst()]),
            ("code", [error.code]),
            ("message", [error.message]),
        ]
        if let after = error.retryAfter { said.append(("retry_after", ["\(Int(after / .milliseconds(1)))"])) }
        if let limit = error.limit { said.append(("limit", ["\(limit)"])) }
        switch error {
        case .leaseLost(_, let reason):
            said.append(("reason", [reason.rawValue]))
        case .conflict(_, let current?):
            said += [("current", [String(decoding: current.value, as: UTF8.self)]), ("etag", [current.etag])]
        case .denied(_, let policy, let reasonCode):
            said += [("policy", [policy]), ("reason_code", [reasonCode])]
        case .deadlock(_, let cycle):
            said += [("cycle_owners", cycle.map(\.owner)), ("cycle_keys", cycle.map(\.key))]
        default: break
        }
        say("error", said)
    }
}
