//! Numbers, texts and keys as sidecars write them down for each other: little endian, a text behind its length in two bytes.
//!
//! Must not know what is written.

use crate::model::{Key, Space};
use std::sync::Arc;

/// No text of ours comes near the end of its length: keys, names and apps have limits of their own.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    let most = text.len().min(usize::from(u16::MAX));
    let cut = (0..=most).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    out.extend_from_slice(&(cut as u16).to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..cut]);
}

pub(crate) fn put_key(out: &mut Vec<u8>, key: &Key) {
    put_text(out, &[&key.space().name()[..1], key.as_str()].concat());
}

/// Bytes of others: whatever they are, each question has an answer or has none.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// All of it was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// What stands behind its length in two bytes.
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u16()?);
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn text(&mut self) -> Option<Arc<str>> {
        std::str::from_utf8(self.bytes()?).ok().map(Arc::from)
    }

    pub(crate) fn key(&mut self) -> Option<Key> {
        let text = self.text()?;
        let space = Space::from_letter(*text.as_bytes().first()?)?;
        Key::of(space, text.get(1..)?).ok()
    }
}
