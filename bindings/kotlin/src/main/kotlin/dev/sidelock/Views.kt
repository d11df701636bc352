package dev.sidelock

import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds

// What can be seen of keys and sidecars without holding anything.

/** How much of a key. */
public enum class Mode {
    /** All of it. */
    EXCLUSIVE,

    /** A share, beside other readers. */
    SHARED,

    /** Some of a semaphore's or a rate's permits. */
    PERMITS,
    ;

    internal companion object {
        fun named(name: String): Mode = valueOf(name.uppercase())
    }
}

/** How far a sidecar's locks reach. */
public enum class Scope {
    /** This process: the embedded sidecar. */
    PROCESS,

    /** This host: a sidecar on its memory store. */
    HOST,

    /** All sidecars that share the store. */
    FLEET,
}

/** What holds through a loss of the store's data. */
public enum class Guarantee {
    /** Nothing to lose: the store lives and dies with the sidecar. */
    LOCAL,

    /** Leases of before and after may overlap for as long as a lease lasts; fences stay ordered. */
    BOUNDED,

    /** No grant until every lease of before has run out. */
    STRICT,
}

/**
 * One of those who have a key.
 *
 * @property mode how much of it.
 * @property isLocal it is a lease of this client's sidecar.
 * @property isKnown its sidecar said whose it is. If not, because it is stopped or busy, no more is known than that it has the key.
 * @property app what the program with the lease calls itself; empty if that is not known.
 * @property uid that program's user id, if that is known.
 * @property owner the owner that asked for it, if that is known.
 * @property fence the lease's fence token, if it is known; what is only reserved has none yet.
 * @property heldFor since its grant, if that is known.
 * @property expiresIn until it ends, unless it is extended before.
 */
public class Holder internal constructor(
    public val mode: Mode,
    public val isLocal: Boolean,
    public val isKnown: Boolean,
    public val app: String,
    public val uid: Int?,
    public val owner: String?,
    public val fence: Long?,
    public val heldFor: Duration?,
    public val expiresIn: Duration,
) {
    override fun toString(): String = "$app ($mode, fence $fence)"
}

/**
 * What the sidecar says of itself.
 *
 * @property scope how far its locks reach.
 * @property guarantee what holds through a loss of the store's data.
 * @property namespace the part of the store that it works in.
 */
public class Sidecar internal constructor(public val scope: Scope, public val guarantee: Guarantee, public val namespace: String)

internal fun dev.sidelock.ffi.Holder.toHolder() =
    Holder(
        mode = Mode.named(mode),
        isLocal = local,
        isKnown = known,
        app = app,
        uid = uid?.toInt(),
        owner = owner,
        fence = fence?.toLong(),
        heldFor = heldForMs?.toLong()?.milliseconds,
        expiresIn = expiresInMs.toLong().milliseconds,
    )

internal fun dev.sidelock.ffi.Sidecar.toSidecar() =
    Sidecar(Scope.valueOf(scope.name), Guarantee.valueOf(guarantee.name), namespace)
