//! A stream of bytes, cut into frames.
//!
//! Owns the framing, its limit and its errors. A length is checked before anything is reserved for it, and no input makes
//! it panic. Must not know what is in a frame.

use crate::code::Code;

/// The first bytes of a frame connection, sent by the client. The first is no ASCII and appears in no UTF-8 text, so a
/// sidecar tells frames from HTTP by one byte.
pub const MAGIC: [u8; 4] = [0xf5, b'S', b'L', b'K'];

/// Most bytes a frame's payload has unless configured otherwise: room for `extended` with 16 000 exceptions.
pub const FRAME_BYTES_MAX: usize = 131_072;

/// Kinds from here on may be skipped by who does not know them.
const KIND_SKIPPABLE: u8 = 0x80;

/// Bytes of the length before each payload.
pub(crate) const LENGTH_BYTES: usize = 4;

/// Bytes asked for at a time: a batch of some hundred hot frames.
const READ_BYTES: usize = 16 * 1024;

/// Bytes kept by a decoder at rest: a few requests. A batch of many is worth an allocation.
const KEPT_BYTES: usize = 512;

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
        if kind >= KIND_SKIPPABLE { Ok(None) } else { Err(FrameError::UnknownKind(kind)) }
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
        Decoder { bytes: Vec::new(), start: 0, frame_bytes_max, magic_due: false }
    }

    /// For what a client sends: [`MAGIC`], then frames.
    pub fn with_magic(frame_bytes_max: usize) -> Decoder {
        Decoder { magic_due: true, ..Decoder::new(frame_bytes_max) }
    }

    /// Appends what was read elsewhere, so that this holds no room for reads: for who has many connections, most of them
    /// idle. Never holds more than one incomplete frame and one piece, provided that all frames are taken out between.
    pub fn push(&mut self, read: &[u8]) {
        self.forget_used();
        self.bytes.extend_from_slice(read);
    }

    /// Before waiting for more, which may take hours: gives memory back, unless a frame is incomplete.
    pub fn rest(&mut self) {
        if self.start == self.bytes.len() && self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
            self.start = 0;
        }
    }

    /// Where to append what was read next; has room for a read of reasonable size. Never holds more than one
    /// incomplete frame and one read, provided that all frames are taken out between reads.
    pub fn space(&mut self) -> &mut Vec<u8> {
        self.forget_used();
        self.bytes.reserve(READ_BYTES);
        &mut self.bytes
    }

    fn forget_used(&mut self) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
        } else {
            self.bytes.drain(..self.start);
        }
        self.start = 0;
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
            return Err(FrameError::TooLarge { length, max: self.frame_bytes_max });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ToSidecar;

    #[test]
    fn at_rest_a_decoder_keeps_an_unfinished_frame_and_little_else() {
        let mut pings = Vec::new();
        (0..1000).for_each(|_| ToSidecar::Ping.encode(&mut pings));
        let (most, last) = pings.split_at(pings.len() - 2);
        let mut decoder = Decoder::new(FRAME_BYTES_MAX);
        decoder.push(most);
        let mut count = 0;
        while decoder.next_frame().expect("pings").is_some() {
            count += 1;
        }
        decoder.rest();
        decoder.push(last);
        assert!(decoder.next_frame().expect("a ping").is_some(), "its beginning was kept");
        assert_eq!(count, 999);
        decoder.rest();
        assert_eq!(decoder.bytes.capacity(), 0);
    }
}
