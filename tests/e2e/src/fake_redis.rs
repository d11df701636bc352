//! What no real server here can be: a Redis that is too old, or lives in another time.
//!
//! Owns just enough of the protocol (RESP3, <https://redis.io/docs/latest/develop/reference/protocol-spec/>) for `doctor`
//! to look around, and for a sidecar to be refused. It stores nothing. Must not be used where a real server can do.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// A server on loopback, for the rest of the test's process.
pub struct FakeRedis {
    address: SocketAddr,
}

#[derive(Clone, Copy)]
struct Facts {
    version: &'static str,
    /// Its clock is so many seconds ahead of this host's.
    ahead: i64,
}

impl FakeRedis {
    /// It says that it is this version.
    pub fn of_version(version: &'static str) -> FakeRedis {
        FakeRedis::with(Facts { version, ahead: 0 })
    }

    /// Its clock is so many seconds ahead of this host's.
    pub fn ahead_by(seconds: i64) -> FakeRedis {
        FakeRedis::with(Facts { version: "7.0.15", ahead: seconds })
    }

    fn with(facts: Facts) -> FakeRedis {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Whoever hangs up is no failure.
                thread::spawn(move || facts.serve(stream));
            }
        });
        FakeRedis { address }
    }

    /// What `--redis` wants to hear.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}

impl Facts {
    fn serve(self, stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let words = command(&mut reader)?;
            reader.get_mut().write_all(self.answer(&words).as_bytes())?;
        }
    }

    fn answer(self, words: &[String]) -> String {
        let name = words.first().map(|word| word.to_uppercase()).unwrap_or_default();
        match name.as_str() {
            // It came with version 6.
            "HELLO" if !self.version.starts_with('5') => {
                format!("%1\r\n{}{}", bulk("version"), bulk(self.version))
            }
            "INFO" => bulk(&format!(
                "redis_version:{}\r\nredis_mode:standalone\r\nrole:master\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n\
                 aof_enabled:1\r\nconnected_slaves:0\r\nconnected_clients:1\r\nmaxclients:10000\r\n",
                self.version
            )),
            "CONFIG" => format!("%1\r\n{}{}", bulk("appendfsync"), bulk("always")),
            "ACL" => bulk("default"),
            "SCRIPT" => bulk(&"0".repeat(40)),
            // Which commands are denied.
            "EVALSHA" => "*0\r\n".into(),
            "TIME" => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let seconds = i64::try_from(now.as_secs()).unwrap_or_default() + self.ahead;
                format!("*2\r\n{}{}", bulk(&seconds.to_string()), bulk(&now.subsec_micros().to_string()))
            }
            _ => format!("-ERR unknown command `{name}`\r\n"),
        }
    }
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// One command: an array of bulk strings.
fn command(reader: &mut impl BufRead) -> io::Result<Vec<String>> {
    let words = length(reader)?;
    let mut word = || {
        let mut text = vec![0; length(reader)? + 2];
        reader.read_exact(&mut text)?;
        Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
    };
    (0..words).map(|_| word()).collect()
}

/// The number after `*` or `$`.
fn length(reader: &mut impl BufRead) -> io::Result<usize> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let number = line.trim_end().get(1..).and_then(|number| number.parse().ok());
    number.ok_or_else(|| io::Error::other("this is no command"))
}
