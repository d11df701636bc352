// Takes turns with programs in other languages: `TurnsKt SOCKET KEY TIMES` says the fence of each of its turns.

import dev.sidelock.Sidelock
import java.nio.file.Path
import kotlinx.coroutines.runBlocking

fun main(arguments: Array<String>) = runBlocking {
    val (socket, key, times) = arguments
    Sidelock(Path.of(socket), app = "kotlin").use { sl ->
        repeat(times.toInt()) { sl.withLock(key) { lease -> println("kotlin ${lease.fence}") } }
    }
}
