// Leases that are lost, and what runs under them.

import dev.sidelock.Invalid
import dev.sidelock.LeaseLost
import dev.sidelock.LeaseOptions
import dev.sidelock.LossReason
import java.util.concurrent.atomic.AtomicInteger
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertTrue
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.minutes
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.TimeoutCancellationException
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.delay
import kotlinx.coroutines.isActive
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import kotlinx.coroutines.withTimeout

private val brief = LeaseOptions(ttl = 100.milliseconds)

fun Tests.losses() {
    test("a body is cancelled when its lease is lost, with what it started") { place ->
        val cancelled = AtomicInteger()
        val lost =
            assertFailsWith<LeaseLost> {
                place.client().lock(place.key(), brief).withLease {
                    // At once: what has not begun when the lease is lost never does.
                    repeat(2) {
                        launch(start = CoroutineStart.UNDISPATCHED) {
                            try { awaitCancellation() } finally { cancelled.incrementAndGet() }
                        }
                    }
                    awaitCancellation()
                }
            }
        assertEquals(LossReason.EXPIRED, lost.reason)
        assertEquals("lease_lost", lost.code)
        assertEquals(2, cancelled.get())
        assertTrue(isActive)
    }

    test("what a block leaves running is cancelled when the lease is lost") { place ->
        val cancelled = AtomicInteger()
        val lost =
            assertFailsWith<LeaseLost> {
                withTimeout(5.seconds) {
                    place.client().lock(place.key(), brief).withLease {
                        launch(start = CoroutineStart.UNDISPATCHED) {
                            try { awaitCancellation() } finally { cancelled.incrementAndGet() }
                        }
                    }
                }
            }
        assertEquals(LossReason.EXPIRED, lost.reason)
        assertEquals(1, cancelled.get())
    }

    test("a body that does not stop is told at its end") { place ->
        val key = place.key()
        val sl = place.client()
        var reached = false
        val lost =
            assertFailsWith<LeaseLost> {
                sl.withLock(key) { lease ->
                    withContext(NonCancellable) {
                        place.force(key)
                        assertEquals(LossReason.FORCED, lease.lost())
                        reached = true
                    }
                }
            }
        assertTrue(reached)
        assertEquals(LossReason.FORCED, lost.reason)
    }

    test("what a body fails with is heard, and the lease is given back") { place ->
        val key = place.key()
        val sl = place.client()
        assertFailsWith<ArithmeticException> { sl.withLock(key) { throw ArithmeticException() } }
        assertFailsWith<ArithmeticException> { sl.withLock(key) { launch { throw ArithmeticException() } } }
        sl.withTryLock(key) { } ?: error("it was not given back")
    }

    test("a timeout around a body and a loss inside it keep apart") { place ->
        val sl = place.client()
        assertFailsWith<TimeoutCancellationException> {
            withTimeout(50.milliseconds) { sl.withLock(place.key()) { awaitCancellation() } }
        }
        assertFailsWith<LeaseLost> {
            withTimeout(1.minutes) { sl.lock(place.key(), brief).withLease { awaitCancellation() } }
        }
        assertFailsWith<TimeoutCancellationException> {
            sl.withLock(place.key()) { withTimeout(50.milliseconds) { awaitCancellation() } }
        }
    }

    test("a cancellation from outside stays one") { place ->
        val key = place.key()
        val sl = place.client()
        val entered = CompletableDeferred<Unit>()
        val working = async { sl.withLock(key) { entered.complete(Unit); awaitCancellation() } }
        entered.await()
        working.cancel()
        val failure = assertFailsWith<CancellationException> { working.await() }
        assertFalse(failure.cause is LeaseLost)
        sl.withTryLock(key) { } ?: error("it was not given back")
    }

    test("a lease is waited for to its end, renewed, and lost") { place ->
        val sl = place.client()
        val lease = sl.lock(place.key(), LeaseOptions(ttl = 30.seconds)).acquire()
        val lost = async { lease.lost() }
        lease.renew(150.milliseconds)
        assertEquals(LossReason.EXPIRED, lost.await())
        assertFalse(lease.isValid)
        assertFailsWith<LeaseLost> { lease.renew(1.seconds) }
        assertFailsWith<LeaseLost> { lease.release() }
        assertEquals(LossReason.EXPIRED, lease.lost())
        val other = sl.lock(place.key()).acquire()
        assertFailsWith<Invalid> { other.renew(1.seconds) }
        other.release()
        assertFailsWith<LeaseLost> { other.renew(1.seconds) }
    }

    test("a wait for a loss can be cancelled") { place ->
        val sl = place.client()
        val lease = sl.lock(place.key()).acquire()
        assertFailsWith<TimeoutCancellationException> { withTimeout(50.milliseconds) { lease.lost() } }
        delay(1.milliseconds)
        assertTrue(lease.isValid)
        lease.release()
    }
}
