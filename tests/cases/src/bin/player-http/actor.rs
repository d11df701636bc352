//! An actor: what each verb is over HTTP.
//!
//! Owns what the actor holds. HTTP has no client and no session of its own: what an SDK keeps in mind is kept here, and sent
//! with every request.

use crate::call::{Call, request};
use crate::say::{base64, etag, nobody, problem, refused};
use serde_json::{Map, Value, json};
use sidelock_cases::line::Line;
use sidelock_e2e::http::Answer;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// The longest that the door lets one wait: what `acquire` means without a wait.
const FOR_EVER: &str = "10m";
/// Between two looks at a lease, of whose end nothing tells.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// See the module.
pub(crate) struct Actor {
    call: Call,
    owner: Option<String>,
    default_wait: Option<u64>,
    scope: Option<String>,
    held: HashMap<String, Held>,
}

enum Held {
    /// Timed leases by their ids: one, or one of each key.
    Timed(Vec<String>),
    /// For as long as the connection, which tells of its end.
    Streamed { events: BufReader<UnixStream>, lost: bool },
}

type Outcome<T = Line> = Result<T, Line>;

impl Actor {
    pub(crate) fn new(call: Call) -> Actor {
        Actor { call, owner: None, default_wait: None, scope: None, held: HashMap::new() }
    }

    /// Does it; either way, what came of it.
    pub(crate) fn obey(&mut self, order: &Line) -> Line {
        let done = match order.word(2) {
            "connect" => self.connect(order),
            "owner" => {
                self.owner = order.get("owner");
                Ok(ok())
            }
            "spawn" => Ok(ok()),
            "close" => self.close(),
            "acquire" => self.acquire(order),
            "try" | "try_all" | "try_once" => self.tries(order),
            "lock_all" => self.lock_all(order),
            "once" => self.once(order),
            "upgrade" => self.upgrade(order),
            "release" => self.release(order),
            "drop" => {
                self.held.remove(&text(order, "lease"));
                Ok(ok())
            }
            "storm" => self.storm(order),
            "renew" => self.with_lease(order, "PUT", "", &json!({ "ttl": span(order, "ttl") }).to_string()),
            "downgrade" => self.with_lease(order, "POST", "", &json!({ "mode": "shared" }).to_string()),
            "finish" => self.with_lease(order, "PUT", "/result", &text(order, "result")),
            "valid" => self.is_valid(order).map(|valid| Line::new([if valid { "yes" } else { "no" }])),
            "lost" => self.lost(order),
            "get" => self.get(order),
            "put" => self.put(order),
            "delete" => self.register("DELETE", order, "", "").map(|_| ok()),
            "watch" => self.watch(order),
            other => Err(Line::new(["error"]).with("message", format!("HTTP can not {other}"))),
        };
        done.unwrap_or_else(|line| line)
    }

    /// A demand is checked with every request that it counts for; this is one.
    fn connect(&mut self, order: &Line) -> Outcome {
        self.call.is_to(Path::new(&text(order, "socket")));
        self.default_wait = order.number("default_wait");
        self.scope = order.get("require_scope");
        match self.send("GET", "/v1/registers/nothing", &[], "") {
            Ok(_) => Ok(ok()),
            Err(line) if line.get("code").is_some_and(|code| code == "not_found") => Ok(ok()),
            Err(line) => Err(line),
        }
    }

    /// As a program does that ends in good order.
    fn close(&mut self) -> Outcome {
        for (_, held) in self.held.drain() {
            let Held::Timed(ids) = held else { continue };
            for id in ids {
                // Lost ones are gone already.
                let _ = self.call.exchange("DELETE", &format!("/v1/leases/{id}"), &[], "");
            }
        }
        Ok(ok())
    }

    fn acquire(&mut self, order: &Line) -> Outcome {
        let kind = if order.has("limit") { "semaphores" } else { "locks" };
        let path = format!("/v1/{kind}/{}", encode(&text(order, "key")));
        let body = self.body(order);
        match order.has("session") {
            true => self.stream(order, &format!("{path}?stream=1"), &body),
            false => {
                let lease = json_of(&self.send("POST", &path, &[], &body)?);
                Ok(self.keep(order, "lease", &[lease]))
            }
        }
    }

    /// Being held by somebody else is no error of a try.
    fn tries(&mut self, order: &Line) -> Outcome {
        let done = match order.word(2) {
            "try" => self.acquire(order),
            "try_all" => self.lock_all(order),
            _ => self.once(order),
        };
        let busy =
            |line: &Line| line.get("code").is_some_and(|code| code == "held" || code == "wait_timeout");
        done.or_else(|line| if busy(&line) { Ok(Line::new(["none"])) } else { Err(line) })
    }

    fn lock_all(&mut self, order: &Line) -> Outcome {
        let leases = json_of(&self.send("POST", "/v1/locks", &[], &self.body(order))?);
        let leases = leases["leases"].as_array().cloned().unwrap_or_default();
        Ok(self.keep(order, "lease", &leases))
    }

    fn once(&mut self, order: &Line) -> Outcome {
        let path = format!("/v1/once/{}", encode(&text(order, "key")));
        let entered = json_of(&self.send("POST", &path, &[], &self.body(order))?);
        match entered["won"].as_bool() {
            Some(true) => Ok(self.keep(order, "turn", &[entered["lease"].clone()])),
            _ => {
                let result = entered["result_base64"].as_str().unwrap_or_default();
                Ok(Line::new(["done"]).with("result", base64(result)))
            }
        }
    }

    fn upgrade(&mut self, order: &Line) -> Outcome {
        let body = json!({ "mode": "exclusive", "wait": self.wait(order) }).to_string();
        let path = self.path(order, "")?;
        let lease = json_of(&self.send("POST", &path, &[], &body)?);
        self.held.remove(&text(order, "lease"));
        Ok(self.keep(order, "lease", &[lease]))
    }

    /// So many requests that are hung up on, while they wait or before.
    fn storm(&mut self, order: &Line) -> Outcome {
        let (path, body) = (format!("/v1/locks/{}", encode(&text(order, "key"))), self.body(order));
        let mut waits = Vec::new();
        for _ in 0..order.number("times").unwrap_or(0) {
            let mut stream = self.call.connect()?;
            let sent = stream.write_all(request("POST", &path, &self.demands(), &body).as_bytes());
            sent.map_err(|error| nobody(&error.to_string()))?;
            waits.push(stream);
        }
        // The last one could still be cancelled.
        self.call.begin();
        Ok(ok())
    }

    fn release(&mut self, order: &Line) -> Outcome {
        // Dropping a stream closes the connection, which is its release.
        let Some(Held::Timed(ids)) = self.held.remove(&text(order, "lease")) else { return Ok(ok()) };
        for id in ids {
            self.send("DELETE", &format!("/v1/leases/{id}"), &[], "")?;
        }
        Ok(ok())
    }

    fn with_lease(&mut self, order: &Line, method: &str, what: &str, body: &str) -> Outcome {
        self.send(method, &self.path(order, what)?, &[], body).map(|_| ok())
    }

    fn is_valid(&mut self, order: &Line) -> Outcome<bool> {
        if let Some(Held::Streamed { lost, .. }) = self.held.get(&text(order, "lease")) {
            return Ok(!lost);
        }
        match self.send("GET", &self.path(order, "")?, &[], "") {
            Ok(_) => Ok(true),
            Err(line) if line.get("code").is_some_and(|code| code == "lease_lost") => Ok(false),
            Err(line) => Err(line),
        }
    }

    fn lost(&mut self, order: &Line) -> Outcome {
        let lost = |reason: &str| Line::new(["lost"]).with("reason", reason);
        if let Some(Held::Streamed { events, lost: is_lost }) = self.held.get_mut(&text(order, "lease")) {
            let event = next_event(events, &["lost"])?;
            *is_lost = true;
            return Ok(lost(event["reason"].as_str().unwrap_or_default()));
        }
        let path = self.path(order, "")?;
        loop {
            match self.send("GET", &path, &[], "") {
                Ok(_) => sleep(LOOK_EVERY),
                Err(line) => return line.get("reason").map(|reason| lost(&reason)).ok_or(line),
            }
        }
    }

    fn get(&mut self, order: &Line) -> Outcome {
        let answer = self.register("GET", order, "", "")?;
        Ok(Line::new(["value"]).with("value", &answer.body).with("etag", etag(&answer)))
    }

    fn put(&mut self, order: &Line) -> Outcome {
        let answer = self.register("PUT", order, "", &text(order, "value"))?;
        Ok(Line::new(["etag"]).with("etag", etag(&answer)))
    }

    /// A long poll; a wait that is over is begun anew.
    fn watch(&mut self, order: &Line) -> Outcome {
        let query = if order.has("after") { "?watch=1" } else { "" };
        loop {
            match self.register("GET", order, query, "") {
                Ok(answer) if answer.status == 304 => {}
                Ok(answer) => {
                    return Ok(Line::new(["value"]).with("value", &answer.body).with("etag", etag(&answer)));
                }
                Err(line) if line.get("code").is_some_and(|code| code == "not_found") => {
                    return Ok(Line::new(["absent"]));
                }
                Err(line) => return Err(line),
            }
        }
    }

    fn register(&mut self, method: &str, order: &Line, query: &str, body: &str) -> Outcome<Answer> {
        let mut headers = Vec::new();
        if let Some(etag) = order.get("if_match") {
            headers.push(("If-Match", format!("\"{etag}\"")));
        }
        if let Some(etag) = order.get("after").filter(|etag| etag != "absent") {
            headers.push(("If-None-Match", format!("\"{etag}\"")));
        }
        if order.has("if_absent") {
            headers.push(("If-None-Match", "*".to_owned()));
        }
        if let Some(Held::Timed(ids)) = order.get("fenced").and_then(|name| self.held.get(&name)) {
            headers.push(("Sidelock-Lease", ids[0].clone()));
        }
        self.send(method, &format!("/v1/registers/{}{query}", encode(&text(order, "key"))), &headers, body)
    }

    /// A lease that lives as long as its connection.
    fn stream(&mut self, order: &Line, path: &str, body: &str) -> Outcome {
        let mut stream = self.call.connect()?;
        let failed = |error: std::io::Error| nobody(&error.to_string());
        stream.write_all(request("POST", path, &self.demands(), body).as_bytes()).map_err(failed)?;
        let mut events = BufReader::new(stream);
        let event = next_event(&mut events, &["granted", "refused"]);
        if self.call.was_cancelled() {
            return Err(Line::new(["cancelled"]));
        }
        let event = event?;
        match event["event"].as_str() {
            Some("granted") => {
                self.held.insert(text(order, "as"), Held::Streamed { events, lost: false });
                Ok(Line::new(["lease"]).with("fence", &event["fence"]))
            }
            _ => Err(problem(&event)),
        }
    }

    fn keep(&mut self, order: &Line, word: &str, leases: &[Value]) -> Line {
        let of_each = |name: &'static str| {
            leases.iter().map(move |lease| lease[name].as_str().unwrap_or_default().to_owned())
        };
        self.held.insert(text(order, "as"), Held::Timed(of_each("lease").collect()));
        let line =
            Line::new([word]).with_list("fence", leases.iter().map(|lease| lease["fence"].to_string()));
        if order.has("keys") { line.with_list("keys", of_each("key")) } else { line }
    }

    /// The path of a timed lease, and of something of it.
    fn path(&self, order: &Line, what: &str) -> Outcome<String> {
        match self.held.get(&text(order, "lease")) {
            Some(Held::Timed(ids)) => Ok(format!("/v1/leases/{}{what}", ids[0])),
            _ => Err(Line::new(["error"]).with("message", "a lease of a stream has no path")),
        }
    }

    fn body(&self, order: &Line) -> String {
        let mut body = Map::new();
        for name in ["limit", "permits"] {
            if let Some(number) = order.number(name) {
                body.insert(name.to_owned(), number.into());
            }
        }
        if let Some(priority) = order.get("priority").and_then(|priority| priority.parse::<i64>().ok()) {
            body.insert("priority".to_owned(), priority.into());
        }
        for name in ["ttl", "max_hold", "per"] {
            if let Some(span) = span(order, name) {
                body.insert(name.to_owned(), span.into());
            }
        }
        for (flag, name, value) in [
            ("shared", "mode", json!("shared")),
            ("write", "mode", json!("exclusive")),
            ("reentrant", "reentrant", json!(true)),
        ] {
            if order.has(flag) {
                body.insert(name.to_owned(), value);
            }
        }
        body.insert("wait".to_owned(), self.wait(order).into());
        if let Some(align) = order.get("align") {
            body.insert("align".to_owned(), align.into());
        }
        if let Some(owner) = &self.owner {
            body.insert("owner".to_owned(), owner.as_str().into());
        }
        if order.has("keys") {
            body.insert("keys".to_owned(), order.list("keys").into());
        }
        Value::Object(body).to_string()
    }

    fn wait(&self, order: &Line) -> String {
        let tries = order.word(2).starts_with("try");
        match (span(order, "wait"), self.default_wait) {
            (Some(wait), _) => wait,
            (None, _) if tries => "0s".to_owned(),
            (None, Some(wait)) => format!("{wait}ms"),
            (None, None) => FOR_EVER.to_owned(),
        }
    }

    fn demands(&self) -> Vec<(&'static str, String)> {
        self.scope.iter().map(|scope| ("Sidelock-Require-Scope", scope.clone())).collect()
    }

    /// An answer that is no refusal.
    fn send(&self, method: &str, path: &str, headers: &[(&str, String)], body: &str) -> Outcome<Answer> {
        let mut all = self.demands();
        all.extend_from_slice(headers);
        let all: Vec<(&str, String)> = all.into_iter().collect();
        let answer = self.call.exchange(method, path, &all, body)?;
        if answer.status < 400 { Ok(answer) } else { Err(refused(&answer)) }
    }
}

/// The next event of one of these kinds; a refusal that came instead of a stream is one by itself.
fn next_event(stream: &mut BufReader<UnixStream>, kinds: &[&str]) -> Outcome<Value> {
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).unwrap_or(0) == 0 {
            return Err(nobody("the stream ended"));
        }
        // Between the lines of JSON stand headers and the sizes of chunks.
        let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
        if event["code"].is_string() && event["event"].is_null() {
            return Err(problem(&event));
        }
        if event["event"].as_str().is_some_and(|event| kinds.contains(&event)) {
            return Ok(event);
        }
    }
}

fn ok() -> Line {
    Line::new(["ok"])
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_default()
}

fn text(order: &Line, name: &str) -> String {
    order.get(name).unwrap_or_default()
}

fn span(order: &Line, name: &str) -> Option<String> {
    order.number(name).map(|milliseconds| format!("{milliseconds}ms"))
}

fn encode(key: &str) -> String {
    key.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
