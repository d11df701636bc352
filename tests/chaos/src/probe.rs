//! Once everything is healed: is every key granted again, and how soon; and is anything left in the end?
//!
//! Owns asking for every key at every sidecar over HTTP, with timed leases, and the look at what is left over.

use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::wish::{self, CLUNG, Kind};
use serde_json::Value;
use sidelock_e2e::http::{self, Answer as HttpAnswer};
use sidelock_engine::StoreTime;
use sidelock_sim::checker::history::{
    Acquire, Answer, At, Event, History, Record, Refused, Req, Rest, Sent, Wait,
};
use sidelock_store::record::Record as StoreRecord;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a probe goes on asking.
const ASKS_FOR: Duration = Duration::from_secs(20);
/// How long each of its requests waits.
const WAIT: Duration = Duration::from_secs(5);
/// After a refusal, such as that the store is away.
const PAUSE: Duration = Duration::from_millis(20);

/// All records, a line each, in hexadecimal digits. A strict store's marker is none.
const DUMP: &str = "local lines = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
    if key:sub(-7) ~= ':marker' then
        lines[#lines + 1] = redis.call('GET', key):gsub('.', function(c) return ('%02x'):format(c:byte()) end)
    end
end
return table.concat(lines, '\\n')";

/// Asks for every key that nobody clings to at every sidecar at once, until each was granted. What happened, as the diary of one process.
///
/// # Errors
/// If some were not granted for as long as it asks.
pub fn every_key(fleet: &Fleet) -> Result<Vec<Record>, String> {
    let (clock, sockets) = (fleet.clock(), fleet.sockets());
    let places = sockets.iter().flat_map(|socket| (0..CLUNG).map(move |key| (socket, key)));
    let probes: Vec<_> = thread::scope(|scope| {
        let spawned: Vec<_> = places
            .zip(0..)
            .map(|((socket, key), session)| scope.spawn(move || Probe::new(clock, session, key).run(socket)))
            .collect();
        spawned.into_iter().map(|probe| probe.join().expect("a probe does not panic")).collect()
    });
    let mut records = Vec::new();
    for probe in probes {
        records.extend(probe?);
    }
    Ok(records)
}

/// What diaries call the life that the sidecar at this socket lives.
///
/// # Panics
/// If it does not say.
pub fn life(socket: &Path) -> u32 {
    let info = http::request(socket, "GET", "/v1/info", "").json();
    let life = info["incarnation"].as_str().and_then(|id| u32::from_str_radix(id.get(..8)?, 16).ok());
    life.expect("a sidecar says which life it lives")
}

/// Asks for one key at one sidecar.
struct Probe {
    clock: Clock,
    session: u32,
    key: u32,
    requests: u32,
    records: Vec<Record>,
}

impl Probe {
    fn new(clock: Clock, session: u32, key: u32) -> Probe {
        Probe { clock, session, key, requests: 0, records: Vec::new() }
    }

    fn run(mut self, socket: &Path) -> Result<Vec<Record>, String> {
        let (sidecar, uid) = (life(socket), rustix::process::getuid().as_raw());
        self.note(Event::Opened { session: self.session, sidecar, uid });
        let until = Instant::now() + ASKS_FOR;
        loop {
            let (of, answer) = self.ask(socket);
            if answer.status == 200 {
                let lease = answer.json();
                self.granted(of, &lease);
                self.give_back(socket, of, &lease);
                return Ok(self.records);
            }
            self.note(Event::Answered { of, answer: Answer::Refused(Refused::Other) });
            if Instant::now() > until {
                return Err(format!("key {} is not granted at {}: {answer:?}", self.key, socket.display()));
            }
            thread::sleep(PAUSE);
        }
    }

    fn ask(&mut self, socket: &Path) -> (Req, HttpAnswer) {
        let name = wish::name(self.key);
        let (path, body, units, limit) = match wish::kind(self.key) {
            Kind::Semaphore(limit) => {
                (format!("/v1/semaphores/{name}"), format!(r#""limit":{limit},"#), 1, limit)
            }
            Kind::Lock | Kind::ReadersWriter => {
                (format!("/v1/locks/{name}"), String::new(), u32::MAX, u32::MAX)
            }
        };
        let body = format!(r#"{{{body}"wait":"{}s","ttl":"200ms"}}"#, WAIT.as_secs());
        let wait = Wait::AtMost(WAIT);
        let asked = Acquire {
            key: self.key,
            units,
            limit,
            wait,
            priority: 0,
            timed: true,
            owner: None,
            per: None,
            max_hold: None,
            watched: true,
            upgrades: None,
            group: None,
            turn: false,
        };
        let of = self.sent(Sent::Acquire(asked));
        (of, http::request(socket, "POST", &path, &body))
    }

    fn granted(&mut self, of: Req, lease: &Value) {
        let told = lease["deadline_boottime_ns"].as_u64().expect("a lease has a deadline");
        let deadline = self.clock.when(Duration::from_nanos(told));
        let fence = lease["fence"].as_u64().expect("a lease has a fence");
        self.note(Event::Answered { of, answer: Answer::Granted { fence, deadline } });
    }

    fn give_back(&mut self, socket: &Path, lease: Req, id: &Value) {
        let id = id["lease"].as_str().expect("a lease has an id");
        let of = self.sent(Sent::Release { lease });
        let answer = http::request(socket, "DELETE", &format!("/v1/leases/{id}"), "");
        let answer = match answer.status {
            204 => Answer::Released,
            _ => Answer::Refused(Refused::NotYours),
        };
        self.note(Event::Answered { of, answer });
    }

    fn sent(&mut self, what: Sent) -> Req {
        let of = Req { session: self.session, request: self.requests };
        self.requests += 1;
        self.note(Event::Sent { of, what });
        of
    }

    fn note(&mut self, event: Event) {
        self.records.push(Record { at: self.clock.now(), event });
    }
}

/// How long after `healed` each key that nobody clings to was granted to somebody, the slowest key last. `None`: never.
pub fn resumptions(history: &History, healed: At) -> Vec<Option<Duration>> {
    let mut keys = std::collections::HashMap::new();
    let mut first = vec![None; CLUNG as usize];
    for Record { at, event } in &history.records {
        match event {
            Event::Sent { of, what: Sent::Acquire(acquire) } => {
                keys.insert(*of, acquire.key);
            }
            Event::Answered { of, answer: Answer::Granted { deadline, .. } }
                if *at >= healed && deadline > at =>
            {
                if let Some(slot) = keys.get(of).and_then(|key| first.get_mut(*key as usize)) {
                    slot.get_or_insert(at.since(healed));
                }
            }
            _ => {}
        }
    }
    first.sort_by_key(|span| span.unwrap_or(Duration::MAX));
    first
}

/// Waits until nothing is left in sidecars and Redis, `limit` at most; what is left then.
pub fn rest(fleet: &Fleet, limit: Duration) -> (Rest, Duration) {
    let begun = Instant::now();
    loop {
        let rest = look(fleet);
        if rest == Rest::default() || begun.elapsed() > limit {
            return (rest, begun.elapsed());
        }
        thread::sleep(PAUSE);
    }
}

fn look(fleet: &Fleet) -> Rest {
    let mut rest = Rest::default();
    for host in 0..fleet.hosts() {
        let info = fleet.info(host);
        let count =
            |field: &str| u32::try_from(info[field].as_u64().expect("a number")).expect("a small number");
        // The one that asks is a session too.
        rest.sessions += count("sessions").saturating_sub(1);
        rest.leases += count("leases");
        rest.waiters += count("waiters");
        rest.keys += count("keys");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that was set");
    let now = StoreTime(u64::try_from(now.as_micros()).expect("a few centuries fit"));
    rest.records =
        u32::try_from(records(fleet).iter().filter(|record| is_alive(record, now)).count()).expect("few");
    rest
}

/// All records in Redis. What nobody can miss any more stays for some minutes before Redis collects it.
fn records(fleet: &Fleet) -> Vec<StoreRecord> {
    let dumps = fleet.redis(&["EVAL", DUMP, "0"]);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let record = |line: &str| {
        let bytes: Option<Vec<u8>> = line.as_bytes().chunks(2).map(byte).collect();
        StoreRecord::decode(&bytes.expect("hexadecimal digits")).expect("only sidecars write here")
    };
    dumps.iter().flat_map(|lines| lines.lines()).map(record).collect()
}

/// Whether it still says something.
fn is_alive(record: &StoreRecord, now: StoreTime) -> bool {
    let tenures = record.tenures.iter().map(|tenure| tenure.until);
    let queue = record.queue.iter().map(|entry| entry.until);
    tenures.chain(queue).chain(record.done.iter().map(|done| done.until)).any(|until| until > now)
}
