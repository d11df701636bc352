//! Four instances of a service start at once: one of them migrates the database, the others wait and find it done.
//! Start a sidecar first: `sidelock serve`; with `--redis` the instances may be on different hosts.

use sidelock_client::{Client, Error};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const SCHEMA_WANTED: u32 = 7;

/// Stands for the database.
#[derive(Default)]
struct Database {
    schema: AtomicU32,
    migrations: AtomicU32,
}

impl Database {
    async fn migrate(&self) {
        self.migrations.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.schema.store(SCHEMA_WANTED, Ordering::SeqCst);
    }
}

/// An instance's start. The look at the schema is under the lock: who waited for it finds the work done.
async fn start(instance: u32, database: &Database) -> Result<(), Error> {
    let one_at_a_time = Client::connect_default().await?.lock("migrations/shop");
    let migrated = one_at_a_time.run(async |_| {
        let outdated = database.schema.load(Ordering::SeqCst) < SCHEMA_WANTED;
        if outdated {
            database.migrate().await;
        }
        outdated
    });
    let did = if migrated.await? { "migrated the database" } else { "found it migrated" };
    say(&format!("instance {instance} {did}"));
    assert_eq!(database.schema.load(Ordering::SeqCst), SCHEMA_WANTED, "no instance serves before it is done");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let database = Arc::new(Database::default());
    let mut instances = JoinSet::new();
    for instance in 1..=4 {
        let database = database.clone();
        instances.spawn(async move { start(instance, &database).await });
    }
    instances.join_all().await.into_iter().collect::<Result<(), Error>>()?;
    assert_eq!(database.migrations.load(Ordering::SeqCst), 1);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example's output")]
fn say(text: &str) {
    println!("{text}");
}
