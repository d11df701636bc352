package dev.sidelock

import java.util.Collections
import java.util.WeakHashMap
import java.util.concurrent.atomic.AtomicLong
import kotlin.coroutines.Continuation
import kotlin.coroutines.CoroutineContext
import kotlin.coroutines.jvm.internal.CoroutineStackFrame
import kotlinx.coroutines.CoroutineName
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.job

// Who asks: one sequential actor, for the detection of deadlocks.
//
// Owns the owner of the code that runs now. A coroutine is known by its `Job`. `coroutineScope`, `withContext` and `withTimeout`
// make a `Job` of their own, but their caller is suspended until they end: what runs in them is the caller, going on. What
// `launch` and `async` start is somebody else, whatever it inherits: two actors under one name would be taken for one that
// waits for itself.

private val numbers = AtomicLong()

/** Names of jobs; of those only that asked for something or were named. */
private val names: MutableMap<Job, String> = Collections.synchronizedMap(WeakHashMap())

/**
 * Runs [block] as the owner [name].
 *
 * Owners matter for deadlocks: one that holds `a` and waits for `b`, while another holds `b` and waits for `a`, is told
 * [Deadlock] instead of waiting for ever. Without this each coroutine is an owner of its own, and what it starts is not.
 * Use it to join what does one thing after the other but is spread over several coroutines or threads: each says the same
 * name. An owner waits for one thing at a time; a second request meanwhile is [Invalid].
 */
public suspend fun <T> withOwner(name: String, block: suspend CoroutineScope.() -> T): T =
    coroutineScope {
        names[coroutineContext.job] = name
        block()
    }

/** The name of the owner that runs now. */
internal suspend fun ownerName(): String {
    val context = currentCoroutineContext()
    var job = context[Job] ?: return fresh(context)
    while (true) {
        names[job]?.let { return it }
        job = job.caller ?: break
    }
    return names.computeIfAbsent(job) { fresh(context) }
}

/** What runs in this scope goes on as the owner that it is of, also where that can not be seen: its caller has no `Job`. */
internal fun CoroutineScope.goesOnAs(owner: String) {
    var job = coroutineContext.job
    while (job !in names) job = job.caller ?: break
    names.putIfAbsent(job, owner)
}

/**
 * Of a scope the coroutine that is suspended until it ends. Where coroutines do not show that, each scope is its own owner:
 * a deadlock may go unseen then, and none is made up.
 */
private val Job.caller: Job?
    get() = ((this as? CoroutineStackFrame)?.callerFrame as? Continuation<*>)?.context?.get(Job)

/** Short, because a name has 128 bytes at most. */
private fun fresh(context: CoroutineContext): String {
    val shown = context[CoroutineName]?.name ?: Thread.currentThread().name
    return "${shown.take(SHOWN_MAX)}#${numbers.incrementAndGet()}"
}

private const val SHOWN_MAX = 32
