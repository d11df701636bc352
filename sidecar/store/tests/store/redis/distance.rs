//! A Redis that is far away, or behind a narrow line.

use super::link::{Link, applied, granted};
use super::server::Server;
use sidelock_engine::store::{Condition, Op, WriteRegister};
use sidelock_engine::{AskId, Key, RESULT_BYTES_MAX, Space};
use sidelock_store::redis::{RedisConfig, StoreEvent};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// How bytes travel, either way.
#[derive(Clone, Copy)]
struct Line {
    /// So much later they arrive, however many …
    away: Duration,
    /// … but no more than this of them in a second.
    per_second: f64,
}

/// Carries bytes.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, line: Line) {
    let (sender, mut under_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let departs = async move {
        let (mut chunk, mut free) = (vec![0; 64 * 1024], Instant::now());
        while let Ok(read @ 1..) = from.read(&mut chunk).await {
            free = free.max(Instant::now()) + Duration::from_secs_f64(read as f64 / line.per_second);
            if sender.send((free + line.away, chunk[..read].to_vec())).is_err() {
                return;
            }
        }
    };
    let arrives = async move {
        while let Some((at, bytes)) = under_way.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(departs, arrives);
}

/// A port of loopback from which this line leads to the server.
async fn far(server: PathBuf, line: Line) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(join(near, server.clone(), line));
        }
    });
    port
}

async fn join(near: TcpStream, server: PathBuf, line: Line) {
    let ((from, to), far) = (near.into_split(), UnixStream::connect(server).await.unwrap());
    let (back, forth) = far.into_split();
    tokio::join!(carry(from, forth, line), carry(back, to, line));
}

#[tokio::test]
async fn a_redis_on_another_continent_can_be_used() {
    let server = Server::start(&[]);
    let line = Line { away: Duration::from_millis(150), per_second: f64::INFINITY };
    let port = far(server.socket(), line).await;
    let mut link = Link::start(RedisConfig::new(format!("redis://127.0.0.1:{port}")), 1);
    link.await_up().await;
    assert!(granted(&link.one(link.ask("k")).await));
}

/// 128 values of 64 KiB, which is what one pipeline takes at most, travel for longer than an answer is awaited: the connection is
/// given up, and all of it is sent anew. Leases are renewed all the same.
#[tokio::test]
async fn long_values_on_a_narrow_line_cost_no_lease() {
    let server = Server::start(&[]);
    let port = far(server.socket(), Line { away: Duration::ZERO, per_second: 2.5e6 }).await;
    let mut link = Link::start(RedisConfig::new(format!("redis://127.0.0.1:{port}")), 1);
    link.await_up().await;
    assert!(granted(&link.one(link.ask("held")).await));
    let write = |link: &Link, number: u64| {
        let (key, seq) = (Key::of(Space::Register, &number.to_string()).unwrap(), number);
        let (id, condition) = (AskId { incarnation: link.incarnation, seq }, Condition::Any);
        let value = Some(vec![b'v'; RESULT_BYTES_MAX].into());
        Op::WriteRegister(WriteRegister {
            key,
            id,
            condition,
            value,
            refuse_after: link.at + Duration::from_secs(60),
            bound: None,
        })
    };
    let all = |link: &mut Link| {
        let mut ops: Vec<Op> = (0..128).map(|number| write(link, number)).collect();
        ops.push(link.renew("held"));
        *link.send(ops).last().unwrap()
    };
    let mut renewal = all(&mut link);
    let (begun, mut renewed, mut lost, mut longest) = (Instant::now(), Instant::now(), 0, Duration::ZERO);
    while begun.elapsed() < Duration::from_secs(8) {
        match link.event().await {
            StoreEvent::Answer { call, outcome } if call == renewal && applied(&outcome) => {
                longest = longest.max(renewed.elapsed());
                renewed = Instant::now();
            }
            StoreEvent::Down { .. } => lost += 1,
            // As the engine does with what was not answered.
            StoreEvent::Up { .. } => renewal = all(&mut link),
            _ => {}
        }
    }
    assert!(lost >= 2, "the line is not narrow: lost {lost} times");
    longest = longest.max(renewed.elapsed());
    assert!(longest < Duration::from_secs(4), "not renewed for {longest:?}; a tenure lives for 10 s");
}
