// Registers: small values with versions. Stateless, like locks.

internal import SidelockNative

#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// What a register holds: the bytes, and their version, which no other value of the register ever has.
public typealias Versioned = (value: Data, etag: String)

func versioned(_ native: SidelockNative.Value) -> Versioned { (native.value, native.etag) }

/// A small value with a version. Made by ``Sidelock/register(_:)``.
///
/// The lock of the same name protects it if its users want that: with `lease:`, an operation happens only under that live
/// exclusive lease, and no earlier holder's write gets in after it.
public struct Register: Sendable {
    private let native: SidelockNative.Register

    init(_ native: SidelockNative.Register) { self.native = native }

    /// When a write happens.
    public enum Condition: Sendable, Hashable {
        /// In any case.
        case always
        /// Only if there is no value.
        case ifAbsent
        /// Only if there is one.
        case ifPresent
        /// Only if this version is there.
        case ifMatch(String)
    }

    /// Its value and version.
    ///
    /// - Throws: ``SidelockError/notFound(_:)`` if it has none.
    public func get(lease: Lease? = nil) async throws -> Versioned {
        let native = native
        return versioned(try await call { try await native.get(lease: lease?.native, cancel: $0) })
    }

    /// Gives it another value, at most 64 KiB; returns the version of that.
    ///
    /// - Throws: ``SidelockError/conflict(_:current:)`` if it is not as the condition says.
    ///   ``SidelockError/outcomeUnknown(_:)``: it may have happened; read before you repeat it.
    @discardableResult
    public func put(_ value: Data, _ condition: Condition = .always, lease: Lease? = nil) async throws -> String {
        let native = native
        return try await call {
            try await native.put(value: value, condition: condition.native, lease: lease?.native, cancel: $0)
        }
    }

    /// Takes its value away.
    ///
    /// - Parameters:
    ///   - ifMatch: Only if this version is there.
    ///   - lease: Only under this lease; see ``Register``.
    /// - Throws: ``SidelockError/notFound(_:)`` if it has none, ``SidelockError/conflict(_:current:)`` if it is another version.
    public func delete(ifMatch: String? = nil, lease: Lease? = nil) async throws {
        let native = native
        try await call { try await native.delete(ifMatch: ifMatch, lease: lease?.native, cancel: $0) }
    }

    /// Its value now, or the first that is not the version `after`; and then each time that it is another one.
    ///
    /// ```swift
    /// for try await value in sl.register("config").watch() { … }
    /// ```
    public func watch(after: String? = nil) -> Changes { Changes(native, after: after) }

    /// A register's changes, one after the other; each iterator hears of all. `nil`: it has no value now. Values in between may be
    /// missed, the last one never. It has no end; cancel the task that iterates.
    public struct Changes: AsyncSequence, Sendable {
        /// A value with its version, or none.
        public typealias Element = Versioned?

        private let native: SidelockNative.Register
        private let after: String?

        init(_ native: SidelockNative.Register, after: String?) {
            self.native = native
            self.after = after
        }

        /// Begins to watch.
        public func makeAsyncIterator() -> Iterator { Iterator(native.watch(after: after)) }

        /// A look at it that goes on.
        public struct Iterator: AsyncIteratorProtocol {
            private let native: SidelockNative.Watch

            init(_ native: SidelockNative.Watch) { self.native = native }

            /// Waits for the next change.
            public mutating func next() async throws -> Versioned?? {
                let native = native
                let value = try await call { try await native.next(cancel: $0) }
                return .some(value.map(versioned))
            }
        }
    }
}

extension Register.Condition {
    fileprivate var native: SidelockNative.Condition {
        switch self {
        case .always: .always
        case .ifAbsent: .ifAbsent
        case .ifPresent: .ifPresent
        case .ifMatch(let etag): .ifMatch(etag: etag)
        }
    }
}
