// Who asks: one sequential actor, for the detection of deadlocks.
//
// Owns the owner of the code that runs now. Task locals are inherited by child tasks, which are other actors: two of them under
// one name would be taken for one that waits for itself. So a name stands together with the task that it is for, and only while
// the code that it was said around runs: the identity of a task means something as long as the task lives.

/// In `body`, requests of the running task are made by the owner `name`.
///
/// Owners matter for deadlocks: one that holds `a` and waits for `b`, while another holds `b` and waits for `a`, is told
/// ``SidelockError/deadlock(_:cycle:)`` instead of waiting for ever. A body of ``Sidelock/withLock(_:wait:options:_:)`` and
/// its like runs as the owner that got its lease, so locks nested in that way need nothing of this. A task that the body
/// starts is somebody else, and ``Sidelock/lock(_:wait:options:)`` outside of any body is nobody's.
///
/// Use this to join what does one thing after the other but is spread over several tasks, or to give a name to what holds
/// leases by hand: they say the same name, each around its own code. An owner waits for one thing at a time; a second
/// request meanwhile is ``SidelockError/invalid(_:)``.
///
/// - Parameters:
///   - name: 1 to 128 bytes of UTF-8.
///   - isolation: The actor that `body` runs on: the caller's.
///   - body: Runs in the running task.
public func withOwner<Result>(
    _ name: String, isolation: isolated (any Actor)? = #isolation, _ body: () async throws -> Result
) async rethrows -> Result {
    try await Owner.with(name, isolation: isolation, body)
}

/// A name, said around some code of one task.
final class Owner: Sendable {
    @TaskLocal private static var said: Owner?
    private static let numbers = Locked(0)

    private let name: String
    private let task: Int
    private let isOver = Locked(false)

    private init(_ name: String, task: Int) {
        self.name = name
        self.task = task
    }

    /// The name under which the running task asks, if it has one.
    static var name: String? {
        guard let said, said.task == runningTask, !said.isOver.with({ $0 }) else { return nil }
        return said.name
    }

    /// A name that no owner of this process has.
    static func newName() -> String {
        let number = numbers.with { number in
            number += 1
            return number
        }
        return "task#\(number)"
    }

    static func with<Result>(
        _ name: String, isolation: isolated (any Actor)? = #isolation, _ body: () async throws -> Result
    ) async rethrows -> Result {
        let owner = Owner(name, task: runningTask)
        defer { owner.isOver.with { $0 = true } }
        return try await $said.withValue(owner, operation: body, isolation: isolation)
    }

    /// An identity that no other living task has.
    private static var runningTask: Int { withUnsafeCurrentTask { $0?.hashValue ?? 0 } }
}
