//! What the guest `two_clients` prints.

use super::program::Outcome;
use std::collections::HashMap;

/// When a second client of the test bed saw the new data first, by its way of reading.
#[derive(Debug)]
pub struct Looks {
    numbers: HashMap<String, Option<f64>>,
}

impl Looks {
    /// The ways.
    pub const WAYS: [&str; 6] = ["held", "fresh", "direct", "mapping", "lock", "drop"];
    /// What the bed is to be told as `--coherence-ms`.
    pub const LATE_MS: f64 = 600.0;

    /// # Panics
    /// If the guest has failed.
    pub fn of(outcome: &Outcome) -> Self {
        assert_eq!(outcome.code(), Some(0), "{outcome:?}");
        let lines = outcome
            .stdout
            .lines()
            .filter_map(|line| line.split_once(' '));
        let numbers = lines.map(|(way, ms)| (way.to_owned(), ms.parse().ok()));
        Looks {
            numbers: numbers.collect(),
        }
    }

    /// Of a run in which no msync took so long that what is late was there by then, as on a busy machine: of several, if
    /// need be.
    ///
    /// # Panics
    /// If the guest has failed.
    pub fn of_quick(run: impl Fn() -> Outcome) -> Self {
        let mut looks = Looks::of(&run());
        for _ in 0..4 {
            let took = Looks::WAYS.map(|way| looks.number(&format!("took-{way}")));
            if took.iter().flatten().all(|&ms| ms < Looks::LATE_MS / 2.0) {
                break;
            }
            looks = Looks::of(&run());
        }
        looks
    }

    /// By `WAYS`, `now`, `later` or `never`; `not tried` where the guest could not.
    pub fn when(&self) -> [&'static str; 6] {
        Looks::WAYS.map(|way| match self.numbers.get(way) {
            Some(Some(ms)) if *ms < 50.0 => "now",
            Some(Some(_)) => "later",
            Some(None) => "never",
            None => "not tried",
        })
    }

    /// The class that follows: that of `keepmydata doctor --client`, found without any of its code.
    pub fn class(&self) -> &'static str {
        let at_once = |way: &str| self.number(way).is_some_and(|ms| ms < 50.0);
        // Though the other had seen it before it stored.
        let is_seen = self.number("unseen") == Some(0.0) || at_once("held") && at_once("fresh");
        let loses = self.number("lost") > Some(0.0) && is_seen;
        match (self.number("held"), self.number("fresh")) {
            (_, Some(_)) if loses => "lost-update",
            _ if at_once("held") && at_once("fresh") => "at-once",
            _ if at_once("fresh") => "close-to-open",
            // Later than that the kernel has evicted what it had cached, by chance.
            (Some(held), Some(fresh)) if held < 2.0 * fresh + 1000.0 => "after-time",
            (_, Some(_)) => "close-to-open",
            _ if self.number("lock").is_some() => "on-lock",
            _ => "never",
        }
    }

    /// Another number, as `lost`.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.numbers.get(name).copied().flatten()
    }
}
