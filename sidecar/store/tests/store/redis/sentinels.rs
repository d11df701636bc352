//! Sentinels that are not as they should be.

use super::link::Link;
use sidelock_e2e::sentinel::{Ensemble, SERVICE};
use sidelock_store::redis::{Credentials, Mode, RedisConfig, Sentinel};
use std::net::TcpListener;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_sentinel_that_hangs_holds_nobody_up() {
    let ensemble = Ensemble::start();
    // The kernel accepts for it.
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("redis://{}", hangs.local_addr().unwrap());
    let told = Sentinel { service: SERVICE.into(), credentials: Credentials::default() };
    let config = RedisConfig {
        urls: [address].into_iter().chain(ensemble.urls()).collect(),
        mode: Mode::Sentinel(told),
        connect_timeout: Duration::from_secs(20),
        ..RedisConfig::new("")
    };
    let begun = Instant::now();
    Link::start(config, 1).await_up().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "up after {:?}", begun.elapsed());
}
