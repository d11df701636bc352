package dev.sidelock

import dev.sidelock.ffi.Candidacy
import kotlin.time.Duration
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow

/**
 * An election in which this program may stand. Whoever has the lock `leader/NAME` leads, in every language and for
 * `sidelock run --leader`: being the leader is a lease. Its [Lease.fence] is the term, which rises with every leader: give it
 * along with whatever is ordered, and let nobody obey a lower one than it has seen. [Lease.release] resigns.
 */
public class Leader internal constructor(
    private val client: Sidelock,
    private val native: dev.sidelock.ffi.Leader,
    name: String,
    private val maxTerm: Duration?,
) {
    private val key = "leader/$name"

    /**
     * Waits to be elected, in the order of arrival; for [wait] at most, without that as the client's `defaultWait` says.
     * Cancelling withdraws.
     *
     * @throws WaitTimeout the wait is over.
     */
    public suspend fun campaign(wait: Duration? = null): Lease {
        val owner = ownerName()
        val candidacy = Candidacy(waitMs = wait.toWaitMs(), maxTermMs = maxTerm?.toMs("maxTerm"), owner = owner)
        return Lease(native { native.campaign(candidacy, null) }, listOf(key), owner)
    }

    /** Leads if nobody else does, or stops within [wait]; else null. */
    public suspend fun tryCampaign(wait: Duration = Duration.ZERO): Lease? =
        try {
            campaign(wait)
        } catch (_: WaitTimeout) {
            null
        }

    /**
     * Waits to be elected, runs [block] as the leader and resigns. If the leadership is lost, the block is cancelled: somebody
     * else may lead already.
     *
     * @throws LeaseLost it was lost: stand again.
     * @throws WaitTimeout as [campaign].
     */
    public suspend fun <T> lead(wait: Duration? = null, block: suspend CoroutineScope.(Lease) -> T): T =
        held(campaign(wait), client.losses, block)

    /** Who leads now; null: nobody. A leader at another sidecar may be known by no more than that. */
    public suspend fun current(): Holder? = native { native.observe().use { it.current(null)?.toHolder() } }

    /**
     * Who leads now, and then each time that it is another leader, another term or nobody (null). It looks once a second, so a
     * term between two looks is not seen.
     */
    public fun observe(): Flow<Holder?> =
        flow {
            native.observe().use { observer ->
                while (true) emit(native { observer.changed(null)?.toHolder() })
            }
        }
}
