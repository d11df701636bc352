// Native calls, of Swift tasks.
//
// Owns what a cancelled task means for them, and their errors.

internal import SidelockNative

/// What a native operation returns, or throws for users. A task that is cancelled does not reach Rust by itself: the token
/// does. A wait then leaves its queue, and a lease that was granted in that moment is given back.
func call<Result: Sendable>(
    _ operation: @Sendable (SidelockNative.Cancel) async throws -> Result
) async throws -> Result {
    let cancel = SidelockNative.Cancel()
    do {
        return try await withTaskCancellationHandler {
            try await operation(cancel)
        } onCancel: {
            cancel.cancel()
        }
    } catch SidelockNative.Failure.Stopped {
        throw CancellationError()
    } catch let failure as SidelockNative.Failure {
        throw SidelockError(failure)
    }
}

/// The same for what goes on when its task is cancelled: giving something back.
func shielded(_ operation: @Sendable () async throws -> Void) async throws {
    do {
        try await operation()
    } catch let failure as SidelockNative.Failure {
        throw SidelockError(failure)
    }
}
