//! The HTTP door: the bytes of a connection, against a whole sidecar on the memory store.
//!
//! What must hold: no panic, in whatever task; every request that is complete gets a complete answer, or the connection is
//! closed; every refusal of ours is a problem document with a known code; and afterwards an honest request on a new
//! connection is served, nobody waits, and no lease is held that no answer told of, nor one that ends with its connection.
//! (Of the last, one is spared: hyper does not look for the end of a connection on which more was sent behind a request, so
//! that such a lease ends when its next extension can not be written.)
//!
//! Before the input a lease is taken that the input can name: `{lease}` in it becomes its id. An input that does not name it
//! leaves it as it is.
//!
//! Refusals that come before our code (a head that is no HTTP, or too long) are hyper's own: a status, and no document.

mod answers;
mod requests;

use crate::Marks;
use answers::{Answer, Answers};
use serde_json::Value;
use sidelock_daemon::config::Config;
use sidelock_daemon::fuzz::HttpDoor;
use sidelock_wire::Code;
use std::cell::Cell;
use std::sync::Once;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::timeout;

pub(crate) use requests::{WORDS, seeds};

/// Longest wait that the sidecar allows, since the hunt waits too.
const WAIT_MAX: Duration = Duration::from_millis(5);
/// How long something may take that must come. Far above anything measured.
const PATIENCE: Duration = Duration::from_secs(30);
/// What an input writes for the id of the lease that it can name.
const LEASE: &[u8] = b"{lease}";

pub(crate) fn check(bytes: &[u8], marks: &mut Marks) {
    let panics = panics_so_far();
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = runtime.expect("the system has an event queue");
    runtime.block_on(async {
        let talk = Box::pin(talk(bytes, marks));
        timeout(PATIENCE, talk).await.expect("every answer comes, and every connection ends");
    });
    drop(runtime);
    assert_eq!(panics_so_far(), panics, "a task panicked");
}

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// Panics of this thread: nobody else notices one in a task that nobody waits for.
fn panics_so_far() -> u64 {
    static COUNTED: Once = Once::new();
    COUNTED.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            print(panic);
        }));
    });
    PANICS.get()
}

async fn talk(bytes: &[u8], marks: &mut Marks) {
    let mut config = Config::default();
    config.limits.http_wait_max = WAIT_MAX;
    let door = HttpDoor::open(&config);
    let bystander = lock(&door, "bystander").await;
    let id = bystander["lease"].as_str().expect("a timed lease has an id");
    let named = bytes.windows(LEASE.len()).any(|part| part == LEASE);
    let bytes = with_id(bytes, id);

    let answers = converse(&door, &bytes).await;
    let (requests, rest) = requests::complete(&bytes);
    let story_is_last = rest.is_empty() && answers.len() == requests.len();
    let told: Vec<u64> = answers.iter().flat_map(fences).chain(bystander["fence"].as_u64()).collect();
    answers.iter().for_each(|answer| check_answer(answer, marks));

    loop {
        let state = honest(&door, "GET", "/v1/locks").await.json();
        let keys = state["keys"].as_array().expect("a listing has keys");
        let all = |what: &str| keys.iter().flat_map(|key| key[what].as_array().into_iter().flatten()).count();
        let mut timed = 0;
        for holder in keys.iter().flat_map(|key| key["holders"].as_array().into_iter().flatten()) {
            timed += usize::from(holder["ref"].is_string());
            let fence = holder["fence"].as_u64().expect("a holder has a fence");
            assert!(told.contains(&fence), "a lease that no answer told of: {state}");
        }
        // A task of the connection may still be on its way to hang up.
        if all("queue") == 0 && (!story_is_last || all("holders") == timed) {
            break;
        }
        tokio::task::yield_now().await;
    }
    let honest_lease = lock(&door, "honest request").await;
    unlock(&door, &honest_lease).await;
    if !named {
        unlock(&door, &bystander).await;
    }
}

fn with_id(bytes: &[u8], id: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(LEASE.len()).position(|part| part == LEASE) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(id.as_bytes());
        rest = &rest[at + LEASE.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// Sends the bytes, hangs up once every complete request in them is answered, and returns all answers.
async fn converse(door: &HttpDoor, bytes: &[u8]) -> Vec<Answer> {
    let (requests, _) = requests::complete(bytes);
    let (mut stream, served) = door.connect().expect("there are descriptors left");
    let mut heard = Answers::of(&requests);
    {
        let (mut reader, mut writer) = stream.split();
        let say = async { drop(writer.write_all(bytes).await) };
        let listen =
            async { while !heard.answered(requests.len()) && listen(&mut reader, &mut heard).await {} };
        tokio::join!(say, listen);
    }
    // No more will come: the door need not wait for what is incomplete.
    drop(stream.shutdown().await);
    while !heard.is_endless() && listen(&mut stream, &mut heard).await {}
    drop(stream);
    if !heard.is_endless() {
        served.await.expect("the door does not panic");
    }
    heard.all()
}

/// Hears more; false at the end.
async fn listen(from: &mut (impl AsyncReadExt + Unpin), heard: &mut Answers) -> bool {
    let mut chunk = [0; 4096];
    match from.read(&mut chunk).await {
        Ok(0) | Err(_) => {
            heard.ended();
            false
        }
        Ok(count) => {
            heard.take(&chunk[..count]);
            true
        }
    }
}

/// Every token that an answer tells of: a lease, the events of a stream, a listing.
fn fences(answer: &Answer) -> Vec<u64> {
    let body = String::from_utf8_lossy(&answer.body);
    let numbers = body.split("\"fence\":").skip(1);
    numbers.filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()).collect()
}

fn check_answer(answer: &Answer, marks: &mut Marks) {
    let media_type = answer.header("content-type").unwrap_or_default();
    marks.saw(format!("{} {media_type}", answer.status));
    assert_ne!(answer.status, 500, "{answer:?}");
    if answer.status < 400 || !answer.is_complete || answer.to_head {
        return;
    }
    // Everything that is ours says so.
    if answer.header("cache-control").is_none() {
        assert!(matches!(answer.status, 400 | 414 | 431 | 505) && answer.body.is_empty(), "{answer:?}");
        return marks.saw(format!("{} of hyper", answer.status));
    }
    assert_eq!(media_type, "application/problem+json", "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["status"], answer.status, "{answer:?}");
    let code = problem["code"].as_str().and_then(Code::from_name).unwrap_or_else(|| panic!("{answer:?}"));
    let field = problem["field"].as_str().filter(|field| WORDS.contains(field)).unwrap_or_default();
    marks.saw(format!("{} {code} {field}", answer.status));
}

/// A request as it should be, on a connection of its own.
async fn honest(door: &HttpDoor, method: &str, path: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: sidelock\r\nConnection: close\r\n\r\n");
    let answer = converse(door, request.as_bytes()).await.pop();
    answer.filter(|answer| answer.is_complete).expect("an honest request is answered")
}

async fn lock(door: &HttpDoor, key: &str) -> Value {
    let answer = honest(door, "POST", &format!("/v1/locks/{}", key.replace(' ', "%20"))).await;
    assert_eq!(answer.status, 200, "{key:?}: {answer:?}");
    answer.json()
}

async fn unlock(door: &HttpDoor, lease: &Value) {
    let id = lease["lease"].as_str().expect("a timed lease has an id");
    let answer = honest(door, "DELETE", &format!("/v1/leases/{id}")).await;
    assert_eq!(answer.status, 204, "{lease}: {answer:?}");
}
