//! `chaos [ROUND…|all]`: real processes in trouble, judged by the history checker.
//!
//! Prints the seed first, a line a round, and `N passed, M failed` last. The dice of faults and clients follow the seed; the
//! machine's scheduler does not, so a seed makes a failure likely again, not certain: the history is what is kept of it.
//! Also is the client process that rounds start (`client`), and the holder that is killed (`hold`).

use clap::{Parser, Subcommand};
use sidelock_chaos::client::{Orders, live};
use sidelock_chaos::forge;
use sidelock_chaos::pods;
use sidelock_chaos::round::{self, Options, Report};
use sidelock_chaos::rounds::{CALM, DIVIDED, ENDURANCE, ROUNDS, Round};
use sidelock_chaos::store::Shape;
use sidelock_chaos::wish::HOSTS_MAX;
use sidelock_client::Client;
use sidelock_sim::checker::history::History;
use sidelock_sim::checker::{self, Rule};
use std::error::Error;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Violations of a round told about at length.
const TOLD_MAX: usize = 5;
/// Rounds in pods at a time.
const PODS_AT_ONCE: usize = 2;
/// How long the round lasts that the forgeries are made of.
const CALM_SPAN: Duration = Duration::from_secs(2);

#[derive(Parser)]
#[command(name = "chaos", about = "Real processes in trouble, judged by the history checker")]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    order: Order,
}

#[derive(clap::Args)]
struct Order {
    /// Which rounds; `all`, or nothing: all of them
    rounds: Vec<String>,
    /// How long trouble lasts in each round
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Sidecars of each round
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=i64::from(HOSTS_MAX)))]
    sidecars: u8,
    /// Clients of each round
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(2..=512))]
    clients: u16,
    /// What the dice begin with [default: the time]
    #[arg(long)]
    seed: Option<u64>,
    /// Time to live of a tenure, in milliseconds
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    ttl: u64,
    /// So many rounds at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    at_once: u8,
    /// Where the histories of failed rounds are kept
    #[arg(long, default_value = "/tmp/sidelock-chaos")]
    keep: PathBuf,
}

#[derive(Subcommand)]
enum Verb {
    /// Judge a history that was kept.
    Judge {
        /// Its file.
        file: PathBuf,
    },
    /// Be a client of a round, until standard input ends.
    #[command(hide = true)]
    Client {
        #[arg(long)]
        socket: PathBuf,
        #[arg(long)]
        register: PathBuf,
        #[arg(long)]
        diary: PathBuf,
        #[arg(long)]
        origin_ns: u64,
        #[arg(long)]
        seed: u64,
        #[arg(long)]
        own: Option<u32>,
    },
    /// Hold a key until killed.
    #[command(hide = true)]
    Hold {
        #[arg(long)]
        socket: PathBuf,
        #[arg(long)]
        key: String,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let passed = match args.verb {
        None => run(&args.order),
        Some(Verb::Judge { file }) => judge(&file),
        Some(Verb::Client { socket, register, diary, origin_ns, seed, own }) => {
            live(&Orders { socket, register, diary, origin_ns, seed, own });
            Ok(true)
        }
        Some(Verb::Hold { socket, key }) => hold(&socket, &key),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("chaos: {error}"));
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn say(text: &str) {
    println!("{text}");
}

fn run(order: &Order) -> Outcome<bool> {
    let rounds = possible(wanted(&order.rounds)?);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let seed = order.seed.unwrap_or(u64::from(clock.subsec_nanos()));
    say(&format!("seed {seed}"));
    let options = Options {
        span: Duration::from_secs(order.seconds),
        sidecars: order.sidecars.into(),
        clients: order.clients.into(),
        tenure_ttl: Duration::from_millis(order.ttl),
        seed,
    };
    let (mut passed, mut failed) = (0, 0);
    let mut count = |good: bool| if good { passed += 1 } else { failed += 1 };
    count(is_believable(&options, &order.keep)?);
    // What is measured in milliseconds is measured alone, and pods have processors for themselves.
    let (alone, others): (Vec<Round>, Vec<Round>) =
        rounds.into_iter().partition(|round| round.name == "holder_killed");
    let (in_pods, together): (Vec<Round>, Vec<Round>) = others.into_iter().partition(is_in_pods);
    let at_once = usize::from(order.at_once);
    for (rounds, at_once) in [(together, at_once), (in_pods, at_once.min(PODS_AT_ONCE)), (alone, 1)] {
        for report in reports(rounds, at_once, &options) {
            tell(&report, &order.keep)?;
            count(report.passed());
        }
    }
    say(&format!("{passed} passed, {failed} failed"));
    Ok(failed == 0)
}

fn wanted(names: &[String]) -> Outcome<Vec<Round>> {
    if names.is_empty() || names == ["all"] {
        return Ok(ROUNDS.to_vec());
    }
    let find = |name: &String| {
        let mut known = ROUNDS.iter().chain([&ENDURANCE]);
        let names: Vec<&str> = known.clone().map(|round| round.name).collect();
        let found = known.find(|round| round.name == name).copied();
        found.ok_or_else(|| format!("there is no round `{name}`; there are all {}", names.join(" ")).into())
    };
    names.iter().map(find).collect()
}

/// Without those that this machine does not let us run, which are named with what they need.
fn possible(rounds: Vec<Round>) -> Vec<Round> {
    let (in_pods, others): (Vec<_>, Vec<_>) = rounds.iter().copied().partition(is_in_pods);
    match pods::missing() {
        Some(why) if !in_pods.is_empty() => {
            let names: Vec<_> = in_pods.iter().map(|round| round.name).collect();
            say(&format!("skipped: {}: {why}", names.join(" ")));
            others
        }
        _ => rounds,
    }
}

fn is_in_pods(round: &Round) -> bool {
    round.planned(CALM_SPAN).shape == Shape::Linked
}

/// Shows the checker a calm round as it was, and then every lie about it; and then locks that are really broken.
fn is_believable(options: &Options, keep: &Path) -> Outcome<bool> {
    let options = Options { span: CALM_SPAN, ..*options };
    let report = round::run(&CALM, &options);
    tell(&report, keep)?;
    if !report.passed() {
        return Ok(false);
    }
    let believed = forge::believed(&report.history);
    believed.iter().for_each(|lie| say(&format!("    believed: {lie}")));
    let count = forge::FORGERIES.len();
    say(&format!("forged histories: {} of {count} refused", count - believed.len()));
    let found = round::run(&DIVIDED, &options).violations;
    let overlaps = found.iter().filter(|violation| violation.rule == Rule::Exclusion).count();
    say(&format!("sidecars that do not know each other: {overlaps} overlaps found, at least 1 is expected"));
    Ok(believed.is_empty() && overlaps > 0)
}

/// Runs rounds, so many at a time, and reports each when it is over.
fn reports(rounds: Vec<Round>, at_once: usize, options: &Options) -> mpsc::Receiver<Report> {
    let (tell, reports) = mpsc::channel();
    let queue = std::sync::Arc::new(Mutex::new(rounds.into_iter()));
    for _ in 0..at_once {
        let (queue, tell, options) = (queue.clone(), tell.clone(), *options);
        thread::spawn(move || {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(round) = next else { return };
                if tell.send(round::run(&round, &options)).is_err() {
                    return;
                }
            }
        });
    }
    reports
}

fn tell(report: &Report, keep: &Path) -> Outcome {
    let verdict = if report.passed() { "ok" } else { "FAILED" };
    let took = |span: Option<Duration>| {
        span.map_or("-".into(), |span| format!("{:.0} ms", span.as_secs_f64() * 1e3))
    };
    let updates = report.updates;
    say(&format!(
        "{:<26} {:>7} events {:>6} grants {:>6} writes {:>5} stale {:>2} lost {:>2} violations {:>4} strikes, \
         granted again in {}, at rest in {}  {verdict}",
        report.name,
        report.history.records.len(),
        report.grants,
        updates.taken,
        updates.refused,
        updates.lost,
        report.violations.len(),
        report.strikes,
        took(report.resumed),
        took(report.rested),
    ));
    if report.overslept > 0 {
        say(&format!(
            "    {} leases ran out while their holder was stopped, and others were served",
            report.overslept
        ));
    }
    report.measured.iter().for_each(|text| say(&format!("    {text}")));
    let failures = report.failures.iter().map(|text| text.replace('\n', "\n    "));
    failures.for_each(|text| say(&format!("    {text}")));
    report.violations.iter().take(TOLD_MAX).for_each(|violation| say(&format!("    {violation}")));
    if !report.passed() && !report.history.records.is_empty() {
        keep_what_happened(report, keep)?;
    }
    Ok(())
}

/// The history, to be judged again, and what the sidecars said, to understand it.
fn keep_what_happened(report: &Report, keep: &Path) -> Outcome {
    std::fs::create_dir_all(keep)?;
    let (file, kept) = new_file(keep, &format!("{}-{}", report.name, std::process::id()))?;
    let mut to = BufWriter::new(kept);
    report.history.write(&mut to)?;
    to.flush()?;
    let log = file.with_extension("log");
    std::fs::write(&log, report.said.join("\n\n"))?;
    say(&format!("    kept: chaos judge {}, and {}", file.display(), log.display()));
    Ok(())
}

/// A history of this name beside those that are there: a round may fail more than once.
fn new_file(folder: &Path, name: &str) -> Outcome<(PathBuf, File)> {
    for number in 1_u32.. {
        let path = folder.join(format!("{name}-{number}.jsonl"));
        match File::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return Ok((path, created?)),
        }
    }
    Err("the folder is full of such histories".into())
}

fn judge(file: &Path) -> Outcome<bool> {
    let history = History::read(BufReader::new(File::open(file)?))?;
    let violations = checker::check(&history);
    violations.iter().for_each(|violation| say(&violation.to_string()));
    say(&format!("{} records, {} violations", history.records.len(), violations.len()));
    Ok(violations.is_empty())
}

fn hold(socket: &Path, key: &str) -> Outcome<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::connect(socket).await?;
        let lease = client.lock(key).await?;
        say("held");
        io::stdout().flush()?;
        let reason = lease.lost().await;
        Err(format!("the lease was lost: {reason}").into())
    })
}
