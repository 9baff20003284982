//! The chart: a row for each cell, a mark with its interval for each peer, on a logarithmic scale.

use super::Results;
use super::cells::{Cell, OURS, SERVERS};
use super::report::ratio;
use super::statistics::Ratio;
use std::fmt::Write;

const WIDTH: f64 = 700.0;
/// Where the scale begins and ends.
const LEFT: f64 = 116.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 84.0;
/// Height of a peer's line, and the space between cells.
const LINE: f64 = 13.0;
const GAP: f64 = 16.0;

const STYLE: &str = "\
  .card { fill: #ffffff; stroke: #8c959f }
  text { font-family: system-ui, sans-serif; font-size: 13px; fill: #1f2328 }
  .t { font-size: 15px; font-weight: 600 }
  .s { fill: #424a53 }
  .grid { stroke: #d0d7de }
  .one { stroke: #1f2328; stroke-width: 1.5 }
  .p0 { stroke: #0969da; fill: #0969da }
  .p1 { stroke: #bc4c00; fill: #bc4c00 }
  .p2 { stroke: #1a7f37; fill: #1a7f37 }
  .p3 { stroke: #8250df; fill: #8250df }
  .p4 { stroke: #bf3989; fill: #bf3989 }
  .i { stroke-width: 3; stroke-linecap: round; opacity: 0.55 }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; stroke: #444c56 }
    text { fill: #e6edf3 }
    .s { fill: #b1bac4 }
    .grid { stroke: #30363d }
    .one { stroke: #e6edf3 }
    .p0 { stroke: #58a6ff; fill: #58a6ff }
    .p1 { stroke: #f0883e; fill: #f0883e }
    .p2 { stroke: #3fb950; fill: #3fb950 }
    .p3 { stroke: #bc8cff; fill: #bc8cff }
    .p4 { stroke: #ff80c8; fill: #ff80c8 }
  }
";

/// Values that the scale may show a line for.
const TICKS: [f64; 11] = [0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 1.0, 1.25, 1.5, 2.0, 4.0];

pub fn draw(cells: &[&'static Cell], results: &Results) -> String {
    let rows: Vec<(&str, Vec<Option<Ratio>>)> = cells
        .iter()
        .map(|cell| {
            let ratios = (OURS..SERVERS.len()).map(|peer| ratio(results, cell.name, 0, peer));
            (cell.name, ratios.collect())
        })
        .collect();
    let all = || rows.iter().flat_map(|(_, ratios)| ratios).flatten();
    let least = all().map(|ratio| ratio.low).fold(0.78, f64::min) / 1.05;
    let most = all().map(|ratio| ratio.high).fold(1.28, f64::max) * 1.05;
    let x = |value: f64| LEFT + (RIGHT - LEFT) * (value / least).ln() / (most / least).ln();

    let peers = (SERVERS.len() - OURS) as f64;
    let bottom = TOP + rows.len() as f64 * (peers * LINE + GAP);
    let height = bottom + 30.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-labelledby=\"title\">\n<title id=\"title\">Server processor time for a message, sockeye's \
         events engine divided by each peer, by cell</title>\n<style>\n{STYLE}</style>\n\
         <rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n\
         <text class=\"t\" x=\"16\" y=\"26\">Server CPU for a message: sockeye events ÷ peer, median and \
         95 % interval</text>\n<text class=\"s\" x=\"16\" y=\"50\">peer:</text>\n",
        WIDTH - 1.0,
        height - 1.0
    );
    for (peer, server) in SERVERS[OURS..].iter().enumerate() {
        let at = LEFT + 84.0 * peer as f64;
        let _ = writeln!(
            svg,
            "<circle class=\"p{peer}\" cx=\"{at:.0}\" cy=\"46\" r=\"4\"/><text x=\"{:.0}\" y=\"50\">{}</text>",
            at + 10.0,
            server.name
        );
    }
    for (at, anchor, says) in [(LEFT, "start", "← costs less"), (RIGHT, "end", "costs more →")]
    {
        let _ = writeln!(
            svg,
            "<text class=\"s\" x=\"{at}\" y=\"72\" text-anchor=\"{anchor}\">{says}</text>"
        );
    }
    let mut last = f64::NEG_INFINITY;
    for tick in TICKS.into_iter().filter(|tick| (least..=most).contains(tick)) {
        let at = x(tick);
        let class = if tick == 1.0 { "one" } else { "grid" };
        let _ = writeln!(svg, "<path class=\"{class}\" d=\"M{at:.1} {TOP}V{bottom}\"/>");
        // Labels that would touch are left out; the one that matters never is.
        let crowded = at - last < 30.0 || (tick < 1.0 && x(1.0) - at < 30.0);
        if tick == 1.0 || !crowded {
            let y = bottom + 18.0;
            let _ =
                writeln!(svg, "<text x=\"{at:.1}\" y=\"{y}\" text-anchor=\"middle\">{tick}</text>");
            last = at;
        }
    }
    for (row, (name, ratios)) in rows.iter().enumerate() {
        let top = TOP + row as f64 * (peers * LINE + GAP) + GAP / 2.0;
        let middle = top + peers * LINE / 2.0 + 4.0;
        let _ = writeln!(svg, "<text x=\"16\" y=\"{middle:.1}\">{name}</text>");
        for (peer, ratio) in ratios.iter().enumerate() {
            let Some(Ratio { median, low, high, .. }) = ratio else { continue };
            let y = top + (peer as f64 + 0.5) * LINE;
            let _ = writeln!(
                svg,
                "<path class=\"i p{peer}\" d=\"M{:.1} {y:.1}H{:.1}\"/>\
                 <circle class=\"p{peer}\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\"/>",
                x(*low),
                x(*high),
                x(*median)
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}
