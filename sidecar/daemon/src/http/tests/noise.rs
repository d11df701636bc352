//! Bytes that are no requests, or nearly: answered or cut off, never a panic, and nothing changes (H14).
//!
//! The noise is drawn from a fixed seed, so that a failure comes again.

use super::{request, with_sidecar};

/// A small generator of numbers that look random (Marsaglia's xorshift64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

#[test]
fn noise_after_a_letter_changes_nothing() {
    with_sidecar(|rig| async move {
        let held = rig.lock("bystander", "").await;
        let mut noise = Noise(0x5eed);
        for _ in 0..500 {
            let length = noise.below(400);
            let bytes = [b"P".to_vec(), noise.bytes(length)].concat();
            // Ends the head, so that the door need not wait for more.
            let answer = rig.raw(&[&bytes[..], b"\r\n\r\n"].concat()).await;
            assert!([0, 400, 431, 505].contains(&answer.status), "{bytes:?}: {answer:?}");
        }
        rig.unlock(&held).await;
    });
}

#[test]
fn nearly_right_requests_are_answered_and_never_panic() {
    let seeds = [
        request("POST", "/v1/locks/k?stream=0", &["Connection: close"], r#"{"wait":"5ms","ttl":"1s"}"#),
        request(
            "POST",
            "/v1/semaphores/a%2Fb",
            &["Connection: close"],
            r#"{"limit":3,"permits":1,"meta":{}}"#,
        ),
        request("PUT", &format!("/v1/leases/{}", "0a".repeat(20)), &["Connection: close"], r#"{"ttl":"1s"}"#),
        request("GET", "/v1/locks?prefix=%20a", &["Connection: close", "Accept: text/event-stream"], ""),
    ];
    with_sidecar(|rig| async move {
        let mut noise = Noise(0xfee1);
        for round in 0..1000 {
            let mut bytes = seeds[round % seeds.len()].clone().into_bytes();
            for _ in 0..=noise.below(3) {
                let at = noise.below(bytes.len());
                match noise.below(3) {
                    0 => bytes[at] = noise.next() as u8,
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, noise.next() as u8),
                }
            }
            // No more will come: a request whose length is now wrong ends here.
            let answer = rig.raw_half_closed(&bytes).await;
            assert!(answer.status == 0 || (200..600).contains(&answer.status), "{answer:?}");
            assert_ne!(answer.status, 500, "{:?}: {answer:?}", String::from_utf8_lossy(&bytes));
        }
        assert_eq!(rig.get("/livez").await.status, 200);
    });
}

#[test]
fn who_sends_a_byte_now_and_then_is_cut_off() {
    with_sidecar(|rig| async move {
        let (mut stream, served) = rig.connect_as(super::SOMEBODY);
        use tokio::io::AsyncWriteExt;
        stream.write_all(b"GET /livez HTTP/1.1\r\nX: ").await.expect("the door reads");
        // From here time is the runtime's own and passes at once.
        tokio::time::pause();
        served.await.expect("the door hangs up by itself");
    });
}

#[test]
fn a_body_that_does_not_come_is_a_refusal() {
    with_sidecar(|rig| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = rig.connect();
        stream
            .write_all(b"POST /v1/locks/k HTTP/1.1\r\nContent-Length: 10\r\n\r\n{")
            .await
            .expect("the door reads");
        tokio::time::pause();
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await.expect("the door answers");
        super::Answer::parse(&answer[..read]).is_refused(400, "bad_request");
    });
}

/// A connection on which two megabytes are to be read, and who serves it. From here time passes at once.
async fn to_be_read(rig: &super::Rig) -> (tokio::net::UnixStream, tokio::task::JoinHandle<()>) {
    use tokio::io::AsyncWriteExt;
    let value = "x".repeat(65_536);
    assert_eq!(rig.ask("PUT", "/v1/registers/k", &value).await.status, 204);
    let (mut stream, served) = rig.connect_as(super::SOMEBODY);
    let many = "GET /v1/registers/k HTTP/1.1\r\n\r\n".repeat(32);
    stream.write_all(many.as_bytes()).await.expect("the door reads");
    tokio::time::pause();
    (stream, served)
}

#[test]
fn who_does_not_read_its_answers_is_cut_off() {
    with_sidecar(|rig| async move {
        let (_stream, served) = to_be_read(&rig).await;
        served.await.expect("the door hangs up by itself");
    });
}

#[test]
fn who_reads_a_little_is_not_cut_off() {
    with_sidecar(|rig| async move {
        use tokio::io::AsyncReadExt;
        let (mut stream, served) = to_be_read(&rig).await;
        let mut a_little = vec![0; 65_536];
        for _ in 0..2 {
            tokio::time::sleep(std::time::Duration::from_secs(20)).await;
            stream.read_exact(&mut a_little).await.expect("the door goes on");
        }
        assert!(!served.is_finished());
    });
}
