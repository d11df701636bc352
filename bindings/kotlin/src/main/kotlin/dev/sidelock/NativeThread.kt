package dev.sidelock

import com.sun.jna.CallbackThreadInitializer
import com.sun.jna.Native
import dev.sidelock.ffi.uniffiRustFutureContinuationCallbackImpl

/**
 * The thread of the native library that says when a coroutine can go on.
 *
 * Owns its standing in the JVM: a daemon, which keeps no program running, that stays attached. Left to itself it would become a
 * new Java thread with every wake-up, which takes longer than all else that a lock costs.
 */
internal object NativeThread {
    init {
        Native.setCallbackThreadInitializer(
            uniffiRustFutureContinuationCallbackImpl,
            CallbackThreadInitializer(true, false, "sidelock"),
        )
    }

    /** To be said before the first call that suspends. */
    fun attach() = Unit
}
