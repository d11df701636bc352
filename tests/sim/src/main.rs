//! `sim`: simulated fleets by the thousand, each decided by a seed, each judged by the history checker.

use clap::{Parser, Subcommand};
use sidelock_engine::mutant::Mutant;
use sidelock_sim::runner::{self, Campaign, RARE_MIN, RARE_SEEDS, Verdict};
use sidelock_sim::world::{Kind, Totals};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Instant;

/// Failing seeds told about at length.
const TOLD_MAX: usize = 10;
/// A mutant that lives longer has survived.
const MUTANT_SEEDS: u64 = 10_000;

#[derive(Parser)]
#[command(name = "sim", about = "Simulates fleets of sidecars and judges what they did")]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run many seeds.
    Run {
        /// How many.
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// The first.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// On so many threads.
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Worlds of owners who ask for more while they hold, and so of deadlocks.
        #[arg(long)]
        tangles: bool,
        /// Fleets on a strict store.
        #[arg(long, conflicts_with = "tangles")]
        strict: bool,
    },
    /// Run one seed.
    Seed {
        /// Which.
        seed: u64,
        /// Tell the story.
        #[arg(long)]
        trace: bool,
        /// A world of owners.
        #[arg(long)]
        tangles: bool,
        /// A fleet on a strict store.
        #[arg(long, conflicts_with = "tangles")]
        strict: bool,
        /// With this deliberate bug.
        #[arg(long)]
        mutant: Option<String>,
    },
    /// Switch every deliberate bug on in turn, and demand that it is noticed.
    Mutants {
        /// Only those whose name contains this.
        #[arg(default_value = "")]
        name: String,
        /// On so many threads.
        #[arg(long, default_value_t = 2)]
        threads: usize,
    },
}

fn main() -> ExitCode {
    let mut out = io::stdout();
    let passed = match Args::parse().verb {
        Verb::Run { seeds, from, threads, tangles, strict } => {
            run(&mut out, kind(tangles, strict), from, seeds, threads)
        }
        Verb::Seed { seed, trace, tangles, strict, mutant } => {
            one(&mut out, kind(tangles, strict), seed, trace, mutant.as_deref())
        }
        Verb::Mutants { name, threads } => mutants(&mut out, &name, threads),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Nobody reads on: not a failure of the simulation.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn kind(tangles: bool, strict: bool) -> Kind {
    match (tangles, strict) {
        (true, _) => Kind::Tangle,
        (false, true) => Kind::Strict,
        (false, false) => Kind::Fleet,
    }
}

/// The option that chooses worlds of this kind.
fn option(kind: Kind) -> &'static str {
    match kind {
        Kind::Fleet => "",
        Kind::Tangle => " --tangles",
        Kind::Strict => " --strict",
    }
}

fn run(out: &mut (impl Write + Send), kind: Kind, from: u64, seeds: u64, threads: usize) -> io::Result<bool> {
    writeln!(out, "seeds {from} to {} on {threads} threads", from + seeds - 1)?;
    let begun = Instant::now();
    let mut untold = 0..TOLD_MAX;
    let mut heard = Ok(());
    let campaign = runner::campaign(kind, from..from + seeds, threads, None, |verdict| {
        if untold.next().is_some() && heard.is_ok() {
            heard = tell(out, kind, verdict);
        }
        ControlFlow::Continue(())
    });
    heard?;
    let seconds = begun.elapsed().as_secs_f64();
    sums(out, kind, &campaign)?;
    let neglected = campaign.neglected(kind);
    for (name, count) in &neglected {
        writeln!(out, "too rare to be tested: {name}, {count} times in {} seeds", campaign.seeds)?;
    }
    if seeds < RARE_SEEDS {
        writeln!(out, "rare things are demanded from {RARE_SEEDS} seeds on, {RARE_MIN} times each")?;
    }
    let failed = campaign.failed.len() as u64;
    writeln!(out, "{seconds:.1} s")?;
    writeln!(out, "{} passed, {} failed", seeds - failed, failed + neglected.len() as u64)?;
    Ok(failed == 0 && neglected.is_empty())
}

fn tell(out: &mut impl Write, kind: Kind, verdict: &Verdict) -> io::Result<()> {
    let (seed, option) = (verdict.seed, option(kind));
    writeln!(out, "seed {seed} failed; `sim seed {seed}{option} --trace` tells its story")?;
    for violation in verdict.violations.iter().take(3) {
        writeln!(out, "    {violation}")?;
    }
    Ok(())
}

fn sums(out: &mut impl Write, kind: Kind, campaign: &Campaign) -> io::Result<()> {
    let Totals { inputs, grants, handoffs, lost, operations, refused, alarms, entered } = campaign.totals;
    let per_seed = inputs / campaign.seeds.max(1);
    writeln!(
        out,
        "{inputs} inputs ({per_seed} per seed), {grants} grants, {handoffs} of them handoffs, {lost} leases lost, {refused} \
         refused or cancelled, {operations} store operations, {alarms} alarms, {entered} leases entered again"
    )?;
    for (name, count) in campaign.counts(kind) {
        writeln!(out, "{count:>10}  {name}")?;
    }
    Ok(())
}

fn one(out: &mut impl Write, kind: Kind, seed: u64, trace: bool, mutant: Option<&str>) -> io::Result<bool> {
    writeln!(out, "seed {seed}")?;
    let mutant = match mutant {
        None => None,
        Some(name) => match Mutant::ALL.into_iter().find(|mutant| format!("{mutant:?}") == name) {
            Some(mutant) => Some(mutant),
            None => {
                writeln!(out, "there is no mutant {name}; there are {:?}", Mutant::ALL)?;
                return Ok(false);
            }
        },
    };
    let begun = Instant::now();
    let verdict = runner::judge(kind, seed, mutant, trace);
    let seconds = begun.elapsed().as_secs_f64();
    for line in &verdict.story {
        writeln!(out, "{line}")?;
    }
    for violation in &verdict.violations {
        writeln!(out, "{violation}")?;
    }
    let failed = usize::from(!verdict.violations.is_empty());
    writeln!(out, "{} inputs, digest {:016x}, {seconds:.3} s", verdict.totals.inputs, verdict.digest)?;
    writeln!(out, "{} passed, {failed} failed", 1 - failed)?;
    Ok(failed == 0)
}

fn mutants(out: &mut impl Write, name: &str, threads: usize) -> io::Result<bool> {
    let begun = Instant::now();
    let (mut killed, mut survived) = (0, 0);
    for mutant in Mutant::ALL {
        if !format!("{mutant:?}").contains(name) {
            continue;
        }
        let kind = runner::kind_for(mutant);
        let campaign =
            runner::campaign(kind, 0..MUTANT_SEEDS, threads, Some(mutant), |_| ControlFlow::Break(()));
        match campaign.failed.first() {
            Some(verdict) => {
                killed += 1;
                let seeds = campaign.seeds;
                let violation = &verdict.violations[0];
                writeln!(
                    out,
                    "{mutant:?}: killed after {seeds} seeds, by seed {}{}: {violation}",
                    verdict.seed,
                    option(kind)
                )?;
            }
            None => {
                survived += 1;
                writeln!(out, "{mutant:?}: survived {} seeds", campaign.seeds)?;
            }
        }
    }
    writeln!(out, "{:.1} s", begun.elapsed().as_secs_f64())?;
    writeln!(out, "{killed} passed, {survived} failed")?;
    Ok(survived == 0)
}
