package dev.sidelock

import dev.sidelock.ffi.Client
import dev.sidelock.ffi.Options
import dev.sidelock.ffi.TurnWish
import dev.sidelock.ffi.Units
import java.nio.file.Path
import kotlin.time.Duration
import kotlinx.coroutines.CoroutineScope

/**
 * A client of the sidecar on this host. It connects when it is first used, and comes back by itself when the sidecar
 * restarts. Any number of coroutines and threads share it: one per process is enough.
 *
 * ```
 * val sl = Sidelock()
 * sl.withLock("orders/42", wait = 5.seconds) { lease -> updateOrder(42, fence = lease.fence) }
 * ```
 *
 * Whatever goes wrong is a [SidelockException], whose message says what to do. Coroutines are owners of their own, see
 * [withOwner].
 */
public class Sidelock private constructor(internal val losses: Losses, private val client: Client) : AutoCloseable {
    init {
        NativeThread.attach()
    }

    /**
     * A client of the sidecar at [socket]; without that at `SIDELOCK_SOCKET`, or in one of the usual places.
     *
     * @param app what this program calls itself, for people who ask who holds a lock; else its main class.
     * @param defaultWait how long requests wait that do not say; else without end.
     * @param requireScope refuses a sidecar whose locks reach less far; else what `SIDELOCK_REQUIRE_SCOPE` says.
     */
    public constructor(
        socket: Path? = null,
        app: String? = null,
        defaultWait: Duration? = null,
        requireScope: Scope? = null,
    ) : this(Losses(), options(socket, app, defaultWait, requireScope))

    private constructor(losses: Losses, options: Options) : this(losses, Client(options, losses))

    /** The lock [key]: 1 to 512 bytes of UTF-8, `/`-separated by convention. */
    public fun lock(key: String, options: LeaseOptions = usual): Lock = Lock(this, listOf(key), Units.Exclusive, options)

    /** [permits] of the semaphore [key], which has [limit] of them. All who use it at a time agree on the limit. */
    public fun semaphore(key: String, limit: Int, permits: Int = 1, options: LeaseOptions = usual): Lock =
        Lock(this, listOf(key), Units.Permits(permits.units("permits"), limit.units("limit")), options)

    /**
     * [permits] of a rate: at most [limit] in any window of [per], whoever asks. A permit comes back that long after its grant,
     * whatever becomes of its lease; a block that runs longer is not cancelled by that.
     */
    public fun rate(key: String, limit: Int, per: Duration, permits: Int = 1, options: LeaseOptions = usual): Lock =
        Lock(this, listOf(key), Units.Rate(permits.units("permits"), limit.units("limit"), per.toMs("per")), options)

    /** The readers/writer lock [key]: many readers or one writer. [lock] on the same key is its writer. */
    public fun rwLock(key: String, options: LeaseOptions = usual): RwLock = RwLock(this, key, options)

    /**
     * The locks of all these [keys], all or nothing, in any order. Nobody who asks for several keys in this way waits for another
     * who does for ever. As soon as one of them is lost all are.
     */
    public fun lockAll(keys: Collection<String>, shared: Boolean = false, options: LeaseOptions = usual): Lock =
        Lock(this, keys.toList(), if (shared) Units.Shared else Units.Exclusive, options)

    /** Runs [block] under the lock [key]; see [Lock.withLease]. */
    public suspend fun <T> withLock(key: String, wait: Duration? = null, block: suspend CoroutineScope.(Lease) -> T): T =
        lock(key).withLease(wait, block)

    /** The lock [key] if it is free, or becomes free within [wait]; else null. */
    public suspend fun tryLock(key: String, wait: Duration = Duration.ZERO): Lease? = lock(key).tryAcquire(wait)

    /** Runs [block] under the lock [key] if that is free, or becomes free within [wait]; else null. */
    public suspend fun <T> withTryLock(key: String, wait: Duration = Duration.ZERO, block: suspend CoroutineScope.(Lease) -> T): T? =
        lock(key).tryWithLease(wait, block)

    /** Runs [block] with a permit of the semaphore [key]; see [semaphore]. */
    public suspend fun <T> withPermit(key: String, limit: Int, wait: Duration? = null, block: suspend CoroutineScope.(Lease) -> T): T =
        semaphore(key, limit).withLease(wait, block)

    /** Runs [block] with [permits] of the semaphore [key]; see [semaphore]. */
    public suspend fun <T> withPermits(
        key: String,
        permits: Int,
        limit: Int,
        wait: Duration? = null,
        block: suspend CoroutineScope.(Lease) -> T,
    ): T = semaphore(key, limit, permits).withLease(wait, block)

    /** Runs [block] with a permit of the rate [key]; see [rate]. */
    public suspend fun <T> withRate(
        key: String,
        limit: Int,
        per: Duration,
        wait: Duration? = null,
        block: suspend CoroutineScope.(Lease) -> T,
    ): T = rate(key, limit, per).withLease(wait, block)

    /** Runs [block] as a reader of [key], beside others. */
    public suspend fun <T> withReadLock(key: String, wait: Duration? = null, block: suspend CoroutineScope.(Lease) -> T): T =
        rwLock(key).read().withLease(wait, block)

    /** Runs [block] as the writer of [key], alone. */
    public suspend fun <T> withWriteLock(key: String, wait: Duration? = null, block: suspend CoroutineScope.(Lease) -> T): T =
        rwLock(key).write().withLease(wait, block)

    /** Runs [block] under the locks of all [keys]; see [lockAll]. */
    public suspend fun <T> withLocks(keys: Collection<String>, wait: Duration? = null, block: suspend CoroutineScope.(Lease) -> T): T =
        lockAll(keys).withLease(wait, block)

    /**
     * Enters the once key [key]: what is to be done once per window of [per].
     *
     * Whoever comes first is given the turn; the others wait for it, and get its result when it is finished, as does everybody
     * who comes before the window ends. Promised is at most one *successful finish* per window: a body may run again if its
     * runner dies, loses its lease, or fails.
     *
     * @throws WaitTimeout somebody still has the turn when [wait] is over.
     */
    public suspend fun enter(
        key: String,
        per: Duration,
        align: Align = Align.ROLLING,
        wait: Duration? = null,
        options: LeaseOptions = usual,
    ): Once<Turn> {
        if (options.reentrant) throw Invalid("a turn can not be reentrant")
        val owner = ownerName()
        val wish =
            TurnWish(
                key = key,
                perMs = per.toMs("per"),
                align = dev.sidelock.ffi.Align.valueOf(align.name),
                waitMs = wait.toWaitMs(),
                ttlMs = options.ttl?.toMs("ttl"),
                maxHoldMs = options.maxHold?.toMs("maxHold"),
                owner = owner,
                priority = options.priority,
            )
        return native { native().enter(wish, null) }.toOnce(key, owner)
    }

    /** As [enter]; null: somebody has the turn and is at it. */
    public suspend fun tryEnter(
        key: String,
        per: Duration,
        align: Align = Align.ROLLING,
        wait: Duration = Duration.ZERO,
        options: LeaseOptions = usual,
    ): Once<Turn>? =
        try {
            enter(key, per, align, wait, options)
        } catch (_: WaitTimeout) {
            null
        }

    /**
     * Runs [block] if it is our turn; see [enter]. When it is done, with all that it started, the turn is finished, with no bytes
     * unless it calls [Turn.finish]; an exception gives the turn back, and the next who waits has it. If the turn is lost, the block
     * is cancelled with all that it started.
     *
     * @throws LeaseLost the turn was lost: it does not count, and somebody else may run.
     */
    public suspend fun <T> once(
        key: String,
        per: Duration,
        align: Align = Align.ROLLING,
        wait: Duration? = null,
        options: LeaseOptions = usual,
        block: suspend CoroutineScope.(Turn) -> T,
    ): Once<T> =
        when (val entered = enter(key, per, align, wait, options)) {
            is Once.Done -> entered
            is Once.Won -> Once.Won(inTurn(entered.value, losses, block))
        }

    /** The register [key]: a value of up to 64 KiB with a version, in a name space of its own. */
    public fun register(key: String): Register = Register(native().register(key))

    /** The election of who leads [name]: its lock is `leader/NAME`. [maxTerm]: leads for so long at most, so that the turn goes round. */
    public fun leader(name: String, maxTerm: Duration? = null): Leader = Leader(this, native().leader(name), name, maxTerm)

    /** Who has [key] now, a hundred at most; nobody: it is free. Disturbs nobody. */
    public suspend fun holders(key: String): List<Holder> = native { native().holders(key, null).map { it.toHolder() } }

    /** What the sidecar says of itself; connects if need be. Null while the connection is broken. */
    public suspend fun sidecar(): Sidecar? = native { native().connect(null)?.toSidecar() }

    /**
     * Ends it at once: its leases are lost ([LossReason.SESSION]), which cancels what runs under them, and whatever waits or is
     * asked from now on is [Invalid]. Doing it again does nothing. Without this it ends with its last reference.
     */
    override fun close(): Unit = client.end()

    internal fun native(): Client = client

    /** A client without a sidecar. */
    public companion object {
        /**
         * A client with a sidecar of its own inside this process, on the memory store: for tests of your code. Its locks reach
         * all who use this client.
         */
        public fun embedded(defaultWait: Duration? = null): Sidelock {
            val losses = Losses()
            return Sidelock(losses, Client.embedded(options(null, null, defaultWait, null), losses))
        }
    }
}

private fun options(socket: Path?, app: String?, defaultWait: Duration?, requireScope: Scope?) =
    Options(
        socket = socket?.toString(),
        app = app ?: program(),
        defaultWaitMs = defaultWait?.toMs("defaultWait"),
        requireScope = requireScope?.let { dev.sidelock.ffi.Scope.valueOf(it.name) },
    )

/** What a person would call the running program: its main class or its jar. */
private fun program(): String? =
    System.getProperty("sun.java.command")?.substringBefore(' ')?.substringAfterLast('/')?.takeIf { it.isNotEmpty() }

private fun Int.units(name: String): UInt = if (this >= 0) toUInt() else throw Invalid("$name is $this; it has to be 1 or more")
