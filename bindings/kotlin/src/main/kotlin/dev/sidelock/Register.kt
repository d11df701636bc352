package dev.sidelock

import dev.sidelock.ffi.Condition
import dev.sidelock.ffi.Value
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow

/**
 * What a register holds: `val (value, etag) = register.get()`.
 *
 * @property value the bytes, at most 64 KiB.
 * @property etag their version, which no other value of the register ever has.
 */
public class Versioned internal constructor(public val value: ByteArray, public val etag: String) {
    /** [value]. */
    public operator fun component1(): ByteArray = value

    /** [etag]. */
    public operator fun component2(): String = etag

    /** [value] as text in UTF-8. */
    public fun text(): String = value.decodeToString()

    override fun equals(other: Any?): Boolean = other is Versioned && etag == other.etag && value.contentEquals(other.value)

    override fun hashCode(): Int = etag.hashCode()

    override fun toString(): String = "${value.size} bytes, version $etag"
}

/**
 * A small value with a version. The lock of the same name protects it if its users want that: with a lease, an operation
 * happens only under that live exclusive lease, and no earlier holder's write gets in after it.
 */
public class Register internal constructor(private val native: dev.sidelock.ffi.Register) {
    /**
     * Its value and version.
     *
     * @throws NotFound it has none.
     */
    public suspend fun get(lease: Lease? = null): Versioned = native { native.get(lease?.held(), null).toVersioned() }

    /** Its value and version; null: it has none. */
    public suspend fun getOrNull(lease: Lease? = null): Versioned? =
        try {
            get(lease)
        } catch (_: NotFound) {
            null
        }

    /**
     * Gives it another value, at most 64 KiB; returns the version of that. [ifMatch]: only if this version is there;
     * [ifAbsent]: only if there is no value.
     *
     * @throws Conflict the condition does not hold; it tells what is there.
     * @throws OutcomeUnknown it may have happened; read before you repeat it.
     */
    public suspend fun put(value: ByteArray, ifMatch: String? = null, ifAbsent: Boolean = false, lease: Lease? = null): String {
        val condition =
            when {
                ifMatch != null && ifAbsent -> throw Invalid("a write has one condition: ifMatch or ifAbsent")
                ifMatch != null -> Condition.IfMatch(ifMatch)
                ifAbsent -> Condition.IfAbsent
                else -> Condition.Always
            }
        return native { native.put(value, condition, lease?.held(), null) }
    }

    /**
     * Takes its value away.
     *
     * @throws NotFound it has none.
     * @throws Conflict it is another version than [ifMatch].
     */
    public suspend fun delete(ifMatch: String? = null, lease: Lease? = null): Unit =
        native { native.delete(ifMatch, lease?.held(), null) }

    /**
     * Its value now, or the first that is not the version [after]; and then each time that it is another one. Null: there is
     * none now. Values in between may be missed, the last one never. Ends with its collector.
     */
    public fun watch(after: String? = null): Flow<Versioned?> =
        flow {
            native.watch(after).use { watch ->
                while (true) emit(native { watch.next(null)?.toVersioned() })
            }
        }
}

internal fun Value.toVersioned(): Versioned = Versioned(value, etag)
