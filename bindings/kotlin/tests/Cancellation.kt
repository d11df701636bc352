// Waits that are cancelled, and grants that cross that.

import kotlin.random.Random
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertTrue
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.TimeoutCancellationException
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancel
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.joinAll
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout

fun Tests.cancellation() {
    test("a cancelled wait leaves the queue") { place ->
        val key = place.key()
        val sl = place.client()
        sl.withLock(key) {
            val waiting = launch { place.client().withLock(key) { error("it was cancelled") } }
            place.until(key, held = 1, waiting = 1)
            waiting.cancelAndJoin()
            place.until(key, held = 1, waiting = 0)
            assertFailsWith<TimeoutCancellationException> { withTimeout(50.milliseconds) { place.client().lock(key).acquire() } }
            place.until(key, held = 1, waiting = 0)
        }
        sl.withTryLock(key) { } ?: error("somebody has it")
    }

    test("a thousand cancelled waits leave nothing") { place ->
        val key = place.key()
        val sl = place.client()
        sl.withLock(key) {
            val waits = List(1000) { launch(Dispatchers.Default) { sl.lock(key).acquire() } }
            place.until(key, held = 1, waiting = 1000)
            waits.forEach { it.cancel() }
            waits.joinAll()
            assertTrue(waits.all { it.isCancelled })
            place.until(key, held = 1, waiting = 0)
        }
        sl.withLock(key, wait = 5.seconds) { }
        place.until(key, held = 0, waiting = 0)
    }

    test("waits that are cancelled as they are granted leave nothing") { place ->
        val sl = place.client()
        val keys = List(8) { place.key() }
        // Between the begin of a request and its answer, and a little after that.
        val moments = Random(7)
        repeat(2000) { number ->
            val wait = launch(Dispatchers.Default, CoroutineStart.UNDISPATCHED) { sl.lock(keys[number % keys.size]).acquire().release() }
            val until = System.nanoTime() + moments.nextLong(400_000)
            while (System.nanoTime() < until) Thread.onSpinWait()
            wait.cancel()
        }
        for (key in keys) place.until(key, held = 0, waiting = 0)
    }

    test("an upgrade that is cancelled as it is granted leaves a share") { place ->
        val (key, other) = place.key() to place.client()
        val lease = place.client().rwLock(key).read().acquire()
        val moments = Random(7)
        repeat(2000) {
            var heard = Result.failure<Unit>(IllegalStateException("it never began"))
            val upgrade = launch(Dispatchers.Default, CoroutineStart.UNDISPATCHED) { heard = runCatching { lease.upgrade() } }
            val until = System.nanoTime() + moments.nextLong(300_000)
            while (System.nanoTime() < until) Thread.onSpinWait()
            upgrade.cancelAndJoin()
            if (heard.exceptionOrNull() !is CancellationException) {
                heard.getOrThrow()
                lease.downgrade()
            }
        }
        other.rwLock(key).read().acquire(5.seconds).release()
        lease.upgrade(5.seconds)
        lease.release()
    }

    test("what is cancelled before it begins does not begin") { place ->
        val key = place.key()
        val waiting = async(start = CoroutineStart.LAZY) { place.client().lock(key).acquire() }
        waiting.cancelAndJoin()
        val begun =
            launch(start = CoroutineStart.UNDISPATCHED) {
                currentCoroutineContext().cancel()
                place.client().withLock(key) { error("it was cancelled") }
            }
        begun.cancelAndJoin()
        place.until(key, held = 0, waiting = 0)
    }

    test("a release is not stopped by a cancellation") { place ->
        val key = place.key()
        val (sl, other) = place.client() to place.client()
        repeat(50) {
            val lease = sl.lock(key).acquire(10.seconds)
            val releasing = launch(start = CoroutineStart.UNDISPATCHED) { lease.release() }
            releasing.cancelAndJoin()
            assertFalse(lease.isValid)
            other.withTryLock(key) { } ?: error("it is still held")
        }
    }

    test("a thread that blocks is interrupted, and leaves the queue") { place ->
        val key = place.key()
        val sl = place.client()
        sl.withLock(key) {
            val said = mutableListOf<String>()
            val thread =
                Thread {
                    try {
                        runBlocking { sl.withLock(key) { } }
                    } catch (_: InterruptedException) {
                        said += "interrupted"
                    }
                }
            thread.start()
            place.until(key, held = 1, waiting = 1)
            thread.interrupt()
            thread.join()
            assertEquals(listOf("interrupted"), said)
            place.until(key, held = 1, waiting = 0)
        }
    }

    test("a thousand waiters get their turns") { place ->
        val key = place.key()
        val sl = place.client()
        val waits =
            sl.withLock(key) {
                val waits = List(1000) { this@test.async(Dispatchers.Default) { sl.withLock(key) { it.fence } } }
                place.until(key, held = 1, waiting = 1000)
                waits
            }
        assertEquals(1000, waits.awaitAll().toSet().size)
    }
}
