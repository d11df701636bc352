// The player for Kotlin: an actor is a coroutine.
//
// `bindings/cases/README.md` describes what it is told and what it answers.

import dev.sidelock.Align
import dev.sidelock.Lease
import dev.sidelock.LeaseOptions
import dev.sidelock.Lock
import dev.sidelock.Once
import dev.sidelock.Register
import dev.sidelock.Scope
import dev.sidelock.Sidelock
import dev.sidelock.SidelockException
import dev.sidelock.Turn
import dev.sidelock.Versioned
import dev.sidelock.withOwner
import java.nio.file.Path
import java.util.concurrent.ConcurrentHashMap
import kotlin.time.Duration
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.filterNotNull
import kotlinx.coroutines.joinAll
import kotlinx.coroutines.launch
import kotlinx.coroutines.supervisorScope
import kotlinx.coroutines.yield

private val clients = ConcurrentHashMap<String, Sidelock>()
private val actors = ConcurrentHashMap<String, Actor>()

/** One order after the other, in a coroutine of its own. */
private class Actor(scope: CoroutineScope, @Volatile private var connected: Sidelock? = null) {
    private val inbox = Channel<Order>(Channel.UNLIMITED)
    private var last: Order? = null
    private val held = HashMap<String, Any>()

    init {
        scope.launch { supervisorScope { live() } }
    }

    fun tell(order: Order) {
        last = order
        inbox.trySend(order)
    }

    fun cancel() = last?.cancel()

    private suspend fun CoroutineScope.live() {
        val children = this
        for (order in inbox) {
            try {
                order.perform { perform(order, children) }
            } catch (error: SidelockException) {
                order.say(error)
            } catch (_: CancellationException) {
                currentCoroutineContext().ensureActive()
                order.say("cancelled")
            }
            if (order.verb == "owner") return withOwner(order.text("owner")) { live() }
            if (order.verb == "close") return
        }
    }

    private val client: Sidelock get() = connected ?: error("the driver connects first")

    private suspend fun perform(order: Order, children: CoroutineScope) {
        when (order.verb) {
            "connect" -> connect(order)
            "close" -> close(order)
            "owner" -> order.say("ok")
            "spawn" -> {
                // A child of this coroutine, with its context.
                actors[order.text("child")] = Actor(children, connected)
                order.say("ok")
            }
            "acquire", "lock_all" -> keep(order, request(order).acquire(order.span("wait")))
            "try", "try_all" -> keep(order, request(order).tryAcquire(order.span("wait") ?: Duration.ZERO))
            "run" -> request(order).withLease(order.span("wait")) { awaitCancellation() }
            "storm" -> storm(order)
            "once" -> entered(order, client.enter(order.text("key"), per(order), align(order), order.span("wait"), options(order)))
            "try_once" -> {
                val wait = order.span("wait") ?: Duration.ZERO
                entered(order, client.tryEnter(order.text("key"), per(order), align(order), wait, options(order)))
            }
            "finish" -> done(order) { (held[order.text("lease")] as Turn).finish(order.text("result").encodeToByteArray()) }
            "release" ->
                done(order) {
                    val given = held.remove(order.text("lease"))
                    if (given is Turn) given.giveBack() else (given as Lease).release()
                }
            "drop" -> {
                held.remove(order.text("lease"))
                // The frames of what was resumed last may still be there, and refer to it.
                yield()
                System.gc()
                order.say("ok")
            }
            "upgrade" -> {
                val lease = lease(order)
                lease.upgrade(order.span("wait"))
                held.remove(order.text("lease"))
                keep(order, lease)
            }
            "downgrade" -> done(order) { lease(order).downgrade() }
            "renew" -> done(order) { lease(order).renew(order.span("ttl") ?: Duration.ZERO) }
            "valid" -> order.say(if (lease(order).isValid) "yes" else "no")
            "lost" -> order.say("lost", "reason" to lease(order).lost()?.code)
            "get" -> say(order, register(order).get(fenced(order)))
            "put" -> {
                val value = order.text("value").encodeToByteArray()
                val etag = register(order).put(value, order.maybe("if_match"), "if_absent" in order, fenced(order))
                order.say("etag", "etag" to etag)
            }
            "delete" -> done(order) { register(order).delete(order.maybe("if_match"), fenced(order)) }
            "watch" -> {
                val after = order.maybe("after")
                // What a watch told first is what it goes on after.
                val found = if (after == "absent") register(order).watch().filterNotNull() else register(order).watch(after)
                say(order, found.first())
            }
            else -> error("there is no ${order.verb}")
        }
    }

    private suspend fun connect(order: Order) {
        val name = order.text("client")
        val scope = order.maybe("require_scope")?.let { Scope.valueOf(it.uppercase()) }
        val client = clients[name] ?: Sidelock(Path.of(order.text("socket")), name, order.span("default_wait"), scope)
        client.sidecar()
        clients[name] = client
        connected = client
        order.say("ok")
    }

    private fun close(order: Order) {
        held.values.forEach { (it as AutoCloseable).close() }
        held.clear()
        val client = client
        connected = null
        if (actors.values.none { it.connected === client }) client.close()
        clients.clear()
        order.say("ok")
    }

    private fun options(order: Order) =
        LeaseOptions(order.span("ttl"), order.span("max_hold"), order.number("priority") ?: 0, "reentrant" in order)

    private fun request(order: Order): Lock {
        val options = options(order)
        if ("keys" in order) return client.lockAll(order.texts("keys"), "shared" in order, options)
        val key = order.text("key")
        val limit = order.number("limit")
        val permits = order.number("permits") ?: 1
        val per = order.span("per")
        return when {
            limit != null && per != null -> client.rate(key, limit, per, permits, options)
            limit != null -> client.semaphore(key, limit, permits, options)
            "shared" in order -> client.rwLock(key, options).read()
            "write" in order -> client.rwLock(key, options).write()
            else -> client.lock(key, options)
        }
    }

    private fun keep(order: Order, lease: Lease?) {
        if (lease == null) return order.say("none")
        held[order.text("as")] = lease
        when {
            "keys" in order -> order.say("lease", "keys" to lease.fences.keys, "fence" to lease.fences.values)
            else -> order.say("lease", "fence" to lease.fence)
        }
    }

    private fun per(order: Order) = order.span("per") ?: Duration.ZERO

    private fun align(order: Order) = if (order.maybe("align") == "utc") Align.UTC else Align.ROLLING

    private fun entered(order: Order, once: Once<Turn>?) {
        when (once) {
            null -> order.say("none")
            is Once.Done -> order.say("done", "result" to once.result)
            is Once.Won -> {
                held[order.text("as")] = once.value
                order.say("turn", "fence" to once.value.lease.fence)
            }
        }
    }

    private suspend fun storm(order: Order) {
        val asking = request(order)
        coroutineScope {
            val waits = List(order.number("times") ?: 1) { launch(start = CoroutineStart.UNDISPATCHED) { asking.acquire() } }
            waits.forEach { it.cancel() }
            waits.joinAll()
            check(waits.all { it.isCancelled }) { "nobody else lets go of the key" }
        }
        order.say("ok")
    }

    private fun lease(order: Order, name: String = "lease"): Lease =
        held.getValue(order.text(name)).let { if (it is Turn) it.lease else it as Lease }

    private fun fenced(order: Order): Lease? = if ("fenced" in order) lease(order, "fenced") else null

    private fun register(order: Order): Register = client.register(order.text("key"))

    private fun say(order: Order, value: Versioned?) =
        if (value == null) order.say("absent") else order.say("value", "value" to value.value, "etag" to value.etag)

    private inline fun done(order: Order, work: () -> Unit) {
        work()
        order.say("ok")
    }
}

fun main() {
    val stage = CoroutineScope(SupervisorJob() + Dispatchers.Default)
    for (line in generateSequence(::readlnOrNull)) {
        val order = Order(line)
        val actor = actors.computeIfAbsent(order.actor) { Actor(stage) }
        if (order.verb == "cancel") {
            actor.cancel()
            continue
        }
        if (order.verb == "close") actors.remove(order.actor)
        actor.tell(order)
    }
}
