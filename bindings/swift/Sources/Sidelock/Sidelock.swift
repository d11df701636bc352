// The client: where everything begins.
//
// Owns what can be asked for, and by which words. How it is waited for, held and given back is the business of the other files.

internal import SidelockNative

/// A client of the sidecar on this host: locks, permits, turns and registers.
///
/// ```swift
/// let sl = try Sidelock()
/// try await sl.withLock("orders/42", wait: .seconds(5)) { lease in
///     try await update(order: 42, fence: lease.fence)   // let the database refuse a lower fence than it has seen
/// }
/// ```
///
/// It connects when it is first used, and comes back by itself when the sidecar restarts. One per process is enough: all tasks
/// can share it, over one connection.
///
/// Every wait can be cancelled: cancelling the task leaves the queue and throws `CancellationError`. Whatever else goes wrong
/// is a ``SidelockError``.
public final class Sidelock: Sendable {
    let native: SidelockNative.Client
    let losses: Losses

    /// A client of the sidecar on this host. Nothing is connected yet.
    ///
    /// - Parameters:
    ///   - socket: The path of the sidecar's socket. Without this: the variable `SIDELOCK_SOCKET`, then the usual places.
    ///   - app: What this program calls itself, for people who ask who holds a lock. Without this: its executable's name.
    ///   - defaultWait: How long requests wait that do not say. Without this: without end.
    ///   - requireScope: Refuses a sidecar whose locks reach less far. Without this: what the variable
    ///     `SIDELOCK_REQUIRE_SCOPE` says.
    /// - Throws: ``SidelockError/invalid(_:)`` if `defaultWait` is no span.
    public init(
        socket: String? = nil, app: String? = nil, defaultWait: Duration? = nil, requireScope: Scope? = nil
    ) throws {
        let options = try nativeOptions(socket: socket, app: app, defaultWait: defaultWait, requireScope: requireScope)
        losses = Losses()
        native = SidelockNative.Client(options: options, listener: losses)
    }

    private init(embedded options: SidelockNative.Options) {
        losses = Losses()
        native = SidelockNative.Client.embedded(options: options, listener: losses)
    }

    /// A client with a sidecar of its own inside this process, on the memory store: for tests of your code. Its locks reach the
    /// tasks that use this client.
    ///
    /// - Parameter defaultWait: How long requests wait that do not say. Without this: without end.
    public static func embedded(defaultWait: Duration? = nil) throws -> Sidelock {
        Sidelock(embedded: try nativeOptions(defaultWait: defaultWait))
    }

    // MARK: Locks

    /// All of `key`, to be had in any of the ways of ``Lock``: the lock of that name, and the writer beside ``reader(_:options:)``.
    ///
    /// - Parameters:
    ///   - key: 1 to 512 bytes of UTF-8, `/`-separated by convention.
    ///   - options: What else a request may say.
    public func writer(_ key: String, options: LeaseOptions = .init()) -> Lock {
        Lock(self, [key], .exclusive, options)
    }

    /// A share of the lock `key`, beside other readers.
    public func reader(_ key: String, options: LeaseOptions = .init()) -> Lock {
        Lock(self, [key], .shared, options)
    }

    /// Permits of the semaphore `key`. All who use it at a time agree on its limit.
    ///
    /// - Parameters:
    ///   - key: As of a lock, which has the same names.
    ///   - limit: How many permits there are.
    ///   - permits: How many of them are asked for.
    ///   - options: What else a request may say.
    public func semaphore(_ key: String, limit: Int, permits: Int = 1, options: LeaseOptions = .init()) -> Lock {
        Lock(self, [key], .permits(permits, limit: limit), options)
    }

    /// Permits of a rate: at most `limit` in any window as long as `per`, whoever asks. A permit comes back that long after its
    /// grant, whatever becomes of its lease. A body that takes longer goes on.
    public func rate(
        _ key: String, limit: Int, per: Duration, permits: Int = 1, options: LeaseOptions = .init()
    ) -> Lock {
        Lock(self, [key], .rate(permits, limit: limit, per: per), options)
    }

    /// The locks of all these keys, all or nothing, named in any order. Nobody who asks for several keys in this way waits for
    /// another one who does for ever. As soon as one of them is lost all are.
    ///
    /// - Parameters:
    ///   - keys: In any order; the same key twice counts once.
    ///   - shared: Shares of all of them, beside other readers.
    ///   - options: What else a request may say.
    public func locks(_ keys: [String], shared: Bool = false, options: LeaseOptions = .init()) -> Lock {
        Lock(self, keys, shared ? .shared : .exclusive, options)
    }

    /// Runs `body` under the lock `key`.
    ///
    /// If the lease is lost meanwhile, `body` is cancelled, and ``SidelockError/leaseLost(_:reason:)`` is thrown. The lock is
    /// free when this returns, whatever comes of `body`, also if the task is cancelled.
    ///
    /// - Parameters:
    ///   - key: 1 to 512 bytes of UTF-8, `/`-separated by convention.
    ///   - wait: Waits so long at most; without this as long as the client's `defaultWait`; `.forever` without end.
    ///   - options: What else a request may say.
    ///   - body: Runs in a task of its own while this one waits for it, as the same owner (see ``withOwner(_:isolation:_:)``).
    public func withLock<Result: Sendable>(
        _ key: String, wait: Duration? = nil, options: LeaseOptions = .init(),
        _ body: @escaping @Sendable (Lease) async throws -> Result
    ) async throws -> Result {
        try await writer(key, options: options).withLease(wait: wait, body)
    }

    /// Runs `body` under the lock `key` if it is free, or becomes free within `wait`; else `nil`. See ``withLock(_:wait:options:_:)``.
    public func tryLock<Result: Sendable>(
        _ key: String, wait: Duration = .zero, options: LeaseOptions = .init(),
        _ body: @escaping @Sendable (Lease) async throws -> Result
    ) async throws -> Result? {
        try await writer(key, options: options).tryAcquire(wait: wait, body)
    }

    /// The lock `key`, to be released by hand. Given back also when nobody refers to the lease any more, which may be before
    /// the end of the function that has it in a variable: ``withLock(_:wait:options:_:)`` has no such trap.
    public func lock(_ key: String, wait: Duration? = nil, options: LeaseOptions = .init()) async throws -> Lease {
        try await writer(key, options: options).acquire(wait: wait)
    }

    /// The lock `key` if it is free, or becomes free within `wait`; else `nil`. See ``lock(_:wait:options:)``.
    public func tryLock(
        _ key: String, wait: Duration = .zero, options: LeaseOptions = .init()
    ) async throws -> Lease? {
        try await writer(key, options: options).tryAcquire(wait: wait)
    }

    /// Runs `body` as a reader of `key`, beside other readers. See ``withLock(_:wait:options:_:)``.
    public func withReadLock<Result: Sendable>(
        _ key: String, wait: Duration? = nil, options: LeaseOptions = .init(),
        _ body: @escaping @Sendable (Lease) async throws -> Result
    ) async throws -> Result {
        try await reader(key, options: options).withLease(wait: wait, body)
    }

    /// Runs `body` as the writer of `key`, alone: the same as ``withLock(_:wait:options:_:)``, and named beside
    /// ``withReadLock(_:wait:options:_:)``.
    public func withWriteLock<Result: Sendable>(
        _ key: String, wait: Duration? = nil, options: LeaseOptions = .init(),
        _ body: @escaping @Sendable (Lease) async throws -> Result
    ) async throws -> Result {
        try await writer(key, options: options).withLease(wait: wait, body)
    }

    /// Runs `body` under the locks of all these keys, all or nothing. See ``locks(_:shared:options:)``.
    public func withLocks<Result: Sendable>(
        _ keys: [String], wait: Duration? = nil, options: LeaseOptions = .init(),
        _ body: @escaping @Sendable (Lease) async throws -> Result
    ) async throws -> Result {
        try await locks(keys, options: options).withLease(wait: wait, body)
    }

    /// Runs `body` with permits of the semaphore `key`, of which it has `limit`. See ``semaphore(_:limit:permits:options:)``.
    public func withPermit<Result: Sendable>(
        _ key: String, limit: Int, permits: Int = 1, wait: Duration? = nil, options: LeaseOptions = .init(),
        _ body: @escaping @Sendable () async throws -> Result
    ) async throws -> Result {
        let semaphore = semaphore(key, limit: limit, permits: permits, options: options)
        return try await semaphore.withLease(wait: wait) { _ in try await body() }
    }

    /// Runs `body` as soon as the rate `key` has permits for it: at most `limit` in any window as long as `per`. See
    /// ``rate(_:limit:per:permits:options:)``.
    public func withRate<Result: Sendable>(
        _ key: String, limit: Int, per: Duration, permits: Int = 1, wait: Duration? = nil,
        options: LeaseOptions = .init(), _ body: @escaping @Sendable () async throws -> Result
    ) async throws -> Result {
        let rate = rate(key, limit: limit, per: per, permits: permits, options: options)
        return try await rate.withLease(wait: wait) { _ in try await body() }
    }

    // MARK: Registers, and who is there

    /// The register `key`: a value of up to 64 KiB with a version, in a name space of its own.
    public func register(_ key: String) -> Register {
        Register(native.register(key: key))
    }

    /// The election of who leads `name`.
    public func leader(_ name: String) -> Leader {
        Leader(self, name)
    }

    /// Who has `key` now, a hundred at most; nobody: it is free. Disturbs nobody.
    public func holders(_ key: String) async throws -> [Holder] {
        let native = native
        return try await call { try await native.holders(key: key, cancel: $0) }.map(Holder.init)
    }

    /// Ends it at once: its leases are lost, which cancels the bodies that run under them, and whatever waits or is asked from now on
    /// is ``SidelockError/invalid(_:)``. Doing it again does nothing. A client that nobody refers to any more is closed by itself.
    public func close() { native.close() }

    /// What the sidecar says of itself; connects if need be. `nil` while the connection is broken.
    public func sidecar() async throws -> Sidecar? {
        let native = native
        return try await call { try await native.connect(cancel: $0) }.map(Sidecar.init)
    }
}

private func nativeOptions(
    socket: String? = nil, app: String? = nil, defaultWait: Duration?, requireScope: Scope? = nil
) throws -> SidelockNative.Options {
    SidelockNative.Options(
        socket: socket, app: app, defaultWaitMs: try defaultWait.map { try milliseconds($0, of: "defaultWait") },
        requireScope: requireScope?.native)
}
