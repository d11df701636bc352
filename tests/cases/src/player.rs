//! A player, seen from the driver: a process that is told what to do.
//!
//! Owns the numbers of orders and their answers. Must not know what an answer has to be.

use crate::line::Line;
use sidelock_e2e::PATIENCE;
use sidelock_e2e::process::Process;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

/// How a language's player is started.
#[derive(Clone, Debug)]
pub struct Language {
    /// `rust`, `python`, …
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
}

/// One process.
pub struct Player {
    process: Process,
    orders: u64,
}

/// An order that was given.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    number: u64,
    /// When.
    pub at: Instant,
}

impl Player {
    fn start(language: &Language) -> Player {
        let mut command = Command::new(&language.command[0]);
        command.args(&language.command[1..]);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SIDELOCK_") {
                command.env_remove(name);
            }
        }
        Player { process: Process::spawn(command), orders: 0 }
    }

    /// Gives an order: `line` without its number.
    pub fn tell(&mut self, line: &Line) -> Order {
        self.orders += 1;
        let order = Order { number: self.orders, at: Instant::now() };
        self.process.say(&format!("{} {line}", order.number));
        order
    }

    /// The answer to an order, if it comes within `limit`.
    pub fn answer(&self, order: Order, limit: Duration) -> Option<Line> {
        let number = format!("{} ", order.number);
        let answer = self.process.line_within(limit, |line| line.starts_with(&number))?;
        Some(Line::parse(&answer[number.len()..]))
    }

    /// The answer to an order.
    ///
    /// # Errors
    /// If there is none, with what the process said last.
    pub fn answers(&self, order: Order) -> Result<Line, String> {
        self.answer(order, PATIENCE).ok_or_else(|| {
            let said = self.process.output();
            let last: Vec<_> = said.lines().rev().take(8).collect();
            format!("no answer; the player's last lines, newest first:\n{}", last.join("\n"))
        })
    }
}

/// The players of one language at one stage.
pub struct Troupe<'a> {
    language: &'a Language,
    together: Option<Player>,
    alone: BTreeMap<String, Player>,
}

impl<'a> Troupe<'a> {
    /// Nobody yet.
    pub fn new(language: &'a Language) -> Troupe<'a> {
        Troupe { language, together: None, alone: BTreeMap::new() }
    }

    /// Whose language this is.
    pub fn language(&self) -> &'a Language {
        self.language
    }

    /// The process that all play in, or one for this actor alone.
    pub fn player(&mut self, alone: Option<&str>) -> &mut Player {
        let start = || Player::start(self.language);
        match alone {
            None => self.together.get_or_insert_with(start),
            Some(actor) => self.alone.entry(actor.to_owned()).or_insert_with(start),
        }
    }

    /// Kills the process of an actor that has one.
    pub fn kill(&mut self, actor: &str) {
        if let Some(mut player) = self.alone.remove(actor) {
            player.process.kill();
        }
    }

    /// Those who play alone go; after a case that failed so do all.
    pub fn leave(&mut self, failed: bool) {
        self.alone.clear();
        if failed {
            self.together = None;
        }
    }
}
