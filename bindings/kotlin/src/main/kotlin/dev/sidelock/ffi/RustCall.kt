package dev.sidelock.ffi

import kotlin.coroutines.ContinuationInterceptor
import kotlin.coroutines.coroutineContext
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.suspendCancellableCoroutine
import kotlinx.coroutines.withContext

// What `generate` puts in the place of the generated function of this name.
//
// Owns what becomes of a result that was ready when its coroutine was cancelled. The generated function frees the Rust future,
// which has let go of the result by then: nobody would have it, and a lease would be held until the program ends.

internal suspend fun <T, F, E : Exception> uniffiRustCallAsync(
    rustFuture: Long,
    pollFunc: (Long, UniffiRustFutureContinuationCallback, Long) -> Unit,
    completeFunc: (Long, UniffiRustCallStatus) -> F,
    freeFunc: (Long) -> Unit,
    liftFunc: (F) -> T,
    errorHandler: UniffiRustCallStatusErrorHandler<E>,
): T {
    var isReady = false
    try {
        while (!isReady) {
            val polled =
                suspendCancellableCoroutine { continuation ->
                    pollFunc(rustFuture, uniffiRustFutureContinuationCallbackImpl, uniffiContinuationHandleMap.insert(continuation))
                }
            isReady = polled == UNIFFI_RUST_FUTURE_POLL_READY
            if (!isReady) leaveTheWakingThread()
        }
        return liftFunc(uniffiRustCallWithError(errorHandler) { status -> completeFunc(rustFuture, status) })
    } finally {
        if (!isReady) discard(rustFuture, completeFunc, liftFunc, errorHandler)
        freeFunc(rustFuture)
    }
}

/**
 * A coroutine that nobody dispatches goes on where it was woken: on the thread that reads answers and sends signs of life for
 * this process. Whatever it does there, all leases would wait for.
 */
private suspend fun leaveTheWakingThread() {
    val dispatcher = coroutineContext[ContinuationInterceptor]
    if (dispatcher != null && dispatcher !== Dispatchers.Unconfined) return
    val here = Thread.currentThread()
    // What is over before we have suspended for it does not move us.
    while (Thread.currentThread() === here) withContext(Dispatchers.Default) {}
}

/** Ends a future that is not waited for any more, with what may have come of it meanwhile. */
private fun <T, F, E : Exception> discard(
    rustFuture: Long,
    completeFunc: (Long, UniffiRustCallStatus) -> F,
    liftFunc: (F) -> T,
    errorHandler: UniffiRustCallStatusErrorHandler<E>,
) {
    val status = UniffiRustCallStatus()
    val outcome = completeFunc(rustFuture, status)
    when {
        status.isSuccess() -> Disposable.destroy(liftFunc(outcome))
        // Takes over its memory.
        status.isError() -> errorHandler.lift(status.error_buf)
        // Not ready, which is how most end.
        else -> Unit
    }
}
