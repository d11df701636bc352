package dev.sidelock

import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds

// Spans of time: what users write, and what travels.
//
// Owns the conversion. The sidecar counts whole milliseconds.

private const val LONGEST_MS = 1L shl 53
private val FOREVER_MS = ULong.MAX_VALUE

/** In whole milliseconds, rounded up so that something does not become nothing; `name` is for the error. */
internal fun Duration.toMs(name: String): ULong {
    if (isNegative()) throw Invalid("$name is $this; it has to be 0 or more")
    val whole = inWholeMilliseconds
    val ms = if (whole.milliseconds < this) whole + 1 else whole
    return minOf(ms, LONGEST_MS).toULong()
}

/** A wait: null is the client's default, [Duration.INFINITE] has no end. */
internal fun Duration?.toWaitMs(): ULong? =
    when {
        this == null -> null
        isInfinite() && isPositive() -> FOREVER_MS
        else -> toMs("wait")
    }
