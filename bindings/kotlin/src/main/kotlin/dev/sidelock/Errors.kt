package dev.sidelock

import dev.sidelock.ffi.BusyKind
import dev.sidelock.ffi.Failure
import dev.sidelock.ffi.InternalException
import dev.sidelock.ffi.Refusal
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds

// What can go wrong, as Kotlin exceptions.
//
// Owns the classes, and the one place where the native failures become them. Texts are the Rust SDK's: they say what to do.

/**
 * Whatever Sidelock says no with. The message says what to do.
 *
 * @property code its name in every language and in HTTP, such as `wait_timeout`.
 */
public sealed class SidelockException(message: String, public val code: String, cause: Throwable? = null) :
    Exception(message, cause)

/**
 * A lock could not be had, or is no longer held.
 *
 * @property key what was asked for; of several keys all, with commas between.
 */
public sealed class LockException(message: String, code: String, public val key: String) :
    SidelockException(message, code)

/**
 * Somebody else holds it, and the wait is over.
 *
 * @property retryAfter until it may be had, if that is known.
 */
public class WaitTimeout internal constructor(message: String, code: String, key: String, public val retryAfter: Duration?) :
    LockException(message, code, key)

/**
 * Too many wait or are held already: back off.
 *
 * @property retryAfter for so long, if that is known.
 * @property limit how many may, if it is about a number.
 */
public class QueueFull internal constructor(
    message: String,
    code: String,
    key: String,
    public val retryAfter: Duration?,
    public val limit: Int?,
) : LockException(message, code, key)

/**
 * A policy of the sidecar said no; the message says why.
 *
 * @property policy its name.
 * @property reasonCode why, as a word of its choice.
 * @property retryAfter when it may say yes, if it knows.
 */
public class Denied internal constructor(
    message: String,
    code: String,
    key: String,
    public val policy: String,
    public val reasonCode: String,
    public val retryAfter: Duration?,
) : LockException(message, code, key)

/**
 * This owner waited in a circle: release what it holds and start over.
 *
 * @property cycle who waits for whom, all the way round; the refused request is the first.
 */
public class Deadlock internal constructor(message: String, key: String, public val cycle: List<Waiting>) :
    LockException(message, "deadlock", key)

/**
 * The lease is gone: stop what it protected.
 *
 * @property reason why.
 */
public class LeaseLost internal constructor(message: String, key: String, public val reason: LossReason) :
    LockException(message, "lease_lost", key)

/** The lease is somebody else's. */
public class NotHeld internal constructor(message: String, code: String, key: String) : LockException(message, code, key)

/**
 * What is there does not fit: another version of a register, another limit of a semaphore, a turn that is closed.
 *
 * @property key what was asked for.
 * @property current what the register holds, if a write's condition failed on it; null: nothing.
 * @property limit the one in force, if it is about the limit of a semaphore; null: it is a lock.
 */
public class Conflict internal constructor(
    message: String,
    code: String,
    public val key: String,
    public val current: Versioned? = null,
    public val limit: Int? = null,
) : SidelockException(message, code)

/** The register has no value, or there is no such lease. */
public class NotFound internal constructor(message: String, code: String) : SidelockException(message, code)

/**
 * The request can not be right, whatever the state: correct it.
 *
 * @property limit the one that was exceeded, if it is about one.
 */
public class Invalid internal constructor(message: String, code: String = "bad_request", public val limit: Int? = null) :
    SidelockException(message, code)

/**
 * The sidecar is there; its store is away, or it is going.
 *
 * @property retryAfter when to try again, if that is known.
 */
public class StoreUnavailable internal constructor(message: String, code: String, public val retryAfter: Duration?) :
    SidelockException(message, code)

/**
 * There is no sidecar to talk to; the message lists where was looked. Its [code] is `unreachable`, or the reason that a
 * sidecar gave that refused.
 */
public class SidecarUnreachable internal constructor(message: String, code: String) : SidelockException(message, code)

/** The connection ended before the answer came: it was done or not. Look at the state before you repeat it. */
public class OutcomeUnknown internal constructor(message: String) : SidelockException(message, "outcome_unknown")

/** A bug in Sidelock. */
public class Internal internal constructor(message: String, code: String, cause: Throwable? = null) :
    SidelockException(message, code, cause)

/** Why a lease was lost. */
public enum class LossReason {
    /** Its ttl passed without a renewal. */
    EXPIRED,

    /** Its `maxHold` passed. */
    MAX_HOLD,

    /** The store did not confirm it in time, or no longer knows it. */
    STORE,

    /** Its session gave no sign of life in time, or was cut off. */
    SESSION,

    /** An operator took it. */
    FORCED,

    /** The sidecar that granted it is no more. */
    SIDECAR_RESTARTED,

    /** A reason that this version does not know. */
    OTHER,
    ;

    /** Its name in every language and protocol, such as `max_hold`. */
    public val code: String get() = name.lowercase()
}

/**
 * One wait of a deadlock; the owner of the next one is in its way.
 *
 * @property key what is waited for.
 * @property mode how much of it.
 * @property owner who waits.
 * @property app what its program calls itself.
 * @property waitingFor for how long.
 * @property heldFor for how long the next owner has held the key; null: it waits for the key too, further ahead.
 */
public class Waiting internal constructor(
    public val key: String,
    public val mode: Mode,
    public val owner: String,
    public val app: String,
    public val waitingFor: Duration,
    public val heldFor: Duration?,
) {
    override fun toString(): String = "$owner waits for $key"
}

/** Runs a native call, whose failures become what users see. */
internal inline fun <T> native(call: () -> T): T =
    try {
        call()
    } catch (failure: Failure) {
        throw failure.toException()
    } catch (panic: InternalException) {
        throw Internal("the native library failed: ${panic.message}", "internal", panic)
    }

internal fun Failure.toException(): SidelockException =
    when (this) {
        is Failure.Busy -> toException()
        is Failure.Refused -> toException()
        is Failure.Deadlock -> Deadlock(text, key, cycle.map { it.toWaiting() })
        is Failure.LeaseLost -> LeaseLost(text, key, reason.toReason())
        is Failure.Conflict -> Conflict(text, code, key, current?.toVersioned(), limit?.toInt())
        is Failure.Unreachable -> SidecarUnreachable(text, code ?: "unreachable")
        is Failure.OutcomeUnknown -> OutcomeUnknown(text)
        is Failure.Stopped -> Internal("nobody stopped this call, and it was stopped", "internal")
    }

private fun Failure.Busy.toException(): SidelockException {
    val retryAfter = retryAfterMs?.toLong()?.milliseconds
    return when (kind) {
        BusyKind.WAIT_TIMEOUT -> WaitTimeout(text, code, key, retryAfter)
        BusyKind.QUEUE_FULL -> QueueFull(text, code, key, retryAfter, limit?.toInt())
        BusyKind.STORE_UNAVAILABLE -> StoreUnavailable(text, code, retryAfter)
    }
}

private fun Failure.Refused.toException(): SidelockException =
    when (kind) {
        Refusal.DENIED ->
            Denied(
                text,
                code,
                key,
                policy = denial?.policy.orEmpty(),
                reasonCode = denial?.reasonCode.orEmpty(),
                retryAfter = retryAfterMs?.toLong()?.milliseconds,
            )
        Refusal.NOT_HELD -> NotHeld(text, code, key)
        Refusal.NOT_FOUND -> NotFound(text, code)
        Refusal.INVALID -> Invalid(text, code, limit?.toInt())
        Refusal.INTERNAL -> Internal(text, code)
    }

private fun dev.sidelock.ffi.CycleEdge.toWaiting() =
    Waiting(
        key = key,
        mode = Mode.named(mode),
        owner = owner,
        app = app,
        waitingFor = waitingForMs.toLong().milliseconds,
        heldFor = heldForMs?.toLong()?.milliseconds,
    )

internal fun dev.sidelock.ffi.LossReason.toReason(): LossReason = LossReason.valueOf(name)
