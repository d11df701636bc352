// One holder at a time, and how long one waits for that.

import dev.sidelock.Invalid
import dev.sidelock.LeaseLost
import dev.sidelock.LeaseOptions
import dev.sidelock.LossReason
import dev.sidelock.Mode
import dev.sidelock.Scope
import dev.sidelock.Sidelock
import dev.sidelock.WaitTimeout
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertNotNull
import kotlin.test.assertNull
import kotlin.test.assertTrue
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.launch

fun Tests.locks() {
    test("a lock excludes, and its fence rises") { place ->
        val key = place.key()
        val (sl, other) = place.client() to place.client()
        val first = sl.withLock(key, wait = 5.seconds) { lease ->
            assertTrue(lease.isValid && lease.deadline > Duration.ZERO && !lease.isAtRisk)
            assertNull(other.tryLock(key))
            assertNull(other.withTryLock(key) { error("nobody runs here") })
            lease.fence
        }
        val second = assertNotNull(other.withTryLock(key) { it.fence })
        assertTrue(second > first)
    }

    test("a wait that is over says so, and when to come again") { place ->
        val key = place.key()
        place.client().withLock(key) {
            val late = assertFailsWith<WaitTimeout> { place.client().withLock(key, wait = 50.milliseconds) { } }
            assertEquals("wait_timeout", late.code)
            assertEquals(key, late.key)
            assertNotNull(late.retryAfter)
            assertEquals("held", assertFailsWith<WaitTimeout> { place.client().lock(key).acquire(Duration.ZERO) }.code)
        }
    }

    test("a lease is given back once, however often one says so") { place ->
        val key = place.key()
        val sl = place.client()
        val lease = sl.lock(key).acquire()
        lease.release()
        lease.release()
        lease.close()
        assertFalse(lease.isValid)
        assertTrue(lease.fence > 0)
        assertNull(lease.lost())
        sl.lock(key).acquire(5.seconds).use { again ->
            launch { assertNull(again.lost()) }
            place.until(key, held = 1, waiting = 0)
        }
        place.client().withLock(key, wait = 5.seconds) { }
    }

    test("many coroutines take turns") { place ->
        val key = place.key()
        val sl = place.client()
        var inside = 0
        val fences = (1..200).map { async(Dispatchers.Default) { sl.withLock(key) { inside++; it.fence } } }.awaitAll()
        assertEquals(200, inside)
        assertEquals(200, fences.toSet().size)
    }

    test("who holds a key can be seen") { place ->
        val key = place.key()
        val sl = place.client("shop")
        assertEquals(emptyList(), sl.holders(key))
        sl.withLock(key) { lease ->
            val holder = sl.holders(key).single()
            assertEquals(Mode.EXCLUSIVE, holder.mode)
            assertEquals("shop", holder.app)
            assertEquals(lease.fence, holder.fence)
            assertTrue(holder.isKnown && holder.uid != null)
            assertTrue(holder.isLocal && holder.owner != null && holder.expiresIn > Duration.ZERO)
        }
        assertEquals(if (place.store == "redis") Scope.FLEET else Scope.HOST, sl.sidecar()?.scope)
    }

    test("what can not be right is said before anybody is asked") { place ->
        val sl = place.client()
        assertFailsWith<Invalid> { sl.lock("k").acquire((-1).seconds) }
        assertFailsWith<Invalid> { sl.semaphore("k", limit = -1) }
        assertFailsWith<Invalid> { sl.register("r").put(ByteArray(0), ifMatch = "1", ifAbsent = true) }
        assertEquals("bad_request", assertFailsWith<Invalid> { sl.withLock("") { } }.code)
        val long = assertFailsWith<Invalid> { sl.withLock("k".repeat(513)) { } }
        assertEquals("too_large" to 512, long.code to long.limit)
        val options = LeaseOptions(priority = 101)
        assertFailsWith<Invalid> { sl.lock("k", options).acquire() }
    }

    test("a client that was closed says so") { place ->
        val key = place.key()
        val sl = place.client()
        val lost =
            assertFailsWith<LeaseLost> {
                sl.withLock(key) {
                    val waiting = this@test.async { assertFailsWith<Invalid> { sl.withLock(key) { } } }
                    place.until(key, held = 1, waiting = 1)
                    sl.close()
                    waiting.await()
                    awaitCancellation()
                }
            }
        assertEquals(LossReason.SESSION, lost.reason)
        sl.close()
        assertTrue("closed" in assertFailsWith<Invalid> { sl.withLock(key) { } }.message.orEmpty())
        assertFailsWith<Invalid> { sl.register(key).get() }
        place.until(key, held = 0, waiting = 0)
        Sidelock(place.socket).use { never -> never.close(); assertFailsWith<Invalid> { never.sidecar() } }
    }
}
