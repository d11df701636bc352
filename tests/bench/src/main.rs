//! Benchmarks: the socket's floor, the peers and us, in turn, in one run; one table with ratios.
//!
//! A round measures each scenario with all who take part in it, one after the other; what weighs memory or counts deaths
//! runs once. Absolute figures drift with the machine's neighbours; only the ratios of one run mean something. Informs, and
//! never fails a build.

mod measure;
mod figures;
mod floor;
mod load;
mod one_cpu;
mod ours;
mod peers;
mod proxy;
mod lab;
mod scenario;
mod report;
mod options;
mod counts;

use figures::Figures;
use lab::Lab;
use options::Options;
use peers::foreign::Peers;
use scenario::death;
use sidelock_e2e::redis::Redis;
use std::error::Error;
use std::path::PathBuf;
use tokio::task::LocalSet;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, socket, key] = &words[..]
        && word == death::VICTIM
    {
        return LocalSet::new().block_on(&runtime()?, death::hold_until_killed(socket, key));
    }
    if words.first().is_some_and(|word| word == "counts") {
        say(&counts::counts(words.iter().any(|word| word == "--bless"))?);
        return Ok(());
    }
    let options = Options::read(words)?;
    let folder = result_folder()?;
    let figures = measure(&options, &folder)?;
    let Options { rounds, span, .. } = options;
    let text = format!(
        "Sidelock benchmarks: medians of {rounds} rounds, {span:?} for each measurement, Redis on loopback. A ratio is \
         the median of the rounds' ratios.\n\n{}",
        report::table(&figures)
    );
    for folder in options.out.into_iter().chain([folder]) {
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("results.md"), &text)?;
        for (file, plot) in report::growth::plots(&figures) {
            std::fs::write(folder.join(file), plot)?;
        }
        say(&format!("written to {}", folder.display()));
    }
    say(&format!("\n{text}"));
    Ok(())
}

fn measure(options: &Options, folder: &std::path::Path) -> Outcome<Figures> {
    let mut figures = Figures::default();
    let mut foreign = Peers::start(&folder.join("peers"));
    for round in 1..=options.rounds {
        let plugins = folder.join("plugins");
        let mut lab = Lab { redis: Redis::on_loopback(), span: options.span, plugins, foreign };
        for &scenario in &options.scenarios {
            if round > 1 && scenario.runs_once() {
                continue;
            }
            say(&format!("round {round} of {}: {scenario:?}", options.rounds));
            LocalSet::new().block_on(&runtime()?, scenario.run(&mut lab, &mut figures))?;
        }
        foreign = lab.foreign;
    }
    Ok(figures)
}

/// A runtime like the sidecar's: one thread.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

#[expect(clippy::print_stdout, reason = "a benchmark's result is its output")]
fn say(text: &str) {
    println!("{text}");
}

/// `bench/` beside the folder that this program was built into.
fn result_folder() -> Outcome<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).ok_or("a program lives in a folder")?;
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
