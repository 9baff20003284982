//! The table of a proof: what was measured, what is allowed, and the verdict.

use std::fmt::Display;
use std::time::Duration;

/// Rows, printed as they come.
pub struct Table {
    all_hold: bool,
    notes: Vec<String>,
}

impl Table {
    /// Prints the head of the table.
    pub fn new() -> Table {
        println!("| what | measured | allowed | |\n|---|---|---|---|");
        Table { all_hold: true, notes: Vec::new() }
    }

    /// A row.
    pub fn row(&mut self, what: &str, measured: impl Display, allowed: impl Display, holds: bool) {
        let verdict = if holds { "ok" } else { "FAILED" };
        println!("| {what} | {measured} | {allowed} | {verdict} |");
        self.all_hold &= holds;
    }

    /// The longest and the shortest of several times, each of which must be in the range.
    pub fn times(&mut self, what: &str, times: &[Duration], from: Duration, to: Duration) {
        let (Some(min), Some(max)) = (times.iter().min(), times.iter().max()) else {
            return self.row(what, "nothing", "something", false);
        };
        let measured = format!("{min:.1?} to {max:.1?}, {} runs", times.len());
        let allowed = format!("{from:.1?} to {to:.1?}");
        self.row(what, measured, allowed, *min >= from && *max <= to);
    }

    /// What stands below the table.
    pub fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Prints the notes. Whether every row holds.
    pub fn end(self) -> bool {
        self.notes.iter().for_each(|note| println!("\n{note}"));
        self.all_hold
    }
}
