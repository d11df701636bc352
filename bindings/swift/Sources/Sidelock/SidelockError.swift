// What can go wrong.
//
// Owns the one place where native failures become errors for users. Each message says what to do.

internal import SidelockNative

#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// Whatever Sidelock says no with. The ``code`` is the same in every language and over HTTP.
///
/// ```swift
/// do {
///     try await sl.withLock("orders/42", wait: .seconds(5)) { lease in … }
/// } catch SidelockError.waitTimeout(let why) {
///     answer(503, retryAfter: why.retryAfter)
/// } catch let error as SidelockError {
///     log("\(error.code): \(error.message)")
/// }
/// ```
public enum SidelockError: Error, Sendable {
    /// Somebody else holds it, and the wait is over.
    case waitTimeout(Details)
    /// Too many wait or are held already: back off.
    case queueFull(Details)
    /// This owner waited in a circle: release what it holds and start over. `cycle`: who waits for whom, all the way round.
    case deadlock(Details, cycle: [Waiting])
    /// The lease is gone: stop what it protected.
    case leaseLost(Details, reason: LossReason)
    /// A policy of the sidecar said no; the message says why. `policy`: its name; `reasonCode`: why, as a word of its choice.
    case denied(Details, policy: String, reasonCode: String)
    /// The lease is somebody else's.
    case notHeld(Details)
    /// What is there does not fit: another version of a register (`current` is what it holds, `nil`: nothing), another limit of a
    /// semaphore (the details' `limit` is the one in force, `nil`: it is a lock), a turn that is closed, a lease that is no share.
    case conflict(Details, current: Versioned?)
    /// The register has no value, or there is no such lease.
    case notFound(Details)
    /// The request can not be right, whatever the state: correct it.
    case invalid(Details)
    /// The sidecar is there; its store is away, or it is going: try again.
    case storeUnavailable(Details)
    /// There is no sidecar to talk to; the message lists where was looked.
    case sidecarUnreachable(Details)
    /// The connection ended before the answer came: it was done or not. Look at the state before you repeat it.
    case outcomeUnknown(Details)
    /// A bug in Sidelock.
    case `internal`(Details)

    /// What every error has.
    public struct Details: Sendable, Hashable {
        /// The refusal's name in every language and over HTTP, such as `wait_timeout`; `unreachable` if nobody was there to refuse.
        public let code: String
        /// For people: what happened and what to do.
        public let message: String
        /// What was asked for; of several keys all, with commas between; empty if it was about no key.
        public let key: String
        /// The limit that it is about, if there is one: what is allowed at most, or what is in force.
        public let limit: Int?
        /// When to try again, if that is known.
        public let retryAfter: Duration?

        init(code: String, message: String, key: String = "", limit: UInt32? = nil, retryAfterMs: UInt64? = nil) {
            self.code = code
            self.message = message
            self.key = key
            self.limit = limit.map(Int.init)
            retryAfter = retryAfterMs.map { .milliseconds($0) }
        }
    }

    /// One wait of a deadlock; the owner of the next one is in its way.
    public struct Waiting: Sendable, Hashable {
        /// What is waited for.
        public let key: String
        /// How much of it: `exclusive`, `shared` or `permits`.
        public let mode: String
        /// Who waits.
        public let owner: String
        /// What its program calls itself.
        public let app: String
        /// For how long.
        public let waitingFor: Duration
        /// For how long the next owner has held the key; `nil`: it waits for the key too, further ahead.
        public let heldFor: Duration?
    }

    /// The refusal's name in every language and over HTTP, such as `wait_timeout`; `unreachable` if nobody was there to refuse.
    public var code: String { details.code }
    /// For people: what happened and what to do.
    public var message: String { details.message }
    /// What was asked for; of several keys all, with commas between; empty if it was about no key.
    public var key: String { details.key }
    /// The limit that it is about, if there is one.
    public var limit: Int? { details.limit }
    /// When to try again, if that is known.
    public var retryAfter: Duration? { details.retryAfter }

    /// What every error has.
    public var details: Details {
        switch self {
        case .waitTimeout(let details), .queueFull(let details), .storeUnavailable(let details): details
        case .deadlock(let details, _): details
        case .leaseLost(let details, _): details
        case .conflict(let details, _): details
        case .denied(let details, _, _): details
        case .notHeld(let details), .notFound(let details), .invalid(let details): details
        case .sidecarUnreachable(let details), .outcomeUnknown(let details), .internal(let details): details
        }
    }
}

extension SidelockError: LocalizedError, CustomStringConvertible {
    /// The message.
    public var errorDescription: String? { message }
    /// The message.
    public var description: String { message }
}

extension SidelockError {
    init(_ failure: SidelockNative.Failure) {
        switch failure {
        case .Busy(let kind, let code, let text, let key, let retryAfterMs, let limit):
            self.init(kind, Details(code: code, message: text, key: key, limit: limit, retryAfterMs: retryAfterMs))
        case .Deadlock(let text, let key, let cycle):
            let details = Details(code: "deadlock", message: text, key: key)
            self = .deadlock(details, cycle: cycle.map(Waiting.init))
        case .LeaseLost(let text, let key, let reason):
            self = .leaseLost(Details(code: "lease_lost", message: text, key: key), reason: LossReason(reason))
        case .Conflict(let code, let text, let key, let current, let limit):
            self = .conflict(Details(code: code, message: text, key: key, limit: limit), current: current.map(versioned))
        case .Refused(let kind, let code, let text, let key, let limit, let retryAfterMs, let denial):
            self.init(kind, Details(code: code, message: text, key: key, limit: limit, retryAfterMs: retryAfterMs), denial)
        case .Unreachable(let code, let text):
            self = .sidecarUnreachable(Details(code: code ?? "unreachable", message: text))
        case .OutcomeUnknown(let text, let key):
            self = .outcomeUnknown(Details(code: "outcome_unknown", message: text, key: key))
        case .Stopped:
            // `call` has taken it; nobody else cancels.
            self = .internal(Details(code: "internal", message: "a call was stopped that nobody stopped"))
        }
    }

    private init(_ kind: SidelockNative.Busy, _ details: Details) {
        self =
            switch kind {
            case .waitTimeout: .waitTimeout(details)
            case .queueFull: .queueFull(details)
            case .storeUnavailable: .storeUnavailable(details)
            }
    }

    private init(_ kind: SidelockNative.Refusal, _ details: Details, _ denial: SidelockNative.Denial?) {
        self =
            switch kind {
            case .denied: .denied(details, policy: denial?.policy ?? "", reasonCode: denial?.reasonCode ?? "")
            case .notHeld: .notHeld(details)
            case .notFound: .notFound(details)
            case .invalid: .invalid(details)
            case .internal: .internal(details)
            }
    }

    /// A request that no sidecar has to see.
    static func badRequest(_ message: String) -> SidelockError {
        .invalid(Details(code: "bad_request", message: message))
    }
}

extension SidelockError.Waiting {
    init(_ native: SidelockNative.CycleEdge) {
        self.init(
            key: native.key, mode: native.mode, owner: native.owner, app: native.app,
            waitingFor: .milliseconds(native.waitingForMs), heldFor: native.heldForMs.map { .milliseconds($0) })
    }
}
