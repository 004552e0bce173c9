//! Figures: measured values and their targets, as text and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::progress;

/// The columns of the table.
const COLUMNS: usize = 7;

/// The rates of one round.
pub(crate) struct Round {
    pub waybill: f64,
    pub baseline: f64,
}

/// The target of a figure: the value that it must reach, and a better value to aim at.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtLeast { must: f64, aim: f64 },
    AtMost { must: f64, aim: f64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Missed,
    Must,
    Aim,
}

impl Target {
    fn verdict(self, value: f64) -> Verdict {
        let (must, aim) = match self {
            Self::AtLeast { must, aim } => (value >= must, value >= aim),
            Self::AtMost { must, aim } => (value <= must, value <= aim),
        };
        match (must, aim) {
            (_, true) => Verdict::Aim,
            (true, false) => Verdict::Must,
            (false, false) => Verdict::Missed,
        }
    }
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    name: &'static str,
    what: String,
    unit: &'static str,
    /// The medians of all rounds.
    waybill: f64,
    baseline: Option<f64>,
    ratio: Option<f64>,
    /// The lowest and the highest ratio.
    spread: Option<[f64; 2]>,
    target: Target,
    verdict: Verdict,
}

impl Figure {
    /// Compares the median of the ratios with a target.
    pub(crate) fn of_ratios(
        name: &'static str,
        what: String,
        unit: &'static str,
        target: Target,
        rounds: &[Round],
    ) -> Self {
        let mut ratios: Vec<f64> =
            rounds.iter().map(|round| round.waybill / round.baseline).collect();
        let ratio = median(&mut ratios);
        Self {
            name,
            what,
            unit,
            waybill: median(&mut rounds.iter().map(|round| round.waybill).collect::<Vec<_>>()),
            baseline: Some(median(
                &mut rounds.iter().map(|round| round.baseline).collect::<Vec<_>>(),
            )),
            ratio: Some(ratio),
            spread: Some([ratios[0], ratios[ratios.len() - 1]]),
            target,
            verdict: target.verdict(ratio),
        }
    }

    /// Returns the number that is compared with the target: the ratio, or the value if there is no
    /// baseline.
    fn value(&self) -> f64 {
        self.ratio.unwrap_or(self.waybill)
    }

    fn cells(&self, earlier: Option<f64>) -> [String; COLUMNS] {
        let with_unit = |value| format!("{} {}", thousands(value), self.unit);
        [
            self.name.to_owned(),
            with_unit(self.waybill),
            self.baseline.map_or_else(String::new, with_unit),
            self.ratio.zip(self.spread).map_or_else(String::new, |(ratio, [low, high])| {
                format!("{ratio:.2} ({low:.2}–{high:.2})")
            }),
            match self.target {
                Target::AtLeast { must, aim } => format!("≥ {must} / {aim}"),
                Target::AtMost { must, aim } => format!("≤ {must} / {aim}"),
            },
            match self.verdict {
                Verdict::Aim => "reaches its aim",
                Verdict::Must => "holds",
                Verdict::Missed => "missed",
            }
            .to_owned(),
            earlier.map_or_else(String::new, |earlier| {
                format!("{earlier:.2}, {:+.1} %", (self.value() / earlier - 1.0) * 100.0)
            }),
        ]
    }

    /// Compares a value with a target.
    pub(crate) fn of_value(
        name: &'static str,
        what: String,
        unit: &'static str,
        target: Target,
        value: f64,
    ) -> Self {
        Self {
            name,
            what,
            unit,
            waybill: value,
            baseline: None,
            ratio: None,
            spread: None,
            target,
            verdict: target.verdict(value),
        }
    }
}

/// Sorts the values and returns the median.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Sorts latencies in milliseconds, prints their distribution, and returns the 99th percentile.
/// There must be at least one latency.
pub(crate) fn p99(name: &str, latencies: &mut [f64]) -> f64 {
    latencies.sort_by(f64::total_cmp);
    let of = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    let (median, p99, maximum) = (of(0.5), of(0.99), of(1.0));
    progress(&format!("{name}: median {median:.1} ms, p99 {p99:.1} ms, maximum {maximum:.1} ms"));
    p99
}

/// Returns the figures as a text table. `earlier` returns the value of a figure in an earlier run.
pub(crate) fn table(figures: &[Figure], earlier: impl Fn(&str) -> Option<f64>) -> String {
    let mut lines = vec![
        ["bench", "Waybill", "baseline", "ratio (lowest–highest)", "must / aim", "", "earlier"]
            .map(str::to_owned),
    ];
    lines.extend(figures.iter().map(|figure| figure.cells(earlier(figure.name))));
    if lines[1..].iter().all(|line| line[6].is_empty()) {
        lines[0][6].clear();
    }
    let mut table = align(&lines);
    table.push('\n');
    for figure in figures {
        let _ = writeln!(table, "{}: {}", figure.name, figure.what);
    }
    table
}

fn align(lines: &[[String; COLUMNS]]) -> String {
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
    });
    let mut table = String::new();
    for line in lines {
        let cells: Vec<String> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(table, "{}", cells.join("  ").trim_end());
    }
    table
}

/// Formats a number without decimals, with commas between thousands.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_the_ratios_decides() {
        let round = |waybill, baseline| Round { waybill, baseline };
        let rounds = [round(30.0, 2.0), round(8.0, 1.0), round(11.0, 1.0)];
        let target = Target::AtLeast { must: 10.0, aim: 11.2 };
        let of = |rounds| Figure::of_ratios("x", String::new(), "1/s", target, rounds);
        let figure = of(&rounds);
        assert_eq!(figure.ratio, Some(11.0));
        assert_eq!(figure.spread, Some([8.0, 15.0]));
        assert_eq!(figure.verdict, Verdict::Must);
        let figure = of(&rounds[..2]);
        assert_eq!((figure.ratio, figure.verdict), (Some(11.5), Verdict::Aim));
        assert_eq!(of(&rounds[1..2]).verdict, Verdict::Missed);
        let target = Target::AtMost { must: 150.0, aim: 100.0 };
        let of = |value| Figure::of_value("x", String::new(), "MB", target, value).verdict;
        assert_eq!([100.0, 150.0, 150.1].map(of), [Verdict::Aim, Verdict::Must, Verdict::Missed]);
    }

    #[test]
    fn thousands_have_commas() {
        assert_eq!(
            [0.4, 999.0, 1_000.0, 1_234_567.0].map(thousands),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
