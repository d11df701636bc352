//! The nouns that everything else speaks: keys, times, identities, modes.
//!
//! Owns no rule except what makes each noun valid. Must not know queues, leases or the store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Most bytes a key may have. The floor of what every store we know accepts as part of a name.
pub const KEY_BYTES_MAX: usize = 512;
/// Most bytes an owner's name may have.
pub const OWNER_BYTES_MAX: usize = 128;
/// Most bytes that a turn may leave as its result.
pub const RESULT_BYTES_MAX: usize = 65_536;
/// Units of a lock or readers/writer key: exclusive takes all of them, shared takes one.
pub const WHOLE: u32 = u32::MAX;
/// Largest limit of a semaphore. Far above any use, far below [`WHOLE`], so that the two families never meet.
pub const PERMITS_LIMIT_MAX: u32 = 1_000_000;
/// Priorities reach from `-PRIORITY_MAX` to `PRIORITY_MAX`; a waiter gains one a second.
pub const PRIORITY_MAX: i32 = 100;

/// An instant of the host's `CLOCK_BOOTTIME`, in nanoseconds. It counts suspend, and every process of a host shares it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// The start of the clock.
    pub const ZERO: Time = Time(0);
    /// Later than anything that happens.
    pub const MAX: Time = Time(u64::MAX);

    /// How long `earlier` lies back; zero if it does not.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The last whole multiple of `step` that is not later: what falls on the same one happens together.
    pub(crate) fn floor(self, step: Duration) -> Time {
        let step = step.as_nanos() as u64;
        Time(self.0 / step * step)
    }
}

impl std::ops::Add<Duration> for Time {
    type Output = Time;
    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, span: Duration) -> Time {
        Time(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}s", self.0 as f64 / 1e9)
    }
}

/// An instant of the store's clock, in microseconds since the Unix epoch. Never compared with [`Time`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StoreTime(pub u64);

impl StoreTime {
    /// How long `earlier` lies back; zero if it does not.
    pub fn since(self, earlier: StoreTime) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for StoreTime {
    type Output = StoreTime;
    fn add(self, span: Duration) -> StoreTime {
        StoreTime(self.0.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl std::ops::Sub<Duration> for StoreTime {
    type Output = StoreTime;
    fn sub(self, span: Duration) -> StoreTime {
        StoreTime(self.0.saturating_sub(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Keys of different spaces never meet, whatever their text. Locks, readers/writer locks and semaphores share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Keys that are held.
    Lock,
    /// Keys that are done once per window (P18).
    Once,
    /// Keys that have a value (P17).
    Register,
    /// What sidecars write down about themselves (P15); no client can name one.
    Board,
}

impl Space {
    /// All of them.
    pub const ALL: [Space; 4] = [Space::Lock, Space::Once, Space::Register, Space::Board];

    /// The word used in protocols, in names at the store and in output. Each begins with another letter.
    pub fn name(self) -> &'static str {
        match self {
            Space::Lock => "lock",
            Space::Once => "once",
            Space::Register => "register",
            Space::Board => "board",
        }
    }

    /// The space whose name begins with this letter.
    pub fn from_letter(letter: u8) -> Option<Space> {
        Space::ALL.into_iter().find(|space| space.name().as_bytes()[0] == letter)
    }
}

/// What is locked, done once, or has a value: 1–512 bytes of UTF-8, `/`-separated by convention, in one of the
/// [`Space`]s. Cheap to clone.
// The space is in the text, because there is a key for all that is held, and a field would be a word. Every request makes a
// key of a lock, so that is the text as it is; a mark stands before any other, and before a lock's that begins like one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A key has at least one byte.
    #[error("the key is empty; a key has 1 to {KEY_BYTES_MAX} bytes")]
    Empty,
    /// A key has at most [`KEY_BYTES_MAX`] bytes.
    #[error("the key has {0} bytes; a key has 1 to {KEY_BYTES_MAX} bytes")]
    TooLong(usize),
    /// A key is text.
    #[error("the key is not UTF-8")]
    NotUtf8,
}

impl Key {
    /// Takes a text as a lock's key if it is one.
    pub fn new(text: &str) -> Result<Key, KeyError> {
        Key::of(Space::Lock, text)
    }

    /// Takes a text as a key of this space if it is one.
    pub fn of(space: Space, text: &str) -> Result<Key, KeyError> {
        match text.len() {
            0 => Err(KeyError::Empty),
            n if n > KEY_BYTES_MAX => Err(KeyError::TooLong(n)),
            _ => Ok(Key(kept(space, text))),
        }
    }

    /// Takes bytes as a key of this space if they are one.
    pub fn from_bytes(space: Space, bytes: &[u8]) -> Result<Key, KeyError> {
        Key::of(space, std::str::from_utf8(bytes).map_err(|_| KeyError::NotUtf8)?)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        if looks_marked(&self.0) { &self.0[1..] } else { &self.0 }
    }

    /// Where it is a key.
    pub fn space(&self) -> Space {
        let first = self.0.as_bytes()[0];
        Space::ALL.into_iter().find(|space| mark(*space) == first).unwrap_or(Space::Lock)
    }

    /// The same text as a key of another space.
    pub fn in_space(&self, space: Space) -> Key {
        Key(kept(space, self.as_str()))
    }
}

/// The mark before a text: what no lock's begins with unmarked.
fn mark(space: Space) -> u8 {
    match space {
        Space::Lock => 0,
        Space::Once => 1,
        Space::Register => 2,
        Space::Board => 3,
    }
}

/// Whether a text would be taken for a marked one.
fn looks_marked(text: &str) -> bool {
    text.as_bytes()[0] <= mark(Space::Board)
}

/// The text, not empty, as [`Key`] keeps it.
fn kept(space: Space, text: &str) -> Arc<str> {
    match space {
        Space::Lock if !looks_marked(text) => text.into(),
        _ => [char::from(mark(space)).encode_utf8(&mut [0; 1]), text].concat().into(),
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.space() {
            Space::Lock => write!(f, "{:?}", self.as_str()),
            space => write!(f, "{} {:?}", space.name(), self.as_str()),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much of a key a request wants. One mechanism: a key has a limit of units, a request takes some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// All of a lock key: nobody else, reader or writer.
    Exclusive,
    /// One share of a lock key, beside other shares.
    Shared,
    /// `permits` of at most `limit` units of a semaphore key.
    Permits {
        /// Units wanted, 1 to `limit`.
        permits: u32,
        /// Units that exist, 1 to [`PERMITS_LIMIT_MAX`]. All who use a key at a time must agree on it.
        limit: u32,
    },
}

impl Mode {
    /// The mode that binds so many units of a key with this limit.
    pub fn of(limit: u32, units: u32) -> Mode {
        match (limit, units) {
            (WHOLE, WHOLE) => Mode::Exclusive,
            (WHOLE, _) => Mode::Shared,
            (limit, permits) => Mode::Permits { permits, limit },
        }
    }

    /// Units of the key that exist.
    pub fn limit(self) -> u32 {
        match self {
            Mode::Exclusive | Mode::Shared => WHOLE,
            Mode::Permits { limit, .. } => limit,
        }
    }

    /// Units this mode takes from the key.
    pub fn units(self) -> u32 {
        match self {
            Mode::Exclusive => WHOLE,
            Mode::Shared => 1,
            Mode::Permits { permits, .. } => permits,
        }
    }

    /// The word used in protocols and output.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Exclusive => "exclusive",
            Mode::Shared => "shared",
            Mode::Permits { .. } => "permits",
        }
    }
}

/// For how long a once key is done once it was done (P18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Its length.
    pub per: Duration,
    /// Where it begins.
    pub align: Align,
}

/// Where a window begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Align {
    /// With the grant of the turn that succeeds.
    Rolling,
    /// At whole multiples of its length since 1970-01-01T00:00:00Z, by the store's clock: with a length of a day, at
    /// midnight UTC.
    Utc,
}

/// One life of one sidecar process: 128 random bits, drawn at its start.
///
/// Aligned like everything beside it: with the sixteen of a `u128`, all that names an ask would be larger by a word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C, packed(8))]
pub struct Incarnation(pub u128);

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", { self.0 })
    }
}

impl fmt::Display for Incarnation {
    /// 32 hexadecimal digits; with a precision, the first of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:032x}", { self.0 }))
    }
}

/// Names one ask of one sidecar for one key, and the tenure that grew out of it (P7).
/// `seq` rises per (key, incarnation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId {
    /// Who asks.
    pub incarnation: Incarnation,
    /// Which of its asks for this key.
    pub seq: u64,
}

/// A version of a register: a number by the rule of fences, so that it does not repeat after a deletion or a loss of data,
/// and the write that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Etag {
    /// At least the store's time of the write, in microseconds, and above the number before. Zero: no version ever was.
    pub number: u64,
    /// The write.
    pub writer: AskId,
}

impl Etag {
    /// What no register ever had.
    pub const NEVER: Etag = Etag { number: 0, writer: AskId { incarnation: Incarnation(0), seq: 0 } };

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Etag> {
        let mut parts = text.split('-');
        let (number, incarnation, seq) = (parts.next()?, parts.next()?, parts.next()?);
        let digits = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if parts.next().is_some() || ![number, incarnation, seq].into_iter().all(digits) {
            return None;
        }
        let incarnation = Incarnation(u128::from_str_radix(incarnation, 16).ok()?);
        let seq = u64::from_str_radix(seq, 16).ok()?;
        let etag = Etag { number: u64::from_str_radix(number, 16).ok()?, writer: AskId { incarnation, seq } };
        // One version has one text.
        (etag.to_string() == text).then_some(etag)
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AskId { incarnation, seq } = self.writer;
        write!(f, "{:x}-{incarnation}-{seq:x}", self.number)
    }
}

/// One connection of a client. Drawn by the daemon, never used twice in an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A client's number for one of its requests, unique in its session. The lease that an acquire gets is known by the
/// number of that acquire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

impl RequestId {
    /// The number of a release whose success nobody wants to hear of. Only a refusal is answered.
    pub const NOBODY: RequestId = RequestId(u64::MAX);
}

/// The unguessable name of a timed lease, and the right to renew and release it (P5). Never shown in lists or logs.
/// Aligned as an [`Incarnation`] is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C, packed(8))]
pub struct LeaseSecret(pub u128);

impl fmt::Debug for LeaseSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseSecret(…)")
    }
}

/// One sequential actor inside a client: a task, a thread. At most [`OWNER_BYTES_MAX`] bytes, checked by the gate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub Arc<str>);

/// Strictly rising per key, below 2^53, handed out with every lease (P1).
pub type Fence = u64;

/// Fence tokens reserved for one tenure: `first..=last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceRange {
    /// The first token of the range.
    pub first: Fence,
    /// The last token of the range.
    pub last: Fence,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_text_in_its_space_whatever_that_is() {
        let texts =
            ["k", "\0", "\u{1}", "\u{2}k", "\u{3}\u{3}", "\u{4}", "\u{7f}", "ключ"].map(str::to_owned);
        for text in texts.into_iter().chain([1, KEY_BYTES_MAX].map(|length| "k".repeat(length))) {
            let keys = Space::ALL.map(|space| Key::of(space, &text).unwrap());
            for (key, space) in keys.iter().zip(Space::ALL) {
                assert_eq!((key.as_str(), key.space()), (text.as_str(), space));
                assert_eq!(keys[0].in_space(space), *key);
            }
            let distinct: std::collections::HashSet<_> = keys.iter().collect();
            assert_eq!(distinct.len(), keys.len(), "{text:?}");
        }
        assert_eq!(Key::new(&"k".repeat(KEY_BYTES_MAX + 1)), Err(KeyError::TooLong(KEY_BYTES_MAX + 1)));
    }

    #[test]
    fn locks_stand_in_the_order_of_their_bytes() {
        let texts = ["\0", "\0a", "\u{1}", "\u{3}", "\u{3}z", "\u{4}", "a", "a\0", "b"];
        let keys = texts.map(|text| Key::new(text).unwrap());
        assert!(keys.is_sorted());
    }

    #[test]
    fn an_incarnation_can_be_cut_short() {
        let incarnation = Incarnation(0x1234_5678 << 96);
        assert_eq!(format!("{incarnation:.8}"), "12345678");
        assert_eq!(incarnation.to_string().len(), 32);
    }
}
