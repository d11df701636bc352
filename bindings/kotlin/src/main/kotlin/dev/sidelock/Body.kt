package dev.sidelock

import java.util.concurrent.atomic.AtomicReference
import kotlin.coroutines.cancellation.CancellationException
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.isActive
import kotlinx.coroutines.job

// What runs under a lease.
//
// Owns its end: by itself, because its caller is cancelled, or because the lease is lost, which cancels the body with all that
// it started and is told as `LeaseLost`. A cancellation from outside stays one. A body is over when all that it started is.

/** Runs [block] under [lease], and gives that back. */
internal suspend fun <T> held(lease: Lease, losses: Losses, block: suspend CoroutineScope.(Lease) -> T): T {
    val outcome =
        try {
            guarded(lease, losses) { block(lease) }
        } catch (failure: Throwable) {
            lease.giveBack(failure)
            throw failure
        }
    lease.giveBack(null)
    return outcome
}

/** Runs [block] as long as [lease] is held, and no longer. */
internal suspend fun <T> guarded(lease: Lease, losses: Losses, block: suspend CoroutineScope.() -> T): T {
    val loss = AtomicReference<LeaseLost?>()
    try {
        return coroutineScope {
            goesOnAs(lease.owner)
            val body = coroutineContext.job
            val watch =
                lease.watch(losses) { reason ->
                    val lost = lossOf(lease, reason)
                    loss.set(lost)
                    body.cancel(LostMeanwhile(lost))
                }
            // What the block leaves running is part of the body.
            body.invokeOnCompletion { watch.close() }
            block()
        }
    } catch (cancelled: CancellationException) {
        val lost = loss.get()
        if (lost == null || !currentCoroutineContext().isActive) throw cancelled
        throw lost
    }
}

/** After a body: what that failed with is what is to be heard of, else whether the lease was held to the end. */
private suspend fun Lease.giveBack(failure: Throwable?) {
    try {
        release()
    } catch (_: OutcomeUnknown) {
        // It was valid while the body ran, and runs out by itself.
    } catch (_: SidecarUnreachable) {
        // So it was.
    } catch (gone: SidelockException) {
        if (failure == null) throw gone
    } finally {
        close()
    }
}

private fun lossOf(lease: Lease, reason: LossReason) =
    LeaseLost(
        "the lease of ${lease.key} is lost (${reason.code}): what it protected was stopped; acquire again to go on",
        lease.key,
        reason,
    )

private class LostMeanwhile(lost: LeaseLost) : CancellationException(lost.message) {
    init {
        initCause(lost)
    }
}
