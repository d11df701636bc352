// What the tests stand on: named tests over a real sidecar, one after the other, and a last line with how many passed.

import dev.sidelock.Sidelock
import java.lang.ProcessBuilder.Redirect
import java.nio.file.Files
import java.nio.file.Path
import java.util.concurrent.TimeUnit
import kotlin.system.exitProcess
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlin.time.TimeSource
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout

private val binary: String = System.getenv("SIDELOCK_BIN") ?: "sidelock"

/** Longer than anything takes on a busy machine. */
val patience: Duration = 60.seconds

class Test(val name: String, val body: suspend CoroutineScope.(Place) -> Unit)

class Tests {
    val all = mutableListOf<Test>()

    fun test(name: String, body: suspend CoroutineScope.(Place) -> Unit) {
        all += Test(name, body)
    }
}

/** A sidecar, and what is asked of it from outside. */
class Place(val store: String, val folder: Path, vararg options: String) : AutoCloseable {
    val socket: Path = folder.resolve("sidelock.sock")
    private val serving =
        arrayOf(binary, "serve", "--socket", "$socket", "--admin-socket", "${folder.resolve("admin.sock")}", *options)
    private var process = start(*serving)
    private var keys = 0

    init {
        sidelock("wait", "--timeout", "20s", "--store")
    }

    fun client(app: String = "test") = Sidelock(socket, app)

    /** One that no other test uses. */
    fun key() = "test/${++keys}"

    /** Waits until so many have the key and so many wait for it. */
    suspend fun until(key: String, held: Int, waiting: Int) {
        val started = TimeSource.Monotonic.markNow()
        while (true) {
            val shown = sidelock("ls", key, "-o", "json")
            val found = shown.split("\"held_for\"").size - 1 to shown.split("\"waiting_for\"").size - 1
            if (found == held to waiting) return
            check(started.elapsedNow() < patience) { "$key has $found, and should have ($held, $waiting): $shown" }
            delay(5.milliseconds)
        }
    }

    fun force(key: String) = sidelock("force-unlock", key, "--reason", "a test")

    fun restart() {
        kill()
        process = start(*serving)
        sidelock("wait", "--timeout", "20s", "--store")
    }

    fun kill() = process.destroyForcibly().waitFor()

    override fun close() {
        kill()
    }

    private fun sidelock(verb: String, vararg words: String): String {
        val process = ProcessBuilder(binary, verb, *words, "--socket", "$socket").redirectErrorStream(true).start()
        val said = process.inputStream.readAllBytes().decodeToString()
        check(process.waitFor() == 0) { "sidelock $verb: $said" }
        return said
    }
}

/** This program once more, in another process that does `work` and says a line when it gets to something. */
fun elsewhere(work: String, vararg arguments: String, environment: Map<String, String> = emptyMap()): Process {
    val java = Path.of(System.getProperty("java.home"), "bin", "java")
    val classes = System.getProperty("java.class.path")
    val builder = ProcessBuilder("$java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", classes, work, *arguments)
    builder.environment() += environment
    return builder.redirectError(Redirect.INHERIT).start()
}

fun Process.endsWithin(limit: Duration): Boolean = waitFor(limit.inWholeMilliseconds, TimeUnit.MILLISECONDS)

private fun start(vararg command: String): Process =
    ProcessBuilder(*command).redirectOutput(Redirect.DISCARD).redirectError(Redirect.DISCARD).start()

private fun tests() =
    Tests().apply {
        locks()
        losses()
        cancellation()
        owners()
        theRest()
        trouble()
    }.all

private fun play(place: Place, only: String?): Pair<Int, Int> {
    var passed = 0
    var failed = 0
    for (test in tests().filter { only == null || only in it.name }) {
        try {
            runBlocking { withTimeout(patience * 2) { (test.body)(place) } }
            passed++
        } catch (failure: Throwable) {
            failed++
            println("FAILED over ${place.store}: ${test.name}")
            failure.printStackTrace(System.out)
        }
    }
    return passed to failed
}

/** `TESTS [PART OF A NAME]` */
fun main(arguments: Array<String>) {
    val folder = Files.createTempDirectory("sidelock-kotlin")
    var passed = 0
    var failed = 0
    fun count(place: Place) {
        val (good, bad) = place.use { play(it, arguments.firstOrNull()) }
        passed += good
        failed += bad
    }
    try {
        count(Place("memory", Files.createDirectory(folder.resolve("memory"))))
        val redis = folder.resolve("redis.sock")
        val server = start("redis-server", "--port", "0", "--save", "", "--dir", "$folder", "--unixsocket", "$redis")
        try {
            count(Place("redis", Files.createDirectory(folder.resolve("redis")), "--redis", "unix://$redis"))
        } finally {
            server.destroyForcibly().waitFor()
        }
    } finally {
        folder.toFile().deleteRecursively()
    }
    println("kotlin: $passed passed, $failed failed")
    exitProcess(if (failed == 0 && passed > 0) 0 else 1)
}
