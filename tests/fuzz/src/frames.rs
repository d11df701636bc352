//! Frames: streams of them, and single messages.
//!
//! What must hold: no panic; nothing reserved for what was only announced; the same frames whatever the chunks; and a
//! message that was understood says the same when it is said again.

use crate::Marks;
use serde_json::Value;
use sidelock_wire::{Decoder, FRAME_BYTES_MAX, MAGIC, ToClient, ToSidecar};

/// The golden vectors are the valid inputs.
const GOLDEN: [&str; 2] = [
    include_str!("../../../sdk/wire/vectors/to_sidecar.json"),
    include_str!("../../../sdk/wire/vectors/to_client.json"),
];

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;

fn golden_frames() -> Vec<Vec<u8>> {
    let lines =
        GOLDEN.iter().map(|file| serde_json::from_str::<Vec<Value>>(file).expect("a golden file is JSON"));
    lines.flatten().map(|line| unhex(line["hex"].as_str().expect("each line has its bytes"))).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).expect("golden bytes are hexadecimal") as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Single messages.
pub(crate) fn payloads() -> Vec<Vec<u8>> {
    golden_frames().iter().map(|frame| frame[LENGTH_BYTES..].to_vec()).collect()
}

/// What a client might send: the magic, then each golden frame alone, then all of them.
pub(crate) fn streams() -> Vec<Vec<u8>> {
    let frames = golden_frames();
    let all = [MAGIC.to_vec(), frames.concat()].concat();
    frames.iter().map(|frame| [&MAGIC[..], frame].concat()).chain([all]).collect()
}

pub(crate) fn check_payload(bytes: &[u8], marks: &mut Marks) {
    let kind = bytes.first().copied().unwrap_or_default();
    if let Err(error) = ToSidecar::decode(bytes) {
        // Which message, and the field at which it could not be read.
        marks.saw(format!("to sidecar {kind:#x}: {}", named(&error.to_string())));
    }
    if let Err(error) = ToClient::decode(bytes) {
        marks.saw(format!("to client {kind:#x}: {}", named(&error.to_string())));
    }
    if let Ok(Some(message)) = ToSidecar::decode(bytes) {
        marks.saw(format!("to sidecar {kind:#x} understood"));
        let mut again = Vec::new();
        message.encode(&mut again);
        assert_eq!(ToSidecar::decode(&again[LENGTH_BYTES..]), Ok(Some(message)), "said again");
    }
    if let Ok(Some(message)) = ToClient::decode(bytes) {
        marks.saw(format!("to client {kind:#x} understood"));
        let mut again = Vec::new();
        message.encode(&mut again);
        assert_eq!(ToClient::decode(&again[LENGTH_BYTES..]), Ok(Some(message)), "said again");
    }
}

/// An error's text without its numbers.
fn named(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

pub(crate) fn check_stream(bytes: &[u8], marks: &mut Marks) {
    let whole = read(bytes, bytes.len().max(1), marks);
    marks.saw(format!("{} frames", whole.0.len().min(50)));
    marks.saw(whole.1.as_deref().map_or_else(|| "no error".to_owned(), named));
    // Chunk sizes that fall out of the input, so that they vary without a second source of chance.
    let chunk = 1 + bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>() % 61;
    assert_eq!(read(bytes, chunk, marks), whole, "in chunks of {chunk}");
}

/// The payloads in `bytes` and how they end, read in chunks.
fn read(bytes: &[u8], chunk: usize, marks: &mut Marks) -> (Vec<Vec<u8>>, Option<String>) {
    let mut decoder = Decoder::with_magic(FRAME_BYTES_MAX);
    let mut payloads = Vec::new();
    for part in bytes.chunks(chunk) {
        decoder.space().extend_from_slice(part);
        loop {
            match decoder.next_frame() {
                Ok(Some(payload)) => {
                    check_payload(payload, marks);
                    payloads.push(payload.to_vec());
                }
                Ok(None) => break,
                Err(error) => return (payloads, Some(error.to_string())),
            }
        }
        let reserved = decoder.space().capacity();
        assert!(
            reserved <= 4 * (FRAME_BYTES_MAX + bytes.len()),
            "{reserved} bytes reserved for {}",
            bytes.len()
        );
    }
    (payloads, None)
}
