//! Requests: seeds of the hunt, and which of a connection's requests are complete.
//!
//! Owns the reading of request heads, with the parser that hyper has, and far stricter about everything else: a request is
//! counted as complete only where nobody could see it otherwise.

use httparse::{EMPTY_HEADER, Request, Status};

/// Pieces of requests, and names of fields.
pub(crate) const WORDS: &[&str] = &[
    "GET ",
    "HEAD ",
    "POST ",
    "PUT ",
    "DELETE ",
    "OPTIONS ",
    "PATCH ",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "\r\n",
    "\r\n\r\n",
    "/v1/locks",
    "/v1/locks/",
    "/v1/semaphores/",
    "/v1/leases/",
    "/v1/watch",
    "/v1/info",
    "/metrics",
    "/readyz",
    "{lease}",
    "bystander",
    "?stream=1",
    "?prefix=",
    "&",
    "%2F",
    "%ff",
    "%",
    "+",
    "Content-Length: 0\r\n",
    "Content-Length: ",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Expect: 100-continue\r\n",
    "Idempotency-Key: x\r\n",
    "Sidelock-Require-Scope: fleet\r\n",
    "Accept: text/event-stream\r\n",
    "Content-Encoding: gzip\r\n",
    "wait",
    "ttl",
    "mode",
    "owner",
    "priority",
    "limit",
    "permits",
    "max_hold",
    "meta",
    "per",
    "key",
    "body",
    "stream",
    "prefix",
    "reentrant",
    "\"5ms\"",
    "\"0\"",
    "\"1m30s\"",
    "\"shared\"",
    "null",
    "true",
    "{}",
    "[",
    "\\u0000",
    "-1",
    "1e9",
];

/// A request with a body, if it has one.
fn request(method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = match body {
        "" => String::new(),
        body => format!("Content-Length: {}\r\n", body.len()),
    };
    format!("{method} {path} HTTP/1.1\r\nHost: sidelock\r\n{length}{headers}\r\n{body}").into_bytes()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let all_fields = r#"{"wait":"5ms","ttl":"1s","max_hold":"1m","mode":"shared","owner":"o","priority":-3,"meta":{"a":"b"},"reentrant":false}"#;
    let semaphore = r#"{"limit":3,"permits":2,"wait":"0","ttl":"1m30s","per":"1s"}"#;
    let lock = request("POST", "/v1/locks/k", "", "");
    let held = request("POST", "/v1/locks/bystander", "", r#"{"wait":"5ms"}"#);
    let story = request("POST", "/v1/locks/a%2Fb?stream=1", "", r#"{"ttl":"1s"}"#);
    let list = request("GET", "/v1/locks?prefix=by", "", "");
    let renew = request("PUT", "/v1/leases/{lease}", "", r#"{"ttl":"1m"}"#);
    let release = request("DELETE", "/v1/leases/{lease}", "Connection: close\r\n", "");
    let again = request("POST", "/v1/locks/same", "Idempotency-Key: x\r\n", "");
    let chunked = "POST /v1/locks/c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"ttl\r\n6;x=y\r\n\":\"1s\"\r\n1\r\n}\r\n0\r\n\r\n";
    let polite = "POST /v1/locks/e HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}";
    let mut seeds = vec![
        request("POST", "/v1/locks/orders/42", "User-Agent: fuzz\r\n", all_fields),
        request("POST", "/v1/semaphores/s", "Content-Type: application/json\r\n", semaphore),
        request("POST", "/v1/locks/k?stream=0", "Sidelock-Require-Scope: host\r\n", "{}"),
        request("POST", "/v1/locks/k", "Content-Encoding: gzip\r\n", "x"),
        request("GET", "/v1/watch?prefix=a", "Accept: text/event-stream\r\n", ""),
        request("HEAD", "/v1/locks/bystander", "", ""),
        request("GET", "/v1/locks/bystander", "", ""),
        request("GET", &format!("/v1/leases/{}", "0a".repeat(20)), "", ""),
        request("PATCH", "/v1/info", "", ""),
        request("POST", "/v1/locks/k", "", r#"{"ttl":"365d"}"#),
        request("POST", &format!("/v1/locks/{}", "k".repeat(513)), "", ""),
        b"GET /metrics HTTP/1.0\r\n\r\n".to_vec(),
        chunked.as_bytes().to_vec(),
        polite.as_bytes().to_vec(),
        [&renew[..], &renew, &release, &release].concat(),
        [&lock[..], &lock, &held, &list].concat(),
        [&again[..], &again].concat(),
        [&list[..], &story].concat(),
        [&held[..], &lock].concat(),
        story,
    ];
    for page in
        ["/v1/info", "/v1/openapi.json", "/livez", "/readyz", "/readyz/store", "/startupz", "/nothing"]
    {
        seeds.push(request("GET", page, "", ""));
    }
    seeds
}

/// A complete request.
pub(super) struct Complete {
    /// Its answer has no body, whatever its head says.
    pub(super) is_head: bool,
}

/// The complete requests at the beginning of a connection, up to the first about which there is any doubt; and the rest.
pub(super) fn complete(mut bytes: &[u8]) -> (Vec<Complete>, &[u8]) {
    let mut requests = Vec::new();
    while let Some((length, request)) = first(bytes) {
        requests.push(request);
        bytes = &bytes[length..];
    }
    (requests, bytes)
}

/// hyper takes no longer head and no more headers than these; see `connection.rs` of the daemon.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

fn first(bytes: &[u8]) -> Option<(usize, Complete)> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    let Ok(Status::Complete(head)) = request.parse(bytes) else { return None };
    let is_plain = head <= HEAD_BYTES_MAX
        && request.headers.iter().all(|header| !is_doubtful(header.name))
        && request.method != Some("CONNECT");
    let mut lengths =
        request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length: usize = match (lengths.next(), lengths.next()) {
        (None, _) => 0,
        (Some(length), None) if length.value.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(length.value).ok()?.parse().ok()?
        }
        _ => return None,
    };
    let end = head.checked_add(length).filter(|end| is_plain && *end <= bytes.len())?;
    Some((end, Complete { is_head: request.method == Some("HEAD") }))
}

/// Headers that say where a request ends, or that the connection is for something else.
fn is_doubtful(name: &str) -> bool {
    ["transfer-encoding", "upgrade", "expect"].iter().any(|doubtful| name.eq_ignore_ascii_case(doubtful))
}
