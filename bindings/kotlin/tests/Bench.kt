// What a lock costs a Kotlin program: acquired and released by one user, while nobody else wants it.
//
// Says `ready`; reads lines `NUMBER SOCKET KEY SECONDS TASKS`, the last of which is 1; does it for that long and answers
// `NUMBER WAIT:CYCLE …`: for each grant, microseconds from asking to having and until it was given back. With the argument
// `withLock`, through that. The first second is not counted: the JVM compiles what it runs often.

import dev.sidelock.Sidelock
import java.nio.file.Path
import kotlinx.coroutines.runBlocking

private const val WARM_UP_NS = 1_000_000_000L

private suspend fun cycles(sl: Sidelock, key: String, seconds: Double, body: Boolean): List<String> {
    val lock = sl.lock(key)
    val cycles = ArrayList<String>()
    val warm = System.nanoTime() + WARM_UP_NS
    val end = warm + (seconds * 1e9).toLong()
    while (true) {
        val start = System.nanoTime()
        var having = 0L
        if (body) {
            lock.withLease { having = System.nanoTime() }
        } else {
            val lease = lock.acquire()
            having = System.nanoTime()
            lease.release()
        }
        if (having >= end) return cycles
        if (start >= warm) cycles += "${(having - start) / 1000.0}:${(System.nanoTime() - start) / 1000.0}"
    }
}

fun main(arguments: Array<String>) {
    println("ready")
    for (line in generateSequence(::readlnOrNull)) {
        val (number, socket, key, seconds) = line.split(' ')
        val cycles = Sidelock(Path.of(socket)).use { sl -> runBlocking { cycles(sl, key, seconds.toDouble(), "withLock" in arguments) } }
        println("$number ${cycles.joinToString(" ")}")
    }
}
