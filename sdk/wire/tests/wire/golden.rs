//! The golden files in `vectors/`: what each message's bytes are, for this implementation and every other.
//!
//! `SIDELOCK_BLESS=1 cargo test -p sidelock-wire` writes them anew. Do that for a message that was added; a change of an
//! old line breaks everybody who speaks the protocol.

use crate::support;
use serde_json::{Value, json};
use sidelock_wire::{Code, Decoder, FRAME_BYTES_MAX, FrameError, ToClient, ToSidecar};
use std::path::PathBuf;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16).expect("hexadecimal")).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name)
}

/// The lines of a golden file.
fn read(name: &str) -> Vec<Value> {
    serde_json::from_str(&std::fs::read_to_string(path(name)).unwrap()).unwrap()
}

/// The lines of a golden file; blessed first if asked for.
fn golden(name: &str, fresh: &[Value]) -> Vec<Value> {
    if std::env::var_os("SIDELOCK_BLESS").is_some() {
        let lines: Vec<String> = fresh.iter().map(|line| format!("  {line}")).collect();
        std::fs::write(path(name), format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
    }
    read(name)
}

fn frame_of(line: &Value) -> Vec<u8> {
    let bytes = unhex(line["hex"].as_str().unwrap());
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    decoder.space().extend_from_slice(&bytes);
    let payload = decoder.next_frame().unwrap().unwrap().to_vec();
    assert_eq!(payload.len() + 4, bytes.len(), "one frame, and all of it");
    payload
}

#[test]
fn messages_to_the_sidecar_have_their_golden_bytes() {
    let samples = support::to_sidecar();
    let fresh: Vec<Value> = samples
        .iter()
        .map(|(name, message)| {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            json!({ "name": name, "message": support::describe_to_sidecar(message), "hex": hex(&bytes) })
        })
        .collect();
    let golden = golden("to_sidecar.json", &fresh);
    assert_eq!(golden, fresh, "encoding");
    for (line, (name, message)) in golden.iter().zip(&samples) {
        assert_eq!(ToSidecar::decode(&frame_of(line)).unwrap().as_ref(), Some(message), "decoding {name}");
    }
}

#[test]
fn messages_to_the_client_have_their_golden_bytes() {
    let samples = support::to_client();
    let fresh: Vec<Value> = samples
        .iter()
        .map(|(name, message)| {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            json!({ "name": name, "message": support::describe_to_client(message), "hex": hex(&bytes) })
        })
        .collect();
    let golden = golden("to_client.json", &fresh);
    assert_eq!(golden, fresh, "encoding");
    for (line, (name, message)) in golden.iter().zip(&samples) {
        assert_eq!(ToClient::decode(&frame_of(line)).unwrap().as_ref(), Some(message), "decoding {name}");
    }
}

/// Bytes that a sidecar must refuse, what is wrong with them, and the code it says goodbye with.
#[rustfmt::skip] // One case a line.
const MALFORMED: [(&str, &str, &str); 11] = [
    ("http instead of the magic", "474554202f20485454502f312e310d0a", "bad_request"),
    ("wrong magic", "f5534c4a", "bad_request"),
    ("length of 4 GiB", "f5534c4bffffffff", "too_large"),
    ("length one over the limit", "f5534c4b01000200", "too_large"),
    ("empty frame", "f5534c4b00000000", "bad_request"),
    ("unknown kind", "f5534c4b010000003f", "bad_request"),
    ("a sidecar's kind", "f5534c4b010000004c", "bad_request"),
    ("cancel without its number", "f5534c4b0400000003010203", "bad_request"),
    ("acquire of an unknown mode", "f5534c4b0c000000020100000000000000000009", "bad_request"),
    ("key longer than its frame", "f5534c4b1000000002010000000000000000000010000000", "bad_request"),
    ("timed acquire without ttl", "f5534c4b110000000201000000000000002000000100000061", "bad_request"),
];

fn refuse(bytes: &[u8]) -> FrameError {
    let mut decoder = Decoder::with_magic(FRAME_BYTES_MAX);
    decoder.space().extend_from_slice(bytes);
    match decoder.next_frame() {
        Err(error) => error,
        Ok(payload) => ToSidecar::decode(payload.expect("a whole frame")).expect_err("malformed"),
    }
}

#[test]
fn malformed_bytes_are_refused_as_the_golden_file_says() {
    let fresh: Vec<Value> =
        MALFORMED.iter().map(|(name, hex, code)| json!({ "name": name, "hex": hex, "code": code })).collect();
    for line in golden("malformed.json", &fresh) {
        let error = refuse(&unhex(line["hex"].as_str().unwrap()));
        assert_eq!(error.code().name(), line["code"], "{}: {error}", line["name"]);
    }
}

/// The hex dumps in PROTOCOL.md are golden lines, so that the text can not drift from the files.
#[test]
fn the_specification_shows_golden_bytes() {
    let text = include_str!("../../PROTOCOL.md");
    let files = [read("to_sidecar.json"), read("to_client.json")];
    let known: Vec<String> =
        files.iter().flatten().map(|line| line["hex"].as_str().unwrap().to_owned()).collect();
    let mut shown = 0;
    for dump in text.split("```hex\n").skip(1) {
        let dump = dump.split("```").next().unwrap();
        let bytes: String =
            dump.lines().flat_map(|line| line.split('#').next().unwrap().split_whitespace()).collect();
        assert!(known.contains(&bytes), "not golden:\n{dump}");
        shown += 1;
    }
    assert!(shown >= 6, "only {shown} dumps");
}

#[test]
fn the_specification_lists_each_code() {
    let text = include_str!("../../PROTOCOL.md");
    for code in Code::all() {
        let cell = format!("| {} | {} |", code.number(), code.name());
        assert!(text.contains(&cell), "{cell}");
    }
}
