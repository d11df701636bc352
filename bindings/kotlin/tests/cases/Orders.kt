// Orders and answers as lines, which `bindings/cases/README.md` describes.

import dev.sidelock.Conflict
import dev.sidelock.Deadlock
import dev.sidelock.Denied
import dev.sidelock.Invalid
import dev.sidelock.LeaseLost
import dev.sidelock.QueueFull
import dev.sidelock.SidelockException
import dev.sidelock.StoreUnavailable
import dev.sidelock.WaitTimeout
import java.net.URLDecoder
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.job

/** A line that was read. */
class Order(line: String) {
    private val words = line.split(' ')
    val number = words[0]
    val actor = words[1]
    val verb = words[2]
    private val fields = words.drop(3).associate { it.substringBefore('=') to it.substringAfter('=') }
    private var cancelled = false
    private var running: Job? = null

    operator fun contains(name: String) = name in fields

    fun maybe(name: String): String? = fields[name]?.let(::decoded)

    fun text(name: String): String = maybe(name) ?: error("$verb needs $name")

    fun texts(name: String): List<String> = fields.getValue(name).split(',').map(::decoded)

    fun number(name: String): Int? = fields[name]?.toInt()

    fun span(name: String): Duration? = fields[name]?.toLong()?.milliseconds

    /** What came of it is not wanted any more; if it has not begun yet, it ends as soon as it does. */
    @Synchronized
    fun cancel() {
        cancelled = true
        running?.cancel()
    }

    @Synchronized
    private fun begins(job: Job) {
        running = job
        if (cancelled) job.cancel()
    }

    /** Does it, as whoever runs this. */
    suspend fun perform(work: suspend CoroutineScope.() -> Unit) =
        coroutineScope {
            begins(coroutineContext.job)
            work()
        }

    /** The answer, whole: the driver reads lines. */
    fun say(word: String, vararg fields: Pair<String, Any?>) {
        val written = fields.filter { it.second != null }.joinToString("") { (name, value) -> " $name=${encoded(value)}" }
        synchronized(System.out) {
            println("$number $word$written")
            System.out.flush()
        }
    }

    /** All that a program can decide on. */
    fun say(error: SidelockException) {
        val limit = when (error) { is QueueFull -> error.limit; is Conflict -> error.limit; is Invalid -> error.limit; else -> null }
        val retryAfter =
            when (error) {
                is WaitTimeout -> error.retryAfter
                is QueueFull -> error.retryAfter
                is StoreUnavailable -> error.retryAfter
                is Denied -> error.retryAfter
                else -> null
            }
        val current = (error as? Conflict)?.current
        val cycle = (error as? Deadlock)?.cycle
        say(
            "error",
            "kind" to error::class.java.simpleName,
            "code" to error.code,
            "message" to error.message,
            "reason" to (error as? LeaseLost)?.reason?.code,
            "limit" to limit,
            "policy" to (error as? Denied)?.policy,
            "reason_code" to (error as? Denied)?.reasonCode,
            "retry_after" to retryAfter?.inWholeMilliseconds,
            "current" to current?.value,
            "etag" to current?.etag,
            "cycle_owners" to cycle?.map { it.owner },
            "cycle_keys" to cycle?.map { it.key },
        )
    }
}

private fun decoded(text: String): String = URLDecoder.decode(text.replace("+", "%2B"), Charsets.UTF_8)

private fun encoded(value: Any?): String =
    when (value) {
        is Iterable<*> -> value.joinToString(",") { encoded(it) }
        is ByteArray -> value.joinToString("") { byte -> encoded(byte.toInt() and 0xff) }
        else -> value.toString().encodeToByteArray().joinToString("") { byte -> encoded(byte.toInt() and 0xff) }
    }

private fun encoded(byte: Int): String {
    val char = byte.toChar()
    return if (char in 'a'..'z' || char in 'A'..'Z' || char in '0'..'9' || char in "-_./") "$char" else "%%%02X".format(byte)
}
