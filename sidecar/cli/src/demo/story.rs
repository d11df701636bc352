//! The demo's story, in five chapters and a moral. Every number in it is measured in this run.
//!
//! Owns what happens in which order; the last chapter is `ring`'s. How it looks is `stage`'s business, and who plays it `cast`'s.

use super::actor::KEY;
use super::cast::{Cast, FIRST};
use super::ring;
use super::stage::{Part, Span, Stage, name, words};
use super::turns::Turns;
use crate::failure::Failure;
use crate::paint::Style;
use nix::sys::signal::Signal;
use sidelock_daemon::boottime;
use std::time::Duration;

pub(super) const ANA: usize = 0;
pub(super) const BEN: usize = 1;
const CLEO: usize = 2;
/// How long the holder that freezes has the lock without renewing it.
const TTL: Duration = Duration::from_millis(1500);
const SPRINT: Duration = Duration::from_secs(1);

/// What fences are for: a store that remembers the highest one and takes no lower.
#[derive(Default)]
struct Database {
    highest: u64,
}

impl Database {
    fn takes(&mut self, fence: u64) -> bool {
        let takes = fence >= self.highest;
        self.highest = self.highest.max(fence);
        takes
    }
}

/// What is said about the run at its end.
struct Moral {
    kill_cost: Duration,
    late_write_refused: bool,
    deadlock_cost: Duration,
    turns: usize,
}

impl Moral {
    fn sentence(&self) -> String {
        let (cost, deadlock, turns) = (span(self.kill_cost), span(self.deadlock_cost), grouped(self.turns));
        match self.late_write_refused {
            true => {
                format!(
                    "A killed holder cost {cost}, a frozen one no data, a deadlock {deadlock}; {turns} turns took a second."
                )
            }
            false => {
                format!("A killed holder cost {cost}, but a frozen one's late write was TAKEN: report this.")
            }
        }
    }
}

/// Plays all of it.
pub(super) async fn play(cast: &mut Cast, stage: &mut Stage) -> Result<(), Failure> {
    let begun = boottime();
    let sidecar = cast.start_sidecar(FIRST, None).await?;
    let ready = boottime().since(begun);
    stage.prose(
        Style::Plain,
        format!(
            "One sidecar on its memory store (pid {sidecar}, ready after {}), three processes,",
            span(ready)
        ),
    )?;
    stage.prose(Style::Plain, format!("one key: {KEY}.   ● holds it   ○ waits   ‖ frozen   ✗ killed"))?;
    for (actor, _) in super::stage::NAMES {
        cast.start_actor(actor, FIRST).await?;
    }
    stage.pause(600).await;
    in_order(cast, stage).await?;
    let kill_cost = killed(cast, stage).await?;
    let late_write_refused = frozen(cast, stage).await?;
    let turns = full_speed(cast, stage).await?;
    let deadlock_cost = ring::deadlock(cast, stage).await?;
    the_end(stage, &Moral { kill_cost, late_write_refused, deadlock_cost, turns })
}

/// First come, first served.
async fn in_order(cast: &mut Cast, stage: &mut Stage) -> Result<(), Failure> {
    stage.chapter("1  First come, first served")?;
    cast.actor(ANA).order("take").await?;
    let fence = granted(cast, ANA).await?.0;
    stage.part(ANA, Part::Holds);
    stage.happens(vec![name(ANA), words(" holds it, "), fenced(fence)])?;
    for (waiting, actor) in [BEN, CLEO].into_iter().enumerate() {
        cast.actor(actor).order("take").await?;
        cast.await_waiters(waiting + 1).await?;
        stage.part(actor, Part::Waits);
    }
    stage.happens(vec![name(BEN), words(" and "), name(CLEO), words(" wait in line")])?;
    stage.pause(900).await;
    pass(cast, stage, ANA, BEN).await?;
    stage.pause(900).await;
    pass(cast, stage, BEN, CLEO).await
}

/// The holder releases, the next one holds.
async fn pass(cast: &mut Cast, stage: &mut Stage, from: usize, to: usize) -> Result<(), Failure> {
    cast.actor(from).order("release").await?;
    let released = cast.actor(from).event("released").await?.at;
    let (fence, at) = granted(cast, to).await?;
    stage.part(from, Part::Idle);
    stage.part(to, Part::Holds);
    let took = Duration::from_nanos(at.saturating_sub(released));
    stage.happens(vec![
        name(from),
        words(" releases, "),
        name(to),
        words(format!(" holds it {} later, ", span(took))),
        fenced(fence),
    ])
}

/// A holder that is killed costs the others next to nothing. What it cost.
async fn killed(cast: &mut Cast, stage: &mut Stage) -> Result<Duration, Failure> {
    stage.pause(500).await;
    stage.chapter("2  kill -9 the holder")?;
    cast.actor(ANA).order("take").await?;
    cast.await_waiters(1).await?;
    stage.part(ANA, Part::Waits);
    stage.happens(vec![name(ANA), words(" waits")])?;
    stage.pause(800).await;
    let at = cast.actor(CLEO).signal(Signal::SIGKILL);
    let (fence, granted_at) = granted(cast, ANA).await?;
    let cost = Duration::from_nanos(granted_at.saturating_sub(at));
    stage.part(CLEO, Part::Dead);
    stage.part(ANA, Part::Holds);
    let later = (Style::Green, format!("{} later", span(cost)));
    stage.happens(vec![
        (Style::Red, "kill -9 ".into()),
        name(CLEO),
        words(": "),
        name(ANA),
        words(" holds it "),
        later,
        words(", "),
        fenced(fence),
    ])?;
    Ok(cost)
}

/// A holder that freezes loses the lock in time, and its late write should not get through. Whether it was refused.
async fn frozen(cast: &mut Cast, stage: &mut Stage) -> Result<bool, Failure> {
    let mut database = Database::default();
    stage.pause(900).await;
    stage.chapter("3  A holder freezes, and does not know it")?;
    cast.actor(BEN).order(&format!("take {}", TTL.as_millis())).await?;
    cast.await_waiters(1).await?;
    cast.actor(ANA).order("release").await?;
    let (old, _) = granted(cast, BEN).await?;
    stage.part(ANA, Part::Idle);
    stage.part(BEN, Part::Holds);
    stage.happens(vec![
        name(BEN),
        words(format!(" holds it for {} unless it renews, ", span(TTL))),
        fenced(old),
    ])?;
    cast.actor(BEN).order("write").await?;
    writes(cast, stage, &mut database, BEN).await?;
    cast.actor(BEN).signal(Signal::SIGSTOP);
    stage.part(BEN, Part::Frozen);
    // What it would have done next. It reads this when it thaws.
    cast.actor(BEN).order("write").await?;
    cast.actor(ANA).order("take").await?;
    cast.await_waiters(1).await?;
    stage.part(ANA, Part::Waits);
    stage.happens(vec![
        (Style::Red, "SIGSTOP ".into()),
        name(BEN),
        words(", a long pause; "),
        name(ANA),
        words(" waits"),
    ])?;
    let (fence, _) = granted(cast, ANA).await?;
    stage.part(ANA, Part::Holds);
    stage.happens(vec![
        name(BEN),
        words("'s time is over: "),
        name(ANA),
        words(" holds it, "),
        fenced(fence),
    ])?;
    cast.actor(ANA).order("write").await?;
    writes(cast, stage, &mut database, ANA).await?;
    stage.pause(900).await;
    cast.actor(BEN).signal(Signal::SIGCONT);
    stage.part(BEN, Part::Idle);
    stage.happens(vec![
        (Style::Green, "SIGCONT ".into()),
        name(BEN),
        words(", which goes on where it was"),
    ])?;
    let refused = !writes(cast, stage, &mut database, BEN).await?;
    let reason = cast.actor(BEN).event("lost").await?.what;
    let reason = reason.as_str().unwrap_or("lost").to_owned();
    stage.happens(vec![name(BEN), words(format!(" learns that its lease was lost ({reason})"))])?;
    cast.actor(ANA).order("release").await?;
    cast.actor(ANA).event("released").await?;
    stage.part(ANA, Part::Idle);
    Ok(refused)
}

/// An actor wrote; what the database says to that. Whether it was taken.
async fn writes(
    cast: &mut Cast,
    stage: &mut Stage,
    database: &mut Database,
    actor: usize,
) -> Result<bool, Failure> {
    let fence = cast.actor(actor).event("wrote").await?.what.as_u64().unwrap_or_default();
    let taken = database.takes(fence);
    let answer = match taken {
        true => (Style::Green, "taken".to_owned()),
        false => (Style::Red, "refused: a higher one was here".to_owned()),
    };
    stage.happens(vec![name(actor), words(" writes with …"), words(ending(fence)), words(": "), answer])?;
    Ok(taken)
}

/// As fast as they can, one at a time. How many turns there were.
async fn full_speed(cast: &mut Cast, stage: &mut Stage) -> Result<usize, Failure> {
    stage.pause(1200).await;
    stage.chapter("4  Full speed")?;
    let dora = cast.start_actor("cleo", FIRST).await?;
    let runners = [ANA, BEN, dora];
    for runner in runners {
        cast.actor(runner).order(&format!("sprint {}", SPRINT.as_millis())).await?;
    }
    // At any moment, one of them.
    stage.part(ANA, Part::Holds);
    stage.part(BEN, Part::Waits);
    stage.part(CLEO, Part::Waits);
    stage.happens(vec![
        words("a new "),
        name(CLEO),
        words(", and all three take turns as fast as they can"),
    ])?;
    let mut turns = Turns::default();
    for runner in runners {
        let done = cast.actor(runner).event("sprinted").await?.what;
        turns.add(&done).ok_or_else(|| Failure::broken("a process of the demo did not tell its turns"))?;
    }
    [ANA, BEN, CLEO].into_iter().for_each(|lane| stage.part(lane, Part::Idle));
    let count = turns.count();
    stage.happens(vec![
        (Style::Green, format!("{} turns", grouped(count))),
        words(format!(" in {}, {}", span(SPRINT), turns.seen().words())),
    ])?;
    Ok(count)
}

fn the_end(stage: &mut Stage, moral: &Moral) -> Result<(), Failure> {
    stage.prose(Style::Plain, "")?;
    stage.prose(Style::Bold, moral.sentence())?;
    for (command, what) in [
        ("sidelock serve", "starts a sidecar for your own processes"),
        ("sidelock run KEY -- CMD", "holds a lock around a command; try it in two terminals"),
        ("sidelock watch", "shows what happens, as here"),
        ("sidelock serve --redis URL", "the same locks across machines"),
    ] {
        stage.show(vec![(Style::Green, format!("  {command:<28}")), words(what)])?;
    }
    Ok(())
}

/// Waits for a grant: its fence, and when.
async fn granted(cast: &mut Cast, actor: usize) -> Result<(u64, u64), Failure> {
    let event = cast.actor(actor).event("granted").await?;
    Ok((event.what.as_u64().unwrap_or_default(), event.at))
}

fn fenced(fence: u64) -> Span {
    (Style::Dim, format!("fence …{}", ending(fence)))
}

/// What tells fences of one run apart: the last digits.
fn ending(fence: u64) -> String {
    format!("{:08}", fence % 100_000_000)
}

/// A time as one reads it.
pub(super) fn span(span: Duration) -> String {
    match span.as_micros() {
        0..1_000 => format!("{} µs", span.as_micros()),
        1_000..10_000 => format!("{:.1} ms", span.as_secs_f64() * 1e3),
        10_000..1_000_000 => format!("{} ms", span.as_millis()),
        _ if span.subsec_millis() == 0 => format!("{} s", span.as_secs()),
        _ => format!("{:.1} s", span.as_secs_f64()),
    }
}

/// A number with a gap every three digits.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_takes_no_fence_below_the_highest() {
        let mut database = Database::default();
        assert!(database.takes(7) && database.takes(7) && database.takes(9));
        assert!(!database.takes(8) && database.takes(9));
    }

    #[test]
    fn the_moral_is_what_was_seen() {
        let moral = |late_write_refused| {
            let kill_cost = Duration::from_micros(58);
            let deadlock_cost = Duration::from_millis(400);
            Moral { kill_cost, late_write_refused, deadlock_cost, turns: 1_234 }.sentence()
        };
        assert!(
            moral(true).contains("no data")
                && moral(true).contains("58 µs")
                && moral(true).contains("400 ms")
        );
        assert!(moral(false).contains("report this") && !moral(false).contains("no data"));
    }

    #[test]
    fn numbers_read_well() {
        let cases = [
            (Duration::from_micros(58), "58 µs"),
            (Duration::from_micros(1_840), "1.8 ms"),
            (TTL, "1.5 s"),
            (SPRINT, "1 s"),
        ];
        for (time, text) in cases {
            assert_eq!(span(time), text);
        }
        assert_eq!(
            (grouped(7), grouped(1_234), grouped(1_234_567)),
            ("7".into(), "1 234".into(), "1 234 567".into())
        );
        assert_eq!(ending(1_795_700_783_000_042), "83000042");
    }
}
