// Workers that share a list of jobs without a queue: each job is done once a day, at most two at a time reach the printer,
// and a worker whose lease is lost stops what it does. Start a sidecar first: `sidelock serve`.

import dev.sidelock.LeaseLost
import dev.sidelock.Once
import dev.sidelock.Sidelock
import java.util.concurrent.ConcurrentLinkedQueue
import java.util.concurrent.atomic.AtomicInteger
import kotlin.time.Duration.Companion.days
import kotlin.time.Duration.Companion.milliseconds
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking

private val printed = ConcurrentLinkedQueue<String>()
private val atOnce = AtomicInteger()

private suspend fun print(invoice: String, fence: Long) {
    check(atOnce.incrementAndGet() <= 2) { "three at the printer" }
    delay(20.milliseconds)
    printed += "$invoice, fence $fence"
    atOnce.decrementAndGet()
}

/** Goes through all jobs. Those that others have done, or are at, cost it no more than a question. */
private suspend fun work(sl: Sidelock, day: String, invoices: List<String>) {
    for (invoice in invoices) {
        try {
            val outcome =
                sl.once("invoices/$day/$invoice", per = 1.days) { turn ->
                    sl.withPermit("printer", limit = 2) { print(invoice, turn.lease.fence) }
                    turn.finish("printed".encodeToByteArray())
                }
            if (outcome is Once.Done) check(outcome.result.decodeToString() == "printed")
        } catch (lost: LeaseLost) {
            println("$invoice is somebody else's now (${lost.reason.code})")
        }
    }
}

fun main() = runBlocking {
    val invoices = List(6) { "invoice-$it" }
    val day = "day-${System.nanoTime()}"
    coroutineScope {
        repeat(4) { launch(Dispatchers.Default) { Sidelock().use { sl -> work(sl, day, invoices.shuffled()) } } }
    }
    check(printed.map { it.substringBefore(',') }.sorted() == invoices) { "not each once: $printed" }
    println("printed ${printed.size} invoices once each")
}
