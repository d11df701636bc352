// What other processes of the tests do: `RolesKt ROLE SOCKET KEY`.

import dev.sidelock.Sidelock
import java.nio.file.Path
import kotlinx.coroutines.DelicateCoroutinesApi
import kotlinx.coroutines.GlobalScope
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking

@OptIn(DelicateCoroutinesApi::class)
fun main(arguments: Array<String>) {
    val (role, socket, key) = arguments
    val sl = Sidelock(Path.of(socket), app = role)
    when (role) {
        "holds" ->
            runBlocking {
                sl.withLock(key) {
                    println("held")
                    awaitCancellation()
                }
            }
        // Ends when it is told to, with coroutines that still wait.
        "waits" -> {
            repeat(20) { GlobalScope.launch { sl.withLock(key) { } } }
            readlnOrNull()
        }
    }
}
