//! The network between one sidecar and Redis, and what goes wrong in it.
//!
//! Owns a port in front of Redis' socket, and what becomes of the bytes in each direction; that can be switched
//! at any time. What TCP promises holds: bytes arrive in order, and a network that swallows them makes them late or the
//! connection dead, never torn.

use crate::resp::Frames;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{io, thread};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Chunks under way in one direction; more wait in the sender's socket.
const CHUNKS_MAX: usize = 4096;

/// What becomes of the bytes in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They pass.
    Pass,
    /// They arrive so much later.
    Late(Duration),
    /// They do not arrive until this is over, and then all at once, even those of a connection that its sender has
    /// given up: packets lost and sent again.
    Held,
    /// They do not arrive, and nothing ever will on the connections that lost some: a connection that is dead and
    /// does not know.
    Swallowed,
    /// They pass, but for what Redis sends unasked.
    Deaf,
    /// Connections break, and new ones break at once.
    Cut,
}

/// What becomes of the bytes in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows {
    /// From the sidecar to Redis.
    pub to_redis: Flow,
    /// From Redis to the sidecar.
    pub from_redis: Flow,
}

impl Flows {
    /// A network that works.
    pub const PASS: Flows = Flows::both(Flow::Pass);

    /// The same in both directions.
    pub const fn both(flow: Flow) -> Flows {
        Flows { to_redis: flow, from_redis: flow }
    }
}

/// The network in front of a Redis. It ends with the value.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    flows: watch::Sender<Flows>,
}

impl Proxy {
    /// A network that works, from this address to the Redis at this socket.
    ///
    /// # Panics
    /// If the system gives no port or no thread.
    pub fn before(redis: &Path, at: Ipv4Addr) -> Proxy {
        let listener = TcpListener::bind((at, 0)).expect("an address of ours has a free port");
        listener.set_nonblocking(true).expect("a socket can be nonblocking");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (flows, watch) = watch::channel(Flows::PASS);
        let redis = redis.to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("the system gives a poller");
        thread::spawn(move || runtime.block_on(serve(listener, redis, watch)));
        Proxy { address, flows }
    }

    /// What `--redis` wants to hear.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Switches.
    pub fn set(&self, flows: Flows) {
        self.flows.send_replace(flows);
    }
}

async fn serve(listener: TcpListener, redis: PathBuf, mut flows: watch::Receiver<Flows>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("the runtime takes a socket");
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((near, _)) = accepted {
                    tokio::spawn(connection(near, redis.clone(), flows.clone()));
                }
            }
            changed = flows.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// One connection, until both directions are done or it is cut. A Redis that is not there cuts it at once.
async fn connection(near: TcpStream, redis: PathBuf, flows: watch::Receiver<Flows>) -> io::Result<()> {
    near.set_nodelay(true)?;
    let far = UnixStream::connect(redis).await?;
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let up = Direction { flows: flows.clone(), of: |flows| flows.to_redis, frames: None };
    let down = Direction { flows, of: |flows| flows.from_redis, frames: Some(Frames::default()) };
    tokio::join!(up.pump(near_read, far_write), down.pump(far_read, near_write));
    Ok(())
}

/// One direction of one connection.
struct Direction {
    flows: watch::Receiver<Flows>,
    of: fn(&Flows) -> Flow,
    /// Cuts the stream where it may have to be left out in part.
    frames: Option<Frames>,
}

impl Direction {
    async fn pump(mut self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut under_way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
        let (mut open, mut dead) = (true, false);
        let mut chunk = vec![0; 16 * 1024];
        loop {
            let flows = *self.flows.borrow_and_update();
            let flow = (self.of)(&flows);
            if flows.to_redis == Flow::Cut || flows.from_redis == Flow::Cut {
                return;
            }
            dead |= flow == Flow::Swallowed && !open;
            if !open && under_way.is_empty() && !dead {
                // Whoever does not take it is gone.
                let _ = to.shutdown().await;
                return;
            }
            let next = under_way.front().map(|(due, _)| *due).filter(|_| flow != Flow::Held);
            // Not by the timer, which is too coarse for what is due at once.
            if next.is_some_and(|due| due <= Instant::now()) {
                let bytes = under_way.pop_front().map(|(_, bytes)| bytes).unwrap_or_default();
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
                continue;
            }
            tokio::select! {
                changed = self.flows.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                read = from.read(&mut chunk), if open && under_way.len() < CHUNKS_MAX => match read {
                    Ok(0) | Err(_) => open = false,
                    Ok(count) => {
                        dead |= flow == Flow::Swallowed;
                        let bytes = self.sift(&chunk[..count], flow);
                        if !dead {
                            under_way.push_back((Instant::now() + delay(flow), bytes));
                        }
                    }
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    fn sift(&mut self, read: &[u8], flow: Flow) -> Vec<u8> {
        match &mut self.frames {
            Some(frames) => frames.pass(read, flow == Flow::Deaf),
            None => read.to_vec(),
        }
    }
}

fn delay(flow: Flow) -> Duration {
    match flow {
        Flow::Late(by) => by,
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::mpsc;

    /// Long enough that what passes has passed, however busy the machine is.
    const PATIENCE: Duration = Duration::from_secs(20);
    /// Long enough that what is not held back would usually have come.
    const MOMENT: Duration = Duration::from_millis(100);

    struct Rig {
        proxy: Proxy,
        near: std::net::TcpStream,
        far: UnixStream,
        _folder: tempfile::TempDir,
    }

    fn rig() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("redis.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let proxy = Proxy::before(&socket, Ipv4Addr::LOCALHOST);
        let near = std::net::TcpStream::connect(proxy.address).unwrap();
        let (far, _) = listener.accept().unwrap();
        near.set_read_timeout(Some(PATIENCE)).unwrap();
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        Rig { proxy, near, far, _folder: folder }
    }

    fn hears(mut from: impl Read, wanted: &[u8]) {
        let mut heard = vec![0; wanted.len()];
        from.read_exact(&mut heard).unwrap();
        assert_eq!(heard, wanted);
    }

    /// Nothing comes for a moment.
    fn hears_nothing(stream: &UnixStream) {
        stream.set_read_timeout(Some(MOMENT)).unwrap();
        let error = { stream }.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    #[test]
    fn what_is_held_comes_later_even_from_the_dead() {
        let mut rig = rig();
        rig.near.write_all(b"a").unwrap();
        hears(&rig.far, b"a");
        rig.proxy.set(Flows { to_redis: Flow::Held, from_redis: Flow::Pass });
        // The switch is taken in before bytes that come after an answer.
        rig.far.write_all(b"+x\r\n").unwrap();
        hears(&rig.near, b"+x\r\n");
        rig.near.write_all(b"bc").unwrap();
        hears_nothing(&rig.far);
        drop(rig.near);
        rig.proxy.set(Flows::PASS);
        hears(&rig.far, b"bc");
        assert_eq!(rig.far.read(&mut [0]).unwrap(), 0, "and then its end");
    }

    #[test]
    fn what_is_swallowed_never_comes_and_nothing_after_it() {
        let mut rig = rig();
        rig.proxy.set(Flows { to_redis: Flow::Swallowed, from_redis: Flow::Pass });
        rig.far.write_all(b"+x\r\n").unwrap();
        hears(&rig.near, b"+x\r\n");
        rig.near.write_all(b"a").unwrap();
        hears_nothing(&rig.far);
        rig.proxy.set(Flows::PASS);
        rig.near.write_all(b"b").unwrap();
        hears_nothing(&rig.far);
        drop(rig.near);
        hears_nothing(&rig.far);
    }

    #[test]
    fn what_is_late_comes_in_order_and_not_before_its_time() {
        let mut rig = rig();
        let by = Duration::from_millis(80);
        rig.proxy.set(Flows { to_redis: Flow::Late(by), from_redis: Flow::Pass });
        rig.far.write_all(b"+x\r\n").unwrap();
        hears(&rig.near, b"+x\r\n");
        let start = std::time::Instant::now();
        rig.near.write_all(b"abc").unwrap();
        hears(&rig.far, b"abc");
        assert!(start.elapsed() >= by, "after {:?}", start.elapsed());
    }

    #[test]
    fn cut_connections_end_on_both_sides_and_new_ones_at_once() {
        let mut rig = rig();
        rig.proxy.set(Flows::both(Flow::Cut));
        assert_eq!(rig.far.read(&mut [0]).unwrap(), 0);
        assert_eq!(rig.near.read(&mut [0]).unwrap(), 0);
        let address = rig.proxy.address;
        let (tell, ended) = mpsc::channel();
        thread::spawn(move || tell.send(std::net::TcpStream::connect(address).unwrap().read(&mut [0])));
        let end = ended.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(end, Ok(0)) || end.is_err(), "{end:?}");
    }
}
