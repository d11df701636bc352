package dev.sidelock

import dev.sidelock.ffi.LossListener
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.atomic.AtomicLong

/**
 * Who wants to hear of the loss of which lease.
 *
 * Owns the numbers under which leases are watched. Whoever watches says when it does not any more.
 */
internal class Losses : LossListener {
    private val watched = ConcurrentHashMap<ULong, (LossReason) -> Unit>()

    /** `heard` is called if the lease is lost, on a thread that may wait for nobody; once at most. */
    fun watch(lease: dev.sidelock.ffi.Lease, heard: (LossReason) -> Unit): AutoCloseable {
        val number = numbers.incrementAndGet().toULong()
        watched[number] = heard
        lease.watch(number)
        return AutoCloseable { watched.remove(number) }
    }

    override fun lost(number: ULong, reason: dev.sidelock.ffi.LossReason) {
        watched.remove(number)?.invoke(reason.toReason())
    }

    private companion object {
        val numbers = AtomicLong()
    }
}
