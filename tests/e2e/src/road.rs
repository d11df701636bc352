//! A road between two servers that can be cut: both ends stay connected, and nothing arrives any more. Or it leads elsewhere, for
//! those who take it from then on, as a name does.
//!
//! Owns a port of loopback and the connections over it; they end with the value. Must not know who speaks over them.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// See the module.
pub struct Road {
    port: u16,
    traffic: Arc<Traffic>,
}

#[derive(Default)]
struct Traffic {
    is_cut: AtomicBool,
    /// The port where it leads.
    to: AtomicU16,
    /// Both ends of every connection: they are open as long as the road is there.
    ends: Mutex<Vec<TcpStream>>,
}

impl Road {
    /// Leads to this port of loopback.
    ///
    /// # Panics
    /// If loopback has no free port.
    pub fn to(port: u16) -> Road {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let road = Road {
            port: listener.local_addr().expect("a listener has an address").port(),
            traffic: Arc::default(),
        };
        road.lead_to(port);
        let traffic = road.traffic.clone();
        thread::spawn(move || {
            for near in listener.incoming() {
                let there = (Ipv4Addr::LOCALHOST, traffic.to.load(Ordering::SeqCst));
                // That nobody is there is seen by who connected: the connection ends.
                let _ = near.and_then(|near| traffic.join(near, TcpStream::connect(there)?));
            }
        });
        road
    }

    /// From now on it leads to this port; connections that stand stay where they are.
    pub fn lead_to(&self, port: u16) {
        self.traffic.to.store(port, Ordering::SeqCst);
    }

    /// Where it begins.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Nothing arrives any more, and neither end hears that the other one hangs up.
    pub fn cut(&self) {
        self.traffic.is_cut.store(true, Ordering::SeqCst);
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        for end in self.traffic.ends().iter() {
            // One that has ended already need not be ended.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

impl Traffic {
    fn ends(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(self: &Arc<Self>, near: TcpStream, far: TcpStream) -> io::Result<()> {
        for (from, to) in [(near.try_clone()?, far.try_clone()?), (far.try_clone()?, near.try_clone()?)] {
            let traffic = self.clone();
            thread::spawn(move || traffic.carry(from, to));
        }
        self.ends().extend([near, far]);
        Ok(())
    }

    /// One direction.
    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut chunk = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut chunk) {
            if !self.is_cut.load(Ordering::SeqCst) && to.write_all(&chunk[..read]).is_err() {
                break;
            }
        }
        if !self.is_cut.load(Ordering::SeqCst) {
            let _ = to.shutdown(Shutdown::Both);
        }
    }
}
