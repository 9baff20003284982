//! Compares sockeye with its peers: the server's processor time for each message, in interleaved
//! rounds. It builds nothing: `cargo bench` in this package does, and starts it.
//!
//!     compare [--rounds N] [--seconds T] [--cells a,b] [--quick] [--chart FILE] [--write]
//!
//! `--write` puts the table between the markers in the README and draws the chart, and so wants all
//! the cells and twelve rounds at least. See `benches/README.md`.

mod cells;
mod chart;
mod machine;
mod report;
mod run;
mod statistics;

use cells::{CELLS, Cell, IDLE, SERVERS};
use peers::Transport;
use run::{Bench, Outcome};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

type Failure = Box<dyn Error>;

/// Fewer do not resolve a difference of a tenth.
const ROUNDS_MIN: usize = 12;

const USAGE: &str = "usage: compare [--rounds N] [--seconds T] [--cells a,b] [--quick] \
                     [--chart FILE] [--write]";

struct Options {
    rounds: usize,
    seconds: f64,
    cells: Vec<&'static Cell>,
    idle: bool,
    chart: Option<PathBuf>,
    write: bool,
}

fn main() {
    if let Err(error) = compare() {
        eprintln!("compare: {error}");
        std::process::exit(1);
    }
}

/// What was measured, by cell and server: one outcome for each round.
type Results = BTreeMap<(&'static str, &'static str), Vec<Option<Outcome>>>;

fn compare() -> Result<(), Failure> {
    let Some(options) = options()? else { return Ok(()) };
    let mut bench = Bench::new(options.seconds)?;
    for server in &SERVERS {
        bench.check(server)?;
    }
    println!("every server answers right\n");
    let before = machine::Load::now();
    let mut results = Results::new();
    for round in 0..options.rounds {
        for cell in &options.cells {
            eprintln!("round {} of {}: {}", round + 1, options.rounds, cell.name);
            for server in cells::order(round) {
                if !server.knows(cell.transport) {
                    continue;
                }
                let outcome = bench.measure(cell, server);
                if let Err(error) = &outcome {
                    eprintln!("{} with {}: {error}", cell.name, server.name);
                }
                let outcomes = results.entry((cell.name, server.name)).or_default();
                outcomes.push(outcome.ok());
            }
        }
    }
    let mut idle = Vec::new();
    if options.idle {
        for server in SERVERS.iter().filter(|server| server.knows(Transport::Tcp)) {
            idle.push((server.name, bench.idle(server)?));
        }
    }
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let machine = machine::describe(&before, bench.pinned(), &command);
    let method = format!("{} rounds of {} s", options.rounds, options.seconds);
    let table = report::ratios(&options.cells, &results);
    let idle = report::idle(&idle);
    println!("{table}{idle}{machine}; {method}\n");
    println!("{}", report::details(&options.cells, &results));
    if let Some(path) = &options.chart {
        fs::write(path, chart::draw(&options.cells, &results))?;
    }
    if options.write {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        fs::write(root.join("docs/peers.svg"), chart::draw(&options.cells, &results))?;
        let image = "![The server's processor time for each message, sockeye's events engine divided \
                     by each peer, with 95 % intervals](docs/peers.svg)";
        let text = format!("{table}{idle}{machine}; {method}.\n\n{image}\n");
        rewrite(&root.join("README.md"), &text)?;
        println!("written: README.md, docs/peers.svg");
    }
    Ok(())
}

fn options() -> Result<Option<Options>, Failure> {
    use lexopt::prelude::*;
    let mut arguments = lexopt::Parser::from_env();
    let (mut rounds, mut seconds, mut names) = (ROUNDS_MIN, 1.0, None);
    let (mut chart, mut write) = (None, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("rounds") => rounds = arguments.value()?.parse()?,
            Long("seconds") => seconds = arguments.value()?.parse()?,
            Long("cells") => names = Some(arguments.value()?.string()?),
            Long("quick") => (rounds, seconds) = (2, 0.2),
            Long("chart") => chart = Some(arguments.value()?.into()),
            Long("write") => write = true,
            Long("help") | Short('h') => {
                println!("{USAGE}\n\ncells:");
                CELLS.iter().for_each(|cell| println!("  {:<12} {}", cell.name, cell.about));
                println!("  {IDLE:<12} memory of a connection that says nothing");
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if !(1..=1000).contains(&rounds) || !(0.05..=60.0).contains(&seconds) {
        return Err("1 to 1000 rounds, of 0.05 to 60 seconds".into());
    }
    if write && (rounds < ROUNDS_MIN || seconds < 0.5 || names.is_some()) {
        return Err("what is published has every cell and 12 rounds of half a second".into());
    }
    let (mut cells, mut idle) = (CELLS.iter().collect(), true);
    if let Some(names) = names {
        (cells, idle) = (Vec::new(), false);
        for name in names.split(',') {
            match CELLS.iter().find(|cell| cell.name == name) {
                Some(cell) => cells.push(cell),
                None if name == IDLE => idle = true,
                None => return Err(format!("there is no cell {name:?}: see --help").into()),
            }
        }
    }
    Ok(Some(Options { rounds, seconds, cells, idle, chart, write }))
}

fn rewrite(path: &Path, text: &str) -> Result<(), Failure> {
    let readme = fs::read_to_string(path)?;
    let readme = between_markers(&readme, text).ok_or("the README has lost its markers")?;
    Ok(fs::write(path, readme)?)
}

/// The README with this text between its markers.
fn between_markers(readme: &str, text: &str) -> Option<String> {
    const BEGIN: &str = "<!-- peers:begin -->\n";
    const END: &str = "<!-- peers:end -->";
    let (before, rest) = readme.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{text}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let readme = "a\n<!-- peers:begin -->\n\nold\n\n<!-- peers:end -->\nb\n";
        let new = "a\n<!-- peers:begin -->\n\nnew\n\n<!-- peers:end -->\nb\n";
        assert_eq!(between_markers(readme, "new\n").as_deref(), Some(new));
        assert_eq!(between_markers(new, "new\n").as_deref(), Some(new));
        assert_eq!(between_markers("a\nb\n", "new\n"), None);
    }

    #[test]
    fn the_readme_has_the_markers() {
        let readme = include_str!("../../../../../README.md");
        assert!(between_markers(readme, "new\n").is_some());
    }
}
