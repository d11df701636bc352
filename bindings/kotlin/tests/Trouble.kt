// Processes that end, leases that are forgotten, and a sidecar that is not there.

import dev.sidelock.Invalid
import dev.sidelock.LeaseLost
import dev.sidelock.Scope
import dev.sidelock.SidecarUnreachable
import dev.sidelock.Sidelock
import java.nio.file.Files
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertNotNull
import kotlin.test.assertTrue
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlin.time.measureTime
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.yield

fun Tests.trouble() {
    test("a holder that is killed hands over at once") { place ->
        val key = place.key()
        val holder = elsewhere("RolesKt", "holds", "${place.socket}", key)
        assertEquals("held", holder.inputReader().readLine())
        holder.destroyForcibly().waitFor()
        assertTrue(measureTime { place.client().withLock(key, wait = 20.seconds) { } } < 5.seconds)
    }

    test("a program that ends while it waits ends, and leaves nothing") { place ->
        val key = place.key()
        place.client().withLock(key) {
            val waiter = elsewhere("RolesKt", "waits", "${place.socket}", key)
            place.until(key, held = 1, waiting = 20)
            waiter.outputStream.close()
            assertTrue(waiter.endsWithin(20.seconds))
            place.until(key, held = 1, waiting = 0)
        }
        place.client().withLock(key, wait = 1.seconds) { }
    }

    test("programs take turns on one key, and its fences rise") { place ->
        val key = place.key()
        val programs = List(2) { elsewhere("TurnsKt", "${place.socket}", key, "20") }
        val fences = programs.map { program -> program.inputReader().readLines().map { it.substringAfter(' ').toLong() } }
        assertTrue(programs.all { it.endsWithin(20.seconds) && it.exitValue() == 0 })
        assertEquals(40, fences.flatten().toSet().size)
        for (own in fences) assertEquals(own.sorted(), own)
    }

    test("leases that are forgotten are given back") { place ->
        val key = place.key()
        val sl = place.client()
        forget(sl, key, 10)
        // The frames of what was resumed last are still there, and refer to it.
        yield()
        System.gc()
        place.until(key, held = 0, waiting = 0)
    }

    test("a client without a sidecar says where it looked") { place ->
        val nowhere = place.folder.resolve("nothing.sock")
        val unreachable = assertFailsWith<SidecarUnreachable> { Sidelock(nowhere).withLock("k") { } }
        assertEquals("unreachable", unreachable.code)
        assertTrue("$nowhere" in unreachable.message.orEmpty() && "sidelock serve" in unreachable.message.orEmpty(), unreachable.message)
    }

    test("what is no sidecar is said") { place ->
        val file = Files.createFile(place.folder.resolve("plain"))
        val unreachable = assertFailsWith<SidecarUnreachable> { Sidelock(file).withLock("k") { } }
        assertTrue("$file" in unreachable.message.orEmpty(), unreachable.message)
    }

    test("a scope can be demanded") { place ->
        val demanding = Sidelock(place.socket, requireScope = Scope.FLEET)
        when (place.store) {
            "redis" -> assertEquals(Scope.FLEET, demanding.sidecar()?.scope)
            else -> assertEquals("scope_too_small", assertFailsWith<Invalid> { demanding.sidecar() }.code)
        }
    }

    test("a client outlives its sidecar") { place ->
        Place("memory", Files.createDirectory(place.folder.resolve("own"))).use { own ->
            val sl = own.client()
            val lease = sl.lock("k").acquire()
            val lost = async { lease.lost() }
            val entered = CompletableDeferred<Unit>()
            val body = async { assertFailsWith<LeaseLost> { sl.withLock("body") { entered.complete(Unit); awaitCancellation() } } }
            entered.await()
            own.restart()
            assertNotNull(lost.await())
            body.await()
            assertFalse(lease.isValid)
            assertFailsWith<LeaseLost> { lease.release() }
            sl.withLock("k", wait = 20.seconds) { assertTrue(it.isValid) }
            own.kill()
            assertFailsWith<SidecarUnreachable> { sl.withLock("k", wait = 300.milliseconds) { } }
        }
    }

    test("a client can have a sidecar of its own, for tests") { place ->
        Sidelock.embedded(defaultWait = 50.milliseconds).use { sl ->
            assertEquals(Scope.PROCESS, sl.sidecar()?.scope)
            sl.withLock(place.key()) { lease -> assertTrue(lease.isValid) }
        }
    }

    test("the README's lines and the samples run as they stand") { place ->
        val programs =
            mapOf(
                "ReadmeKt" to Regex("fence [0-9]+"),
                "WebHandlerKt" to Regex("sold 5 lamps to 20 who asked"),
                "WorkerKt" to Regex("printed 6 invoices once each"),
                "MigrationKt" to Regex("4 instances started"),
            )
        for ((program, outcome) in programs) {
            val process = elsewhere(program, environment = mapOf("SIDELOCK_SOCKET" to "${place.socket}"))
            val said = process.inputReader().readLines()
            assertTrue(process.endsWithin(20.seconds) && process.exitValue() == 0, program)
            assertTrue(said.last().matches(outcome), "$program said $said")
        }
    }
}

/** In a function of its own, whose frame ends. */
private suspend fun forget(sl: Sidelock, key: String, times: Int) {
    repeat(times) { assertTrue(sl.semaphore(key, limit = times).acquire().isValid) }
}
