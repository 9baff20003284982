//! The tables.

use super::Results;
use super::cells::{Cell, OURS, SERVERS};
use super::run::Outcome;
use super::statistics::{Ratio, Verdict, median};
use std::fmt::Write;

/// Ours divided by theirs, each within one round.
pub fn ratio(results: &Results, cell: &'static str, ours: usize, theirs: usize) -> Option<Ratio> {
    let ours = results.get(&(cell, SERVERS[ours].name))?;
    let theirs = results.get(&(cell, SERVERS[theirs].name))?;
    let rounds = ours.iter().zip(theirs).filter_map(|(ours, theirs)| {
        let (ours, theirs) = (ours.as_ref()?, theirs.as_ref()?);
        Some(ours.server_ns / theirs.server_ns)
    });
    Ratio::of(&rounds.collect::<Vec<_>>())
}

/// Whether won, level or lost, for each of our engines, cell and peer.
pub fn ratios(cells: &[&'static Cell], results: &Results) -> String {
    let mut text = String::new();
    if cells.is_empty() {
        return text;
    }
    let mut tally = [0; 4];
    let mut rows = String::new();
    for (ours, engine) in SERVERS.iter().enumerate().take(OURS) {
        for cell in cells {
            let cost = middle(results, cell.name, engine.name, |outcome| outcome.server_ns / 1e3);
            let _ = write!(rows, "| {} | {} | {cost:.2} |", cell.name, engine.name);
            for (theirs, peer) in SERVERS.iter().enumerate().skip(OURS) {
                if !peer.knows(cell.transport) {
                    rows.push_str(" |");
                    continue;
                }
                let Some(ratio) = ratio(results, cell.name, ours, theirs) else {
                    rows.push_str(" failed |");
                    continue;
                };
                let Ratio { median, low, high, .. } = ratio;
                let verdict = match ratio.verdict() {
                    Verdict::Won => "won",
                    Verdict::Level => "level",
                    Verdict::Lost => "lost",
                    Verdict::Unknown => "?",
                };
                tally[ratio.verdict() as usize] += 1;
                let _ = write!(rows, " {median:.2} [{low:.2}, {high:.2}] {verdict} |");
            }
            rows.push('\n');
        }
    }
    text.push_str("| cell | server | µs a message |");
    for peer in &SERVERS[OURS..] {
        let _ = write!(text, " ÷ {} |", peer.name);
    }
    text.push_str("\n|---|---|--:|");
    text.push_str(&"---|".repeat(SERVERS.len() - OURS));
    let [won, level, lost, unknown] = tally;
    let _ = write!(
        text,
        "\n{rows}\nThe server's processor time for a message, and that divided by the peer's in the same \
         round: the median and its 95 % interval. Below 1.00 ours costs less: {won} won, {level} level, \
         {lost} lost.\n\n"
    );
    if unknown > 0 {
        text.push_str("Too few rounds to say who won.\n\n");
    }
    text
}

/// Memory for each idle connection.
pub fn idle(idle: &[(&str, (usize, f64))]) -> String {
    let mut text = String::new();
    if idle.is_empty() {
        return text;
    }
    text.push_str("| idle connections |");
    for (name, _) in idle {
        let _ = write!(text, " {name} |");
    }
    let _ = write!(text, "\n|---|{}\n| how many |", "--:|".repeat(idle.len()));
    for (_, (count, _)) in idle {
        let _ = write!(text, " {count} |");
    }
    text.push_str("\n| bytes each |");
    for (_, (_, bytes)) in idle {
        let _ = write!(text, " {bytes:.0} |");
    }
    text.push_str("\n\nThe server's resident memory, without the kernel's.\n\n");
    text
}

/// Everything else, to look at and not to rank by.
pub fn details(cells: &[&'static Cell], results: &Results) -> String {
    let mut text = String::new();
    for cell in cells {
        let _ = write!(
            text,
            "### {}: {}\n\n\
             | server | CPU ns a message | client's | messages/s | server busy | p50 µs | p99 µs | lost |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|\n",
            cell.name, cell.about
        );
        for server in SERVERS.iter().filter(|server| server.knows(cell.transport)) {
            let at = |part: fn(&Outcome) -> f64| middle(results, cell.name, server.name, part);
            let _ = writeln!(
                text,
                "| {} | {:.0} | {:.0} | {:.0} | {:.0} % | {:.0} | {:.0} | {:.0} |",
                server.name,
                at(|outcome| outcome.server_ns),
                at(|outcome| outcome.client_ns),
                at(|outcome| outcome.rate),
                at(|outcome| 100.0 * outcome.server_share),
                at(|outcome| outcome.p50_us),
                at(|outcome| outcome.p99_us),
                at(|outcome| outcome.lost),
            );
        }
        text.push('\n');
    }
    text
}

/// The median over the rounds that went well.
fn middle(
    results: &Results,
    cell: &'static str,
    server: &'static str,
    part: impl Fn(&Outcome) -> f64,
) -> f64 {
    let outcomes = results.get(&(cell, server)).map_or(&[][..], Vec::as_slice);
    median(outcomes.iter().flatten().map(part).collect())
}
