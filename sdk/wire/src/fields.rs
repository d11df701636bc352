//! The fields of a frame, read and written in order.
//!
//! Owns how numbers, texts, lists and durations look as bytes. Must not know which message has which.

use crate::frame::{FrameError, LENGTH_BYTES};
use std::time::Duration;

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
        let cut = FrameError::Truncated { kind: self.kind, field };
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
        let cut = FrameError::Truncated { kind: self.kind, field };
        let (head, rest) = self.rest.split_at_checked(length).ok_or(cut)?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, FrameError> {
        let bytes = self.bytes(field)?;
        std::str::from_utf8(bytes).map_err(|_| FrameError::NotUtf8 { kind: self.kind, field })
    }

    pub(crate) fn list(&mut self, field: &'static str) -> Result<Vec<u64>, FrameError> {
        let count = self.u32(field)? as usize;
        let cut = FrameError::Truncated { kind: self.kind, field };
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
        FrameError::BadField { kind: self.kind, field, value }
    }

    pub(crate) fn missing(&self, field: &'static str) -> FrameError {
        FrameError::Missing { kind: self.kind, field }
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
