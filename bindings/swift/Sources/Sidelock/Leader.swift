// Leader election: a lease by another name.
//
// Owns the words. Whoever has the lock `leader/NAME` leads, in every language and for `sidelock run --leader`.

internal import SidelockNative

/// An election in which this program may stand. Made by ``Sidelock/leader(_:)``; it has no state.
///
/// Being the leader is a lease: its ``Lease/fence`` is the term, which rises with every leader of this name. Give it along with
/// whatever is ordered, and let nobody obey a lower one than it has seen.
public struct Leader: Sendable {
    private let client: Sidelock
    private let native: SidelockNative.Leader
    private let key: String

    init(_ client: Sidelock, _ name: String) {
        self.client = client
        native = client.native.leader(name: name)
        key = "leader/\(name)"
    }

    /// Waits to be elected, in the order of arrival, and runs `body` as the leader. If the leadership is lost, `body` is cancelled,
    /// and ``SidelockError/leaseLost(_:reason:)`` is thrown; somebody else may lead then. When this returns it is resigned.
    ///
    /// - Parameters:
    ///   - wait: Campaigns for so long at most; without this as long as the client's `defaultWait`.
    ///   - maxTerm: Leads for so long at most, so that the turn goes round.
    ///   - body: Is given the leadership, whose fence is the term.
    public func lead<Result: Sendable>(
        wait: Duration? = nil, maxTerm: Duration? = nil, _ body: @escaping @Sendable (Lease) async throws -> Result
    ) async throws -> Result {
        let owner = Owner.name ?? Owner.newName()
        return try await campaign(wait, maxTerm, owner: owner).guarding(owner, body)
    }

    /// Waits to be elected; the leadership, to be resigned by its release. See ``lead(wait:maxTerm:_:)``.
    public func campaign(wait: Duration? = nil, maxTerm: Duration? = nil) async throws -> Lease {
        try await campaign(wait, maxTerm, owner: Owner.name)
    }

    /// Leads if nobody else does, or stops within `wait`; else `nil`.
    public func tryCampaign(wait: Duration = .zero, maxTerm: Duration? = nil) async throws -> Lease? {
        try await unlessBusy { try await campaign(wait: wait, maxTerm: maxTerm) }
    }

    /// Who leads now; `nil`: nobody. A leader at another sidecar may be known by no more than that.
    public func current() async throws -> Holder? {
        let observer = native.observe()
        return try await call { try await observer.current(cancel: $0) }.map(Holder.init)
    }

    /// Who leads now, and then each time that it is another leader, another term or nobody (`nil`). It looks once a second, so a
    /// term between two looks is not seen. It has no end; cancel the task that iterates.
    public var changes: Changes { Changes(native) }

    private func campaign(_ wait: Duration?, _ maxTerm: Duration?, owner: String?) async throws -> Lease {
        let candidacy = SidelockNative.Candidacy(
            waitMs: try waitMilliseconds(wait), maxTermMs: try maxTerm.map { try milliseconds($0, of: "maxTerm") },
            owner: owner)
        let native = native
        return Lease(try await call { try await native.campaign(candidacy: candidacy, cancel: $0) }, key, client.losses)
    }

    /// The leaders of an election, one after the other; each iterator hears of them on its own.
    public struct Changes: AsyncSequence, Sendable {
        /// Who leads, or nobody.
        public typealias Element = Holder?

        private let native: SidelockNative.Leader

        init(_ native: SidelockNative.Leader) { self.native = native }

        /// Begins to look on.
        public func makeAsyncIterator() -> Iterator { Iterator(native.observe()) }

        /// A look at it that goes on.
        public struct Iterator: AsyncIteratorProtocol {
            private let native: SidelockNative.Observer

            init(_ native: SidelockNative.Observer) { self.native = native }

            /// Waits for the next change.
            public mutating func next() async throws -> Holder?? {
                let native = native
                let holder = try await call { try await native.changed(cancel: $0) }
                return .some(holder.map(Holder.init))
            }
        }
    }
}
