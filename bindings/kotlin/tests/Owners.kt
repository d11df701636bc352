// Who is in a circle, and who is not.

import dev.sidelock.Deadlock
import dev.sidelock.LeaseOptions
import dev.sidelock.WaitTimeout
import dev.sidelock.withOwner
import java.util.concurrent.CountDownLatch
import kotlin.coroutines.Continuation
import kotlin.coroutines.EmptyCoroutineContext
import kotlin.coroutines.startCoroutine
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNotNull
import kotlin.test.assertTrue
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.minutes
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineName
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.launch
import kotlinx.coroutines.supervisorScope
import kotlinx.coroutines.withContext
import kotlinx.coroutines.withTimeout

private val again = LeaseOptions(reentrant = true)

fun Tests.owners() {
    test("who wants what it holds is told") { place ->
        val key = place.key()
        val sl = place.client()
        sl.withLock(key) { lease ->
            val edge = assertFailsWith<Deadlock> { sl.withLock(key) { } }.cycle.single()
            assertEquals(key, edge.key)
            assertNotNull(edge.heldFor)
            sl.lock(key, again).withLease { inner -> assertEquals(lease.fence, inner.fence) }
        }
    }

    test("what a coroutine waits for in a scope is what it waits for") { place ->
        val key = place.key()
        val sl = place.client()
        val lease = sl.lock(key).acquire()
        coroutineScope { assertFailsWith<Deadlock> { sl.lock(key).acquire() } }
        supervisorScope { assertFailsWith<Deadlock> { sl.lock(key).acquire() } }
        withTimeout(1.minutes) { assertFailsWith<Deadlock> { sl.lock(key).acquire() } }
        withContext(Dispatchers.IO) { withContext(CoroutineName("n")) { assertFailsWith<Deadlock> { sl.lock(key).acquire() } } }
        withContext(NonCancellable) { assertFailsWith<Deadlock> { sl.lock(key).acquire() } }
        // A job that many may use says nothing of who runs in it.
        val shared = Job()
        withContext(shared) { assertFailsWith<Deadlock> { sl.lock(key).acquire() } }
        async(Dispatchers.Default) {
            withContext(shared) { assertFailsWith<WaitTimeout> { sl.lock(key).acquire(20.milliseconds) } }
        }.await()
        lease.release()
    }

    test("what a coroutine starts is somebody else") { place ->
        val key = place.key()
        val sl = place.client()
        sl.withLock(key) {
            launch { assertFailsWith<WaitTimeout> { sl.withLock(key, wait = 20.milliseconds) { } } }.join()
            async { assertFailsWith<WaitTimeout> { sl.withLock(key, wait = 20.milliseconds) { } } }.await()
            withOwner("joined") { launch { assertFailsWith<WaitTimeout> { sl.withLock(key, wait = 20.milliseconds) { } } }.join() }
        }
    }

    test("two coroutines in a circle: one is told, the other has both") { place ->
        val (a, b) = place.key() to place.key()
        val sl = place.client()
        val met = List(2) { CompletableDeferred<Unit>() }
        val outcomes =
            listOf(a to b, b to a).mapIndexed { number, (first, second) ->
                async(Dispatchers.Default) {
                    try {
                        sl.withLock(first) {
                            met[number].complete(Unit)
                            met.awaitAll()
                            withContext(Dispatchers.IO) { sl.withLock(second, wait = 20.seconds) { "had both" } }
                        }
                    } catch (deadlock: Deadlock) {
                        "told of ${deadlock.cycle.size}"
                    }
                }
            }
        assertEquals(listOf("had both", "told of 2"), outcomes.awaitAll().sorted())
    }

    // The parent holds A, two children wait for B and C, a stranger waits for A: nobody waits in a circle.
    test("children of a coroutine that holds something are others") { place ->
        val (a, b, c) = List(3) { place.key() }
        val sl = place.client()
        val stranger = place.client()
        val theirs = listOf(b, c).map { stranger.lock(it).acquire() }
        val waiting =
            sl.withLock(a) {
                val children = listOf(b, c).map { this@test.async { sl.lock(it).acquire() } }
                val waiting = this@test.async { stranger.lock(a).acquire() }
                for (key in listOf(a, b, c)) place.until(key, held = 1, waiting = 1)
                assertTrue((children + waiting).none { it.isCompleted })
                children + waiting
            }
        theirs.forEach { it.release() }
        waiting.awaitAll().forEach { it.release() }
    }

    test("a name joins coroutines on purpose") { place ->
        val key = place.key()
        val sl = place.client()
        withOwner("transfer 7") {
            sl.withLock(key) {
                val told = async { withOwner("transfer 7") { assertFailsWith<Deadlock> { sl.withLock(key) { } } } }.await()
                assertEquals("transfer 7", told.cycle.single().owner)
            }
        }
    }

    test("a program without jobs is an owner inside of its locks") { place ->
        val key = place.key()
        val sl = place.client()
        val outcome = CompletableDeferred<Deadlock>()
        val program: suspend () -> Deadlock = { sl.withLock(key) { assertFailsWith<Deadlock> { sl.withLock(key) { } } } }
        program.startCoroutine(
            Continuation(EmptyCoroutineContext) { result -> result.fold(outcome::complete, outcome::completeExceptionally) },
        )
        assertEquals(key, outcome.await().cycle.single().key)
    }

    for ((name, context) in listOf("no dispatcher" to EmptyCoroutineContext, "Unconfined" to Dispatchers.Unconfined)) {
        test("a body that blocks its thread, with $name, holds up nobody else") { place ->
            val key = place.key()
            val (one, other) = place.client() to place.client()
            val first = other.lock(key).acquire()
            val thread = CompletableDeferred<String>()
            val go = CountDownLatch(1)
            val over = CompletableDeferred<Unit>()
            val program: suspend () -> Unit = {
                one.withLock(key) {
                    thread.complete(Thread.currentThread().name)
                    go.await()
                }
            }
            program.startCoroutine(
                Continuation(context) { result -> result.fold(over::complete, over::completeExceptionally) },
            )
            // So that it is woken.
            place.until(key, held = 1, waiting = 1)
            first.release()
            val name = thread.await()
            assertTrue(!name.startsWith("sidelock"), name)
            withTimeout(5.seconds) { other.withLock("$key/other") { } }
            go.countDown()
            over.await()
        }
    }
}
