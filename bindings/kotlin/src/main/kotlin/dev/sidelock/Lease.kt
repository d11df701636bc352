package dev.sidelock

import kotlin.coroutines.cancellation.CancellationException
import kotlin.time.Duration
import kotlin.time.Duration.Companion.nanoseconds
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.withContext

/**
 * A lease: what you hold. Given back by [release] or [close], at the end of the block of a `with…` function, or with its last
 * reference.
 */
public class Lease internal constructor(
    private val native: dev.sidelock.ffi.Lease,
    keys: List<String>,
    internal val owner: String,
) : AutoCloseable {
    /** What is locked; of several keys all, with commas between. */
    public val key: String = keys.joinToString()

    /** The fence token of each key; see [fence]. */
    @Volatile
    public var fences: Map<String, Long> =
        if (keys.size == 1) mapOf(key to native.fence().toLong()) else native.fences().associate { it.key to it.fence.toLong() }
        private set

    /**
     * The fence token: strictly rising per key, below 2^53. Send it along with every write to what the lock protects, and let
     * the receiver refuse a lower one than it has seen: that holds even while a process is paused beyond its lease. Of several
     * keys that of the first in the order of their bytes.
     */
    public val fence: Long get() = fences.values.first()

    /** When it ends unless extended, as told last: since the start of the machine, by `CLOCK_BOOTTIME`. */
    public val deadline: Duration get() = unlessClosed({ Duration.ZERO }) { native.deadlineNs().toLong().nanoseconds }

    /** Whether it is still yours, by a look at the clock, without asking anybody. */
    public val isValid: Boolean get() = unlessClosed({ false }) { native.isValid() }

    /** Whether the sidecar fails to extend it at the moment: it will be lost at its deadline unless that succeeds. */
    public val isAtRisk: Boolean get() = unlessClosed({ false }) { native.isAtRisk() }

    /** Suspends until it is over: why it was lost, or null if it was given back. */
    public suspend fun lost(): LossReason? = unlessClosed({ null }) { native.ended(null)?.toReason() }

    /**
     * Makes it last for [ttl] from now: for leases acquired with a ttl, which nothing else renews. Of a lease that
     * its owner entered again it moves the end of all handles.
     *
     * @throws LeaseLost it is gone.
     * @throws Invalid it was acquired without a ttl.
     */
    public suspend fun renew(ttl: Duration): Unit = unlessClosed({ throw closed() }) { native.renew(ttl.toMs("ttl"), null) }

    /**
     * Makes a share all of the key, once nobody else has one: before all who wait, and nobody comes in between. Waits for [wait]
     * at most; without that, as the client's `defaultWait` says. Until then, if it comes to nothing and if it is cancelled, the
     * share stands. Afterwards [fence] is another one.
     *
     * @throws WaitTimeout the wait is over.
     * @throws Deadlock another share is being upgraded: release this one.
     * @throws LeaseLost it is gone.
     * @throws Conflict it is no share.
     */
    public suspend fun upgrade(wait: Duration? = null): Unit =
        unlessClosed({ throw closed() }) {
            val share = native.fence()
            try {
                native.upgrade(wait.toWaitMs(), null)
            } catch (cancelled: CancellationException) {
                // Perhaps when it was granted: then it is a share again, with another fence.
                if (!native.uniffiIsDestroyed) native.undoUpgrade(share)
                throw cancelled
            } finally {
                if (!native.uniffiIsDestroyed) fences = mapOf(key to native.fence().toLong())
            }
        }

    /**
     * Lets readers in beside it: a share from now on, without anybody coming in between. The fence stays.
     *
     * @throws LeaseLost it is gone.
     * @throws Conflict it is permits.
     */
    public suspend fun downgrade(): Unit = unlessClosed({ throw closed() }) { native.downgrade(null) }

    /**
     * Gives it back; returns when others can have it. Doing it again does nothing. Cancelling does not stop it.
     *
     * @throws LeaseLost it was lost before.
     * @throws OutcomeUnknown the connection broke: it is then free when its deadline passes, at the latest.
     */
    public suspend fun release(): Unit =
        unlessClosed({}) {
            withContext(NonCancellable) { native.release() }
            native.close()
        }

    /** Gives it back at once, without waiting until others can have it and without saying whether it was lost. */
    override fun close(): Unit = native.close()

    override fun toString(): String = "Lease of $key, fence $fence, ${if (isValid) "valid" else "over"}"

    internal fun watch(losses: Losses, heard: (LossReason) -> Unit): AutoCloseable =
        unlessClosed({ throw closed() }) { losses.watch(native, heard) }

    /** For an operation that goes by it. */
    internal fun held(): dev.sidelock.ffi.Lease = if (native.uniffiIsDestroyed) throw closed() else native

    private fun closed() = LeaseLost("the lease of $key was given back before; acquire again to go on", key, LossReason.OTHER)

    private inline fun <T> unlessClosed(closed: () -> T, call: () -> T): T =
        try {
            native(call)
        } catch (failure: IllegalStateException) {
            // What the generated object says when it is used after its end; so do cancellations, by inheritance.
            if (failure is CancellationException || !native.uniffiIsDestroyed) throw failure
            closed()
        }
}
