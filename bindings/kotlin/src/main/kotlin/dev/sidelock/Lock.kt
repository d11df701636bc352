package dev.sidelock

import dev.sidelock.ffi.Units
import dev.sidelock.ffi.Wish
import kotlin.time.Duration
import kotlinx.coroutines.CoroutineScope

/**
 * What is rarely said of a request for a lease.
 *
 * @property ttl loses the lease so long after its grant or its last [Lease.renew]. Without this the session keeps it alive.
 * @property maxHold loses the lease so long after its grant, whatever keeps it alive.
 * @property priority ahead of local waiters with a lower one, -100 to 100; a waiter gains one a second.
 * @property reentrant if the owner holds the key already, one more handle of that lease at once, instead of [Deadlock].
 */
public class LeaseOptions(
    public val ttl: Duration? = null,
    public val maxHold: Duration? = null,
    public val priority: Int = 0,
    public val reentrant: Boolean = false,
)

internal val usual = LeaseOptions()

/**
 * Something to acquire: a lock, permits of a semaphore or rate, a share, several keys. Stateless: every acquire gives a new
 * lease, and any number of coroutines can use the same object.
 */
public class Lock internal constructor(
    private val client: Sidelock,
    private val keys: List<String>,
    private val units: Units,
    private val options: LeaseOptions,
) {
    /**
     * Acquires it, waiting for [wait] at most; without that, as the client's `defaultWait` says. Cancelling leaves the queue.
     *
     * Where the lease could get lost between here and its owner, as inside of `withTimeout`, it is given back when it is
     * collected; [withLease] and [wait] have no such gap.
     *
     * @throws WaitTimeout the wait is over.
     * @throws SidelockException for any other reason.
     */
    public suspend fun acquire(wait: Duration? = null): Lease {
        val owner = ownerName()
        val wish =
            Wish(
                keys = keys,
                units = units,
                waitMs = wait.toWaitMs(),
                ttlMs = options.ttl?.toMs("ttl"),
                maxHoldMs = options.maxHold?.toMs("maxHold"),
                owner = owner,
                priority = options.priority,
                reentrant = options.reentrant,
            )
        return Lease(native { client.native().acquire(wish, null) }, keys, owner)
    }

    /** Acquires it if it is free, or becomes free within [wait]; else null. */
    public suspend fun tryAcquire(wait: Duration = Duration.ZERO): Lease? =
        try {
            acquire(wait)
        } catch (_: WaitTimeout) {
            null
        }

    /**
     * Acquires it, runs [block] and gives it back. If the lease is lost, the block is cancelled with all that it started.
     *
     * @throws LeaseLost the lease was lost while the block ran: what it did may have been done beside somebody else.
     * @throws SidelockException as [acquire].
     */
    public suspend fun <T> withLease(wait: Duration? = null, block: suspend CoroutineScope.(Lease) -> T): T =
        held(acquire(wait), client.losses, block)

    /** As [withLease] if it is free, or becomes free within [wait]; else null, and the block does not run. */
    public suspend fun <T> tryWithLease(wait: Duration = Duration.ZERO, block: suspend CoroutineScope.(Lease) -> T): T? =
        tryAcquire(wait)?.let { held(it, client.losses, block) }
}

/** Many readers or one writer: the lock of the same key is its writer. */
public class RwLock internal constructor(private val client: Sidelock, private val key: String, private val options: LeaseOptions) {
    /** A share, beside other readers. */
    public fun read(): Lock = Lock(client, listOf(key), Units.Shared, options)

    /** All of it. */
    public fun write(): Lock = Lock(client, listOf(key), Units.Exclusive, options)
}
