//! A Redis that is far away.

use super::link::{Link, granted};
use super::server::Server;
use sidelock_store::redis::RedisConfig;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// One way: a server on the other side of the world.
const AWAY: Duration = Duration::from_millis(150);

/// Carries bytes so much later, however many.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let (sender, mut under_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let departs = async move {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut chunk).await {
            sender.send((Instant::now() + AWAY, chunk[..read].to_vec())).unwrap();
        }
    };
    let arrives = async move {
        while let Some((at, bytes)) = under_way.recv().await {
            sleep_until(at).await;
            to.write_all(&bytes).await.unwrap();
        }
    };
    tokio::join!(departs, arrives);
}

/// A port of loopback from which it is so far to the server.
async fn far(server: PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(join(near, server.clone()));
        }
    });
    port
}

async fn join(near: TcpStream, server: PathBuf) {
    let ((from, to), far) = (near.into_split(), UnixStream::connect(server).await.unwrap());
    let (back, forth) = far.into_split();
    tokio::join!(carry(from, forth), carry(back, to));
}

#[tokio::test]
async fn a_redis_on_another_continent_can_be_used() {
    let server = Server::start(&[]);
    let port = far(server.socket()).await;
    let mut link = Link::start(RedisConfig::new(format!("redis://127.0.0.1:{port}")), 1);
    link.await_up().await;
    assert!(granted(&link.one(link.ask("k")).await));
}
