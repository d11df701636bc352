// A web handler that sells what is in stock: one order at a time over all instances, and an answer within two seconds.
// Start a sidecar first: `sidelock serve`.

import com.sun.net.httpserver.HttpExchange
import com.sun.net.httpserver.HttpServer
import dev.sidelock.Sidelock
import dev.sidelock.WaitTimeout
import java.net.InetAddress
import java.net.InetSocketAddress
import java.net.URI
import java.net.http.HttpClient
import java.net.http.HttpRequest
import java.net.http.HttpResponse.BodyHandlers
import java.util.concurrent.Executors
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.runBlocking

private val sl = Sidelock()

/** Stands for the database, which knows nothing of concurrency. */
private var stock = 5

private fun buy(): Boolean {
    val found = stock
    Thread.sleep(5)
    stock = maxOf(0, found - 1)
    return found > 0
}

/** The server's threads block; `runBlocking` gives their requests to the sidecar. */
private fun handle(exchange: HttpExchange) {
    val status =
        try {
            runBlocking { if (sl.withLock("stock/lamp", wait = 2.seconds) { buy() }) 200 else 410 }
        } catch (busy: WaitTimeout) {
            exchange.responseHeaders["Retry-After"] = "${busy.retryAfter?.inWholeSeconds ?: 1}"
            503
        }
    exchange.sendResponseHeaders(status, -1)
    exchange.close()
}

fun main() {
    val server = HttpServer.create(InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0)
    server.executor = Executors.newFixedThreadPool(8)
    server.createContext("/buy", ::handle)
    server.start()

    val buyer = HttpClient.newHttpClient()
    val request = HttpRequest.newBuilder(URI("http://localhost:${server.address.port}/buy")).build()
    val answers = List(20) { buyer.sendAsync(request, BodyHandlers.discarding()) }.map { it.get().statusCode() }
    check(answers.count { it == 200 } == 5 && answers.count { it == 410 } == 15) { "sold more or less than there was: $answers" }
    println("sold 5 lamps to 20 who asked")

    server.stop(0)
    (server.executor as java.util.concurrent.ExecutorService).shutdown()
}
