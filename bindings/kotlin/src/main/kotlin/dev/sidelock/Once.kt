package dev.sidelock

import dev.sidelock.ffi.Entered
import java.time.Instant
import java.util.concurrent.atomic.AtomicReference
import kotlinx.coroutines.CoroutineScope

/** What came of entering a once key: the turn is ours, or somebody's turn has left a result. */
public sealed class Once<out T> {
    /**
     * The turn was ours.
     *
     * @property value the turn, or what the block returned that ran in it.
     */
    public class Won<out T> internal constructor(public val value: T) : Once<T>()

    /**
     * Somebody did it.
     *
     * @property result what that turn left.
     * @property finishedAt when, by the store's clock.
     */
    public class Done internal constructor(public val result: ByteArray, public val finishedAt: Instant) : Once<Nothing>()
}

/** Where a window of a once key begins. */
public enum class Align {
    /** With the grant of the turn that succeeds. */
    ROLLING,

    /** At whole multiples of its length since 1970: a day ends at midnight UTC. */
    UTC,
}

/** The turn of a once key, until it is finished or given back; then the next who waits has it. */
public class Turn internal constructor(native: dev.sidelock.ffi.Turn, key: String, owner: String) : AutoCloseable {
    /** Null once it is over. */
    private val open = AtomicReference<dev.sidelock.ffi.Turn?>(native)

    /** The lease that it is: to be looked at, renewed, waited for. */
    public val lease: Lease = Lease(native.lease(), listOf(key), owner)

    /** Whether it was neither finished nor given back. */
    public val isOpen: Boolean get() = open.get() != null

    /**
     * It is done: nobody runs again before the window ends, and [result], at most 64 KiB, is what the others get.
     *
     * @throws LeaseLost it was not counted, somebody else may run.
     * @throws OutcomeUnknown it was counted or not.
     * @throws Conflict the turn is over.
     */
    public suspend fun finish(result: ByteArray = ByteArray(0)) {
        val turn =
            open.getAndSet(null)
                ?: throw Conflict("the turn was finished or given back; enter again", "turn_closed", lease.key)
        turn.use { native { it.finish(result, null) } }
    }

    /** Gives it back undone; returns when the next one can have it. Nothing happens if it is over. */
    public suspend fun giveBack() {
        open.getAndSet(null)?.use { lease.release() }
    }

    /** Gives it back undone, at once, without waiting until the next one can have it. */
    override fun close() {
        open.getAndSet(null)?.use { lease.close() }
    }
}

/** Runs [block] in [turn], which ends with it. */
internal suspend fun <T> inTurn(turn: Turn, losses: Losses, block: suspend CoroutineScope.(Turn) -> T): T {
    try {
        val value = guarded(turn.lease, losses) { block(turn) }
        // Not before: as long as something runs that the block started, it may still fail. A loss from here on is the answer.
        if (turn.isOpen) turn.finish()
        return value
    } catch (failure: Throwable) {
        try {
            turn.giveBack()
        } catch (_: SidelockException) {
            // What the block failed with is what is to be heard of; the turn is given back or runs out.
        }
        throw failure
    }
}

internal fun Entered.toOnce(key: String, owner: String): Once<Turn> =
    when (this) {
        is Entered.Won -> Once.Won(Turn(turn, key, owner))
        is Entered.Done -> Once.Done(result, Instant.ofEpochMilli(finishedAtMs.toLong()))
    }
