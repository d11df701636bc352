//! Boards: what a sidecar writes down about its waiting owners, for other sidecars to read (P15).
//!
//! Owns the shape, its bytes and its bounds. Must not know when one is written or what follows from it. A board may say
//! too little, where it would be too large; never anything that was not so when it was composed.
//!
//! Its bytes are format 1, little endian, a text behind its length in two bytes:
//! ```text
//!   'SB' format:1 version:8 lines:2
//!   line     key (space letter and text) limit:4 flags:1 (1 asks, 2 yields, 4 keeps) [ ask:8 ] waits:2
//!   wait     id name app uid:4 wait:8 units:4 flags:1 (1 upgrades, 2 head) priority:4 since:8 holds:2
//!   holding  key units:4 lease:8 since:8
//! ```

use crate::model::{Incarnation, Key, Mode, Space, StoreTime};
use crate::packed::{Reader, put_key, put_text};
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of a board.
pub const BOARD_BYTES_MAX: usize = 32 * 1024;
/// A board is forgotten after so long: far longer than it takes to write the next.
pub const BOARD_TTL: Duration = Duration::from_secs(3);

const FORMAT: u8 = 1;

/// A board.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Board {
    /// Rises with every board that the store acknowledged.
    pub version: u64,
    /// Keys that owners of this sidecar wait for.
    pub lines: Vec<Line>,
}

/// A sidecar's queue for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The key.
    pub key: Key,
    /// Its units.
    pub limit: u32,
    /// The ask that waits at the store for the first of the queue.
    pub ask: Option<u64>,
    /// Nobody of the queue is served before those who wait at the store now (P9).
    pub yields: bool,
    /// What the sidecar has of the key beyond its leases is kept for the first of the queue, who waits for those: nobody
    /// at the store gets it before.
    pub keeps: bool,
    /// Named owners, in the order of grant.
    pub waits: Vec<BoardWait>,
}

/// An owner that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardWait {
    /// Unlike any other owner of this sidecar.
    pub id: Arc<str>,
    /// What it is called.
    pub name: Arc<str>,
    /// What its client calls itself.
    pub app: Arc<str>,
    /// Its user.
    pub uid: u32,
    /// Unlike any other wait of this sidecar.
    pub wait: u64,
    /// Units that it waits for.
    pub units: u32,
    /// It exchanges what it holds of the key.
    pub upgrades: bool,
    /// It is the first of the sidecar's queue for the key.
    pub head: bool,
    /// The priority of its request.
    pub priority: i32,
    /// When it began to wait.
    pub since: StoreTime,
    /// What it holds.
    pub holds: Vec<Holding>,
}

/// A lease of an owner that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The key.
    pub key: Key,
    /// Its units.
    pub units: u32,
    /// Unlike any other lease of this key: its fence, or the instant of its reservation.
    pub lease: u64,
    /// Since when.
    pub since: StoreTime,
}

impl Line {
    /// How much of the key this many units are.
    pub fn mode(&self, units: u32) -> Mode {
        Mode::of(self.limit, units)
    }
}

/// Where a sidecar's board is at the store.
pub fn board_key(incarnation: Incarnation) -> Key {
    Key::of(Space::Board, &incarnation.to_string()).expect("32 digits are a key")
}

impl Board {
    /// The board as bytes: as many of its waits as fit.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![b'S', b'B', FORMAT];
        out.extend_from_slice(&self.version.to_le_bytes());
        let lines_at = out.len();
        out.extend_from_slice(&[0, 0]);
        let mut lines = 0_u16;
        for line in &self.lines {
            let begin = out.len();
            if line.encode(&mut out) == 0 {
                out.truncate(begin);
            } else {
                lines += 1;
            }
        }
        out[lines_at..lines_at + 2].copy_from_slice(&lines.to_le_bytes());
        out
    }

    /// Reads a board; nothing if these bytes are none.
    pub fn decode(bytes: &[u8]) -> Option<Board> {
        let mut from = Reader::new(bytes.strip_prefix(&[b'S', b'B', FORMAT])?);
        let version = from.u64()?;
        let lines = (0..from.u16()?).map(|_| Line::decode(&mut from)).collect::<Option<_>>()?;
        from.is_empty().then_some(Board { version, lines })
    }
}

impl Line {
    /// Writes the line with those of its waits that fit; how many those are. One that holds more than there is room for
    /// hides nobody else: without it the others only seem to wait for less.
    fn encode(&self, out: &mut Vec<u8>) -> u16 {
        put_key(out, &self.key);
        out.extend_from_slice(&self.limit.to_le_bytes());
        out.push(u8::from(self.ask.is_some()) | u8::from(self.yields) << 1 | u8::from(self.keeps) << 2);
        out.extend(self.ask.iter().flat_map(|ask| ask.to_le_bytes()));
        let count_at = out.len();
        out.extend_from_slice(&[0, 0]);
        let mut written = 0_u16;
        for wait in &self.waits {
            let begin = out.len();
            wait.encode(out);
            if out.len() > BOARD_BYTES_MAX {
                out.truncate(begin);
            } else {
                written += 1;
            }
        }
        out[count_at..count_at + 2].copy_from_slice(&written.to_le_bytes());
        written
    }

    fn decode(from: &mut Reader<'_>) -> Option<Line> {
        let (key, limit, flags) = (from.key()?, from.u32()?, from.u8()?);
        let ask = if flags & 1 != 0 { Some(from.u64()?) } else { None };
        let waits = (0..from.u16()?).map(|_| BoardWait::decode(from)).collect::<Option<_>>()?;
        let (yields, keeps) = (flags & 2 != 0, flags & 4 != 0);
        Some(Line { key, limit, ask, yields, keeps, waits })
    }
}

impl BoardWait {
    fn encode(&self, out: &mut Vec<u8>) {
        [&self.id, &self.name, &self.app].into_iter().for_each(|text| put_text(out, text));
        out.extend_from_slice(&self.uid.to_le_bytes());
        out.extend_from_slice(&self.wait.to_le_bytes());
        out.extend_from_slice(&self.units.to_le_bytes());
        out.push(u8::from(self.upgrades) | u8::from(self.head) << 1);
        out.extend_from_slice(&self.priority.to_le_bytes());
        out.extend_from_slice(&self.since.0.to_le_bytes());
        out.extend_from_slice(&(self.holds.len() as u16).to_le_bytes());
        for holding in &self.holds {
            put_key(out, &holding.key);
            out.extend_from_slice(&holding.units.to_le_bytes());
            out.extend_from_slice(&holding.lease.to_le_bytes());
            out.extend_from_slice(&holding.since.0.to_le_bytes());
        }
    }

    fn decode(from: &mut Reader<'_>) -> Option<BoardWait> {
        let (id, name, app) = (from.text()?, from.text()?, from.text()?);
        let (uid, wait, units, flags) = (from.u32()?, from.u64()?, from.u32()?, from.u8()?);
        let (priority, since) = (from.u32()?.cast_signed(), StoreTime(from.u64()?));
        let holding = |from: &mut Reader<'_>| {
            let (key, units) = (from.key()?, from.u32()?);
            Some(Holding { key, units, lease: from.u64()?, since: StoreTime(from.u64()?) })
        };
        let holds = (0..from.u16()?).map(|_| holding(from)).collect::<Option<_>>()?;
        let (upgrades, head) = (flags & 1 != 0, flags & 2 != 0);
        Some(BoardWait { id, name, app, uid, wait, units, upgrades, head, priority, since, holds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WHOLE;

    fn wait(number: u64) -> BoardWait {
        let holding = Holding {
            key: Key::of(Space::Once, "ключ").unwrap(),
            units: WHOLE,
            lease: 1 << 52,
            since: StoreTime(7),
        };
        BoardWait {
            id: format!("o{number}@3").into(),
            name: "o".into(),
            app: "billing".into(),
            uid: 1000,
            wait: number,
            units: 1,
            upgrades: true,
            head: number == 0,
            priority: -7,
            since: StoreTime(1 << 50),
            holds: vec![holding; 2],
        }
    }

    fn board(waits: u64) -> Board {
        let line = |ask: Option<u64>, waits| {
            let key = Key::new("k").unwrap();
            Line { key, limit: 3, ask, yields: ask.is_none(), keeps: ask.is_some(), waits }
        };
        let (first, second) = ((0..waits).map(wait).collect(), vec![wait(0)]);
        Board { version: 9, lines: vec![line(Some(4), first), line(None, second)] }
    }

    #[test]
    fn a_board_comes_back_and_no_part_of_it_does() {
        let board = board(3);
        let bytes = board.encode();
        assert_eq!(Board::decode(&bytes), Some(board));
        for cut in 0..bytes.len() {
            assert_eq!(Board::decode(&bytes[..cut]), None, "cut after {cut} bytes");
        }
        assert_eq!(Board::decode(&[&bytes[..], &[0]].concat()), None, "there is more behind it");
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let bytes = board(10_000).encode();
        assert!(bytes.len() <= BOARD_BYTES_MAX && bytes.len() > BOARD_BYTES_MAX * 9 / 10, "{}", bytes.len());
        let read = Board::decode(&bytes).unwrap();
        assert_eq!(read.lines.len(), 1);
        assert_eq!(read.lines[0].waits[..], board(10_000).lines[0].waits[..read.lines[0].waits.len()]);
    }

    #[test]
    fn one_that_does_not_fit_hides_nobody_else() {
        let mut board = board(3);
        let held = board.lines[0].waits[1].holds[0].clone();
        board.lines[0].waits[1].holds = vec![held; 2_000];
        let read = Board::decode(&board.encode()).unwrap();
        board.lines[0].waits.remove(1);
        assert_eq!(read, board);
    }

    #[test]
    fn nonsense_is_no_board() {
        for nonsense in
            [&b""[..], b"SB", b"SL\x01", b"SB\x02\0\0\0\0\0\0\0\0\0\0", b"SB\x01\0\0\0\0\0\0\0\0\x01\0"]
        {
            assert_eq!(Board::decode(nonsense), None);
        }
    }
}
