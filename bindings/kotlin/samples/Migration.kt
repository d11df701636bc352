// Instances of a service start at once: one of them migrates the database, the others wait and find it done.
// Start a sidecar first: `sidelock serve`; with `--redis` the instances may be on different hosts.

import dev.sidelock.Sidelock
import java.util.concurrent.atomic.AtomicInteger
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.minutes
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking

private const val SCHEMA_WANTED = 7

/** Stands for the database, which lets in nobody with a lower fence than it has seen. */
private object Database {
    @Volatile var schema = 6
    private val highest = java.util.concurrent.atomic.AtomicLong()
    val migrations = AtomicInteger()

    suspend fun migrate(fence: Long) {
        check(highest.getAndUpdate { maxOf(it, fence) } <= fence) { "a migration that was overtaken" }
        migrations.incrementAndGet()
        delay(200.milliseconds)
        schema = SCHEMA_WANTED
    }
}

/** An instance's start. The look at the schema is under the lock: who waited for it finds the work done. */
private suspend fun start(instance: Int) {
    Sidelock(app = "shop-$instance").use { sl ->
        sl.withLock("migrations/shop", wait = 5.minutes) { lease ->
            if (Database.schema < SCHEMA_WANTED) {
                Database.migrate(lease.fence)
                println("instance $instance migrated the database")
            }
        }
    }
    check(Database.schema == SCHEMA_WANTED) { "no instance serves before it is done" }
}

fun main() = runBlocking {
    coroutineScope {
        for (instance in 1..4) launch(Dispatchers.Default) { start(instance) }
    }
    check(Database.migrations.get() == 1)
    println("4 instances started")
}
