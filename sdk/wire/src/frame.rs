//! Bytes to frames and back: lengths, limits, and the reading and writing of fields.
//!
//! Owns the framing and its errors. A length is checked before anything is reserved for it, and no input makes it
//! panic. Must not know what any message means.

use crate::code::Code;
use std::time::Duration;

/// The first bytes of a frame connection, sent by the client. The first is no ASCII and appears in no UTF-8 text, so a
/// sidecar tells frames from HTTP by one byte.
pub const MAGIC: [u8; 4] = [0xf5, b'S', b'L', b'K'];

/// Most bytes a frame's payload has unless configured otherwise: room for `extended` with 16 000 exceptions.
pub const FRAME_BYTES_MAX: usize = 131_072;

/// Kinds from here on may be skipped by who does not know them.
const KIND_SKIPPABLE: u8 = 0x80;

/// Bytes of the length before each payload.
const LENGTH_BYTES: usize = 4;

/// Bytes asked for at a time: a batch of some hundred hot frames.
const READ_BYTES: usize = 16 * 1024;

/// Why bytes are no frame. The connection is of no use after any of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The connection does not begin with [`MAGIC`].
    #[error("the connection does not begin as frames do; is this an HTTP or another protocol's peer?")]
    BadMagic,
    /// A frame exceeds the limit.
    #[error("a frame of {length} bytes; at most {max} are allowed (frame_bytes_max)")]
    TooLarge {
        /// Bytes announced.
        length: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A frame without a kind.
    #[error("an empty frame; each has at least its kind")]
    Empty,
    /// A kind that this version does not know and must not skip.
    #[error("unknown frame kind {0:#04x}")]
    UnknownKind(u8),
    /// A frame ends inside a field.
    #[error("frame kind {kind:#04x} ends before its field `{field}` does")]
    Truncated {
        /// The frame's kind.
        kind: u8,
        /// The field.
        field: &'static str,
    },
    /// A field has a value that means nothing.
    #[error("frame kind {kind:#04x} has {value} in its field `{field}`, which means nothing here")]
    BadField {
        /// The frame's kind.
        kind: u8,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u8,
    },
    /// A field that the flags make necessary is absent.
    #[error("frame kind {kind:#04x} lacks the field `{field}` that its flags demand")]
    Missing {
        /// The frame's kind.
        kind: u8,
        /// The field.
        field: &'static str,
    },
    /// A text is no UTF-8.
    #[error("frame kind {kind:#04x} has a field `{field}` that is not UTF-8")]
    NotUtf8 {
        /// The frame's kind.
        kind: u8,
        /// The field.
        field: &'static str,
    },
}

impl FrameError {
    /// The code to say goodbye with.
    pub fn code(&self) -> Code {
        match self {
            FrameError::TooLarge { .. } => Code::TooLarge,
            _ => Code::BadRequest,
        }
    }

    pub(crate) fn unknown_kind<T>(kind: u8) -> Result<Option<T>, FrameError> {
        if kind >= KIND_SKIPPABLE {
            Ok(None)
        } else {
            Err(FrameError::UnknownKind(kind))
        }
    }
}

/// Cuts a stream of bytes into frames, however the bytes arrive.
///
/// ```
/// # use sidelock_wire::{Decoder, ToSidecar, FRAME_BYTES_MAX};
/// let mut decoder = Decoder::new(FRAME_BYTES_MAX);
/// ToSidecar::Ping.encode(decoder.space());             // or read from a socket into it
/// while let Some(payload) = decoder.next_frame()? {
///     assert_eq!(ToSidecar::decode(payload)?, Some(ToSidecar::Ping));
/// }
/// # Ok::<(), sidelock_wire::FrameError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// Before this all is used up.
    start: usize,
    frame_bytes_max: usize,
    magic_due: bool,
}

impl Decoder {
    /// For what a sidecar sends: frames from the first byte on.
    pub fn new(frame_bytes_max: usize) -> Decoder {
        Decoder {
            bytes: Vec::new(),
            start: 0,
            frame_bytes_max,
            magic_due: false,
        }
    }

    /// For what a client sends: [`MAGIC`], then frames.
    pub fn with_magic(frame_bytes_max: usize) -> Decoder {
        Decoder {
            magic_due: true,
            ..Decoder::new(frame_bytes_max)
        }
    }

    /// Where to append what was read next; has room for a read of reasonable size. Never holds more than one
    /// incomplete frame and one read, provided that all frames are taken out between reads.
    pub fn space(&mut self) -> &mut Vec<u8> {
        if self.start == self.bytes.len() {
            self.bytes.clear();
        } else {
            self.bytes.drain(..self.start);
        }
        self.start = 0;
        self.bytes.reserve(READ_BYTES);
        &mut self.bytes
    }

    /// The next frame's payload, or `None` until more bytes came. After an error the connection is of no use.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        if self.magic_due && !self.take_magic()? {
            return Ok(None);
        }
        let rest = &self.bytes[self.start..];
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > self.frame_bytes_max {
            return Err(FrameError::TooLarge {
                length,
                max: self.frame_bytes_max,
            });
        }
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        self.start += LENGTH_BYTES + length;
        Ok(Some(payload))
    }

    fn take_magic(&mut self) -> Result<bool, FrameError> {
        let got = &self.bytes[self.start..];
        let seen = got.len().min(MAGIC.len());
        if got[..seen] != MAGIC[..seen] {
            return Err(FrameError::BadMagic);
        }
        if seen < MAGIC.len() {
            return Ok(false);
        }
        self.start += MAGIC.len();
        self.magic_due = false;
        Ok(true)
    }
}

/// A duration as it travels: whole milliseconds, rounded up, so that no wait or ttl shrinks to nothing on the way.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The fields of one payload, read in order. What follows the last known field is a later version's, and ignored.
pub(crate) struct Fields<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of(payload: &'a [u8]) -> Result<(u8, Fields<'a>), FrameError> {
        let (&kind, rest) = payload.split_first().ok_or(FrameError::Empty)?;
        Ok((kind, Fields { kind, rest }))
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], FrameError> {
        let cut = FrameError::Truncated {
            kind: self.kind,
            field,
        };
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(cut)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, FrameError> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, FrameError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, FrameError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn i32(&mut self, field: &'static str) -> Result<i32, FrameError> {
        Ok(i32::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, FrameError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u128(&mut self, field: &'static str) -> Result<u128, FrameError> {
        Ok(u128::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn millis(&mut self, field: &'static str) -> Result<Duration, FrameError> {
        Ok(Duration::from_millis(self.u64(field)?))
    }

    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], FrameError> {
        let length = self.u32(field)? as usize;
        let cut = FrameError::Truncated {
            kind: self.kind,
            field,
        };
        let (head, rest) = self.rest.split_at_checked(length).ok_or(cut)?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, FrameError> {
        let bytes = self.bytes(field)?;
        std::str::from_utf8(bytes).map_err(|_| FrameError::NotUtf8 {
            kind: self.kind,
            field,
        })
    }

    pub(crate) fn list(&mut self, field: &'static str) -> Result<Vec<u64>, FrameError> {
        let count = self.u32(field)? as usize;
        let cut = FrameError::Truncated {
            kind: self.kind,
            field,
        };
        let length = count.checked_mul(8).ok_or_else(|| cut.clone())?;
        let (head, rest) = self.rest.split_at_checked(length).ok_or(cut)?;
        self.rest = rest;
        let (numbers, _) = head.as_chunks::<8>();
        Ok(numbers.iter().map(|number| u64::from_le_bytes(*number)).collect())
    }

    /// One byte that stands for a value; an unknown one is an error.
    pub(crate) fn known<T>(
        &mut self,
        field: &'static str,
        from: impl Fn(u8) -> Option<T>,
    ) -> Result<T, FrameError> {
        let value = self.u8(field)?;
        from(value).ok_or_else(|| self.bad(field, value))
    }

    pub(crate) fn optional<T>(
        &mut self,
        present: bool,
        read: impl FnOnce(&mut Self) -> Result<T, FrameError>,
    ) -> Result<Option<T>, FrameError> {
        if present { read(self).map(Some) } else { Ok(None) }
    }

    pub(crate) fn bad(&self, field: &'static str, value: u8) -> FrameError {
        FrameError::BadField {
            kind: self.kind,
            field,
            value,
        }
    }

    pub(crate) fn missing(&self, field: &'static str) -> FrameError {
        FrameError::Missing {
            kind: self.kind,
            field,
        }
    }
}

/// Writing fields.
pub(crate) mod put {
    use super::LENGTH_BYTES;

    /// One frame: the payload that `write` appends, behind its length.
    pub(crate) fn frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH_BYTES]);
        write(out);
        let length = (out.len() - start - LENGTH_BYTES) as u32;
        out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    }

    /// `bit` if `on`.
    pub(crate) fn flag<T: Default>(on: bool, bit: T) -> T {
        if on { bit } else { T::default() }
    }

    pub(crate) fn u16(out: &mut Vec<u8>, value: u16) {
        out.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u32(out: &mut Vec<u8>, value: u32) {
        out.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i32(out: &mut Vec<u8>, value: i32) {
        out.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(out: &mut Vec<u8>, value: u64) {
        out.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u128(out: &mut Vec<u8>, value: u128) {
        out.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn bytes(out: &mut Vec<u8>, value: &[u8]) {
        u32(out, value.len() as u32);
        out.extend_from_slice(value);
    }

    pub(crate) fn text(out: &mut Vec<u8>, value: &str) {
        bytes(out, value.as_bytes());
    }

    pub(crate) fn list(out: &mut Vec<u8>, values: &[u64]) {
        u32(out, values.len() as u32);
        for value in values {
            u64(out, *value);
        }
    }
}
