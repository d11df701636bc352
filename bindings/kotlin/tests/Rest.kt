// Permits, rates, readers, several keys, turns and registers.

import dev.sidelock.Align
import dev.sidelock.Conflict
import dev.sidelock.LeaseLost
import dev.sidelock.LeaseOptions
import dev.sidelock.LossReason
import dev.sidelock.NotFound
import dev.sidelock.Once
import dev.sidelock.WaitTimeout
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertIs
import kotlin.test.assertNotNull
import kotlin.test.assertNull
import kotlin.test.assertTrue
import kotlin.time.Duration
import kotlin.time.Duration.Companion.days
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.minutes
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.TimeoutCancellationException
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.async
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.launch
import kotlinx.coroutines.withTimeout

fun Tests.theRest() {
    test("permits are counted") { place ->
        val key = place.key()
        val (sl, other) = place.client() to place.client()
        sl.withPermits(key, permits = 2, limit = 3) {
            other.withPermit(key, limit = 3) {
                assertNull(sl.semaphore(key, limit = 3).tryAcquire())
            }
            val other3 = assertFailsWith<Conflict> { other.withPermit(key, limit = 4) { } }
            assertEquals("limit_mismatch" to 3, other3.code to other3.limit)
        }
    }

    test("units of a rate come back by the clock") { place ->
        val key = place.key()
        val sl = place.client()
        repeat(2) { sl.withRate(key, limit = 2, per = 1.minutes) { } }
        val full = assertFailsWith<WaitTimeout> { sl.withRate(key, limit = 2, per = 1.minutes, wait = Duration.ZERO) { } }
        assertTrue(assertNotNull(full.retryAfter) > 30.seconds)
    }

    test("a body under a rate goes on when its units come back") { place ->
        val sl = place.client()
        var done = false
        sl.withRate(place.key(), limit = 1, per = 300.milliseconds) {
            delay(600.milliseconds)
            done = true
        }
        assertTrue(done)
    }

    test("readers are together, a writer is alone") { place ->
        val key = place.key()
        val (sl, other) = place.client() to place.client()
        sl.withReadLock(key) {
            other.withReadLock(key) { assertNull(other.rwLock(key).write().tryAcquire()) }
        }
        sl.withWriteLock(key) { assertNull(other.rwLock(key).read().tryAcquire()) }
    }

    test("a share becomes all of the key, and a share again") { place ->
        val key = place.key()
        val (sl, other) = place.client() to place.client()
        val share = sl.rwLock(key).read().acquire()
        val fence = share.fence
        val another = other.rwLock(key).read().acquire()
        assertFailsWith<WaitTimeout> { share.upgrade(20.milliseconds) }
        assertTrue(share.isValid)
        val lost = async(start = CoroutineStart.UNDISPATCHED) { share.lost() }
        val upgrading = async(start = CoroutineStart.UNDISPATCHED) { share.upgrade() }
        another.release()
        upgrading.await()
        assertTrue(share.fence > fence && share.isValid)
        assertNull(other.rwLock(key).read().tryAcquire())
        assertEquals("not_upgradable", assertFailsWith<Conflict> { share.upgrade(Duration.ZERO) }.code)
        share.downgrade()
        other.withReadLock(key, wait = 5.seconds) { }
        share.release()
        assertNull(lost.await())
        assertFailsWith<LeaseLost> { share.upgrade() }
    }

    test("one leads, the others look on and follow") { place ->
        val name = place.key()
        val (sl, other) = place.client("first") to place.client()
        assertNull(other.leader(name).current())
        val term =
            sl.leader(name).lead { leadership ->
                assertNull(other.leader(name).tryCampaign())
                assertEquals("first", other.leader(name).current()?.app)
                assertEquals(leadership.fence, other.leader(name).observe().first()?.fence)
                leadership.fence
            }
        val next = other.leader(name, maxTerm = 100.milliseconds).campaign(5.seconds)
        assertTrue(next.fence > term)
        assertEquals(LossReason.MAX_HOLD, next.lost())
    }

    test("several keys are had together, each with its fence") { place ->
        val (a, b) = place.key() to place.key()
        val (sl, other) = place.client() to place.client()
        sl.withLocks(listOf(b, a, b)) { lease ->
            assertEquals(setOf(a, b), lease.fences.keys)
            assertNull(other.tryLock(a))
            assertNull(other.lockAll(listOf(a, b)).tryAcquire())
        }
        val lost = assertFailsWith<LeaseLost> { sl.withLocks(listOf(a, b)) { place.force(b); awaitCancellation() } }
        assertTrue(a in lost.key && b in lost.key)
    }

    test("what is done once is done once, and the others get its result") { place ->
        val key = place.key()
        val (sl, other) = place.client() to place.client()
        val won = sl.once(key, per = 1.days) { turn -> turn.finish("42 rows".encodeToByteArray()); 42 }
        assertEquals(42, assertIs<Once.Won<Int>>(won).value)
        val done = assertIs<Once.Done>(other.once(key, per = 1.days) { error("it is done") })
        assertEquals("42 rows", done.result.decodeToString())
        assertTrue(done.finishedAt.toEpochMilli() > 0)
        val empty = place.key()
        sl.once(empty, per = 1.days, align = Align.UTC) { }
        assertEquals(0, assertIs<Once.Done>(sl.enter(empty, per = 1.days, align = Align.UTC)).result.size)
    }

    test("a turn that fails is given back, and one that is lost says so") { place ->
        val key = place.key()
        val sl = place.client()
        assertFailsWith<ArithmeticException> { sl.once(key, per = 1.days) { throw ArithmeticException() } }
        val brief = LeaseOptions(ttl = 100.milliseconds)
        assertFailsWith<LeaseLost> { sl.once(key, per = 1.days, wait = 5.seconds, options = brief) { awaitCancellation() } }
        val turn = assertIs<Once.Won<dev.sidelock.Turn>>(sl.enter(key, per = 1.days, wait = 5.seconds)).value
        assertNull(place.client().tryEnter(key, per = 1.days))
        turn.giveBack()
        turn.giveBack()
        assertEquals("turn_closed", assertFailsWith<Conflict> { turn.finish() }.code)
        val next = assertIs<Once.Won<dev.sidelock.Turn>>(sl.enter(key, per = 1.days, wait = 5.seconds)).value
        next.close()
        place.client().once(key, per = 1.days, wait = 5.seconds) { }
    }

    test("a turn is finished when all that its block started is done") { place ->
        val key = place.key()
        val (sl, other) = place.client() to place.client()
        sl.once(key, per = 1.days) {
            launch {
                delay(100.milliseconds)
                assertNull(other.tryEnter(key, per = 1.days))
            }
        }
        assertIs<Once.Done>(other.enter(key, per = 1.days))
    }

    test("a turn is given back if something fails that its block started") { place ->
        val key = place.key()
        val sl = place.client()
        assertFailsWith<ArithmeticException> {
            sl.once(key, per = 1.days) {
                launch {
                    delay(100.milliseconds)
                    throw ArithmeticException()
                }
            }
        }
        assertIs<Once.Won<dev.sidelock.Turn>>(sl.enter(key, per = 1.days, wait = 5.seconds)).value.giveBack()
    }

    test("a turn that is lost or cancelled after its block returned does not count") { place ->
        val key = place.key()
        val sl = place.client()
        val brief = LeaseOptions(ttl = 100.milliseconds)
        assertFailsWith<LeaseLost> {
            withTimeout(5.seconds) { sl.once(key, per = 1.days, options = brief) { launch { awaitCancellation() } } }
        }
        assertFailsWith<TimeoutCancellationException> {
            withTimeout(300.milliseconds) { sl.once(key, per = 1.days, wait = 5.seconds) { launch { awaitCancellation() } } }
        }
        assertIs<Once.Won<dev.sidelock.Turn>>(sl.enter(key, per = 1.days, wait = 5.seconds)).value.giveBack()
    }

    test("a register changes on condition only, and says what is there") { place ->
        val key = place.key()
        val sl = place.client()
        val register = sl.register(key)
        assertFailsWith<NotFound> { register.get() }
        assertNull(register.getOrNull())
        val first = register.put("1".encodeToByteArray(), ifAbsent = true)
        val conflict = assertFailsWith<Conflict> { register.put("2".encodeToByteArray(), ifAbsent = true) }
        assertEquals("1", conflict.current?.text())
        assertEquals(first, conflict.current?.etag)
        val second = register.put("2".encodeToByteArray(), ifMatch = first)
        val (value, etag) = register.get()
        assertEquals("2" to second, value.decodeToString() to etag)
        sl.withLock(key) { lease ->
            register.put("3".encodeToByteArray(), lease = lease)
            assertEquals("3", register.get(lease).text())
        }
        register.delete()
        assertFailsWith<NotFound> { register.delete() }
    }

    test("who watches a register hears of its changes") { place ->
        val register = place.client().register(place.key())
        val etag = register.put("1".encodeToByteArray())
        assertEquals(register.get(), register.watch().first())
        val changes = async(start = CoroutineStart.UNDISPATCHED) { register.watch(after = etag).take(2).toList() }
        register.put("2".encodeToByteArray())
        while (!changes.isCompleted) register.put("3".encodeToByteArray())
        assertTrue(changes.await().none { it?.etag == etag })
        val gone = async { register.watch().first { it == null } }
        register.delete()
        assertNull(gone.await())
    }
}
