// What can be said about a request, and what is told of locks and sidecars.

internal import SidelockNative

/// What a request may say beyond what it is for and how long it waits.
public struct LeaseOptions: Sendable, Hashable {
    /// Loses the lease so long after its grant, or its last ``Lease/renew(_:)``. Without this the connection keeps it alive.
    public var ttl: Duration?
    /// Loses the lease so long after its grant, whatever keeps it alive.
    public var maxHold: Duration?
    /// Ahead of waiters at the same sidecar with a lower one, -100 to 100; a waiter gains one a second.
    public var priority: Int
    /// If the owner holds the key already, gets one more handle of that lease at once, instead of
    /// ``SidelockError/deadlock(_:cycle:)``. See ``withOwner(_:isolation:_:)``.
    public var reentrant: Bool

    /// Options that say only this; the rest is as if none were said.
    public init(ttl: Duration? = nil, maxHold: Duration? = nil, priority: Int = 0, reentrant: Bool = false) {
        self.ttl = ttl
        self.maxHold = maxHold
        self.priority = priority
        self.reentrant = reentrant
    }
}

/// How far locks reach.
public enum Scope: String, Sendable, CaseIterable {
    /// This process: the embedded sidecar.
    case process
    /// This host: a sidecar on its memory store.
    case host
    /// All sidecars that share a Redis.
    case fleet
}

/// What holds through a loss of the store's data.
public enum Guarantee: String, Sendable, CaseIterable {
    /// Nothing to lose: the store lives and dies with the sidecar.
    case local
    /// Leases of before and after may overlap for as long as a lease lasts; fences stay ordered.
    case bounded
    /// No grant until every lease of before has run out.
    case strict
}

/// What a sidecar says of itself.
public struct Sidecar: Sendable, Hashable {
    /// How far its locks reach.
    public let scope: Scope
    /// What holds through a loss of the store's data.
    public let guarantee: Guarantee
    /// The part of the store that it works in.
    public let namespace: String
}

/// One of those who have a key.
public struct Holder: Sendable, Hashable {
    /// How much of the key: `exclusive`, `shared` or `permits`.
    public let mode: String
    /// It is a lease of the sidecar that this client talks to.
    public let isLocal: Bool
    /// Its sidecar said whose it is. If not, because it is stopped or busy, no more is known than that it has the key.
    public let isKnown: Bool
    /// What the program with the lease calls itself; empty if that is not known.
    public let app: String
    /// The user id of that program, if that is known.
    public let uid: UInt32?
    /// The owner that asked for it, if one was named and is known.
    public let owner: String?
    /// The lease's fence token, if it is known. What is only reserved for a request for several keys has none yet.
    public let fence: UInt64?
    /// Since its grant, if that is known.
    public let heldFor: Duration?
    /// Until it ends, unless it is extended before.
    public let expiresIn: Duration
}

/// Why a lease was lost. Its raw value is the name that all languages and protocols have for it.
public enum LossReason: String, Sendable, CaseIterable {
    /// Its ttl passed without a renewal.
    case expired
    /// Its `maxHold` passed.
    case maxHold = "max_hold"
    /// The store did not confirm it in time, or no longer knows it.
    case store
    /// Its connection gave no sign of life in time, was cut off, or belongs to another process.
    case session
    /// An operator took it.
    case forced
    /// The sidecar that granted it is no more.
    case sidecarRestarted = "sidecar_restarted"
    /// A reason that this version does not know.
    case other
}

extension LossReason {
    init(_ native: SidelockNative.LossReason) {
        self =
            switch native {
            case .expired: .expired
            case .maxHold: .maxHold
            case .store: .store
            case .session: .session
            case .forced: .forced
            case .sidecarRestarted: .sidecarRestarted
            case .other: .other
            }
    }
}

extension Scope {
    var native: SidelockNative.Scope {
        switch self {
        case .process: .process
        case .host: .host
        case .fleet: .fleet
        }
    }

    init(_ native: SidelockNative.Scope) {
        self =
            switch native {
            case .process: .process
            case .host: .host
            case .fleet: .fleet
            }
    }
}

extension Guarantee {
    init(_ native: SidelockNative.Guarantee) {
        self =
            switch native {
            case .local: .local
            case .bounded: .bounded
            case .strict: .strict
            }
    }
}

extension Sidecar {
    init(_ native: SidelockNative.Sidecar) {
        self.init(
            scope: Scope(native.scope), guarantee: Guarantee(native.guarantee), namespace: native.namespace)
    }
}

extension Holder {
    init(_ native: SidelockNative.Holder) {
        self.init(
            mode: native.mode, isLocal: native.local, isKnown: native.known, app: native.app, uid: native.uid,
            owner: native.owner, fence: native.fence,
            heldFor: native.heldForMs.map { .milliseconds($0) }, expiresIn: .milliseconds(native.expiresInMs))
    }
}
