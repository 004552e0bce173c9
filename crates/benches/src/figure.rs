//! Figures: what was measured, beside its target, for a person and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

/// Rates of one round.
pub struct Round {
    pub waybill: f64,
    pub baseline: f64,
}

/// What the issue asks for.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    AtLeast(f64),
    Below(f64),
}

impl Target {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::Below(most) => value < most,
        }
    }
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub struct Figure {
    name: &'static str,
    what: String,
    unit: &'static str,
    /// Medians of all rounds.
    waybill: f64,
    baseline: Option<f64>,
    ratio: Option<f64>,
    /// The lowest and the highest ratio.
    spread: Option<[f64; 2]>,
    target: Target,
    holds: bool,
}

impl Figure {
    /// The median of the rounds' ratios against its target.
    pub fn of_ratios(
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
            holds: target.holds(ratio),
        }
    }

    /// A value against its target.
    pub fn of_value(
        name: &'static str,
        what: String,
        unit: &'static str,
        target: Target,
        value: f64,
    ) -> Self {
        let holds = target.holds(value);
        Self {
            name,
            what,
            unit,
            waybill: value,
            baseline: None,
            ratio: None,
            spread: None,
            target,
            holds,
        }
    }
}

/// Sorts, too.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// The table that ends a run.
pub fn table(figures: &[Figure]) -> String {
    let mut lines = vec![
        ["bench", "Waybill", "baseline", "ratio (lowest–highest)", "target", ""].map(str::to_owned),
    ];
    for figure in figures {
        let with_unit = |value| format!("{} {}", thousands(value), figure.unit);
        lines.push([
            figure.name.to_owned(),
            with_unit(figure.waybill),
            figure.baseline.map_or_else(String::new, with_unit),
            figure.ratio.zip(figure.spread).map_or_else(String::new, |(ratio, [low, high])| {
                format!("{ratio:.2} ({low:.2}–{high:.2})")
            }),
            match figure.target {
                Target::AtLeast(least) => format!("≥ {least}"),
                Target::Below(most) => format!("< {most} {}", figure.unit),
            },
            if figure.holds { "holds" } else { "missed" }.to_owned(),
        ]);
    }
    let widths: Vec<usize> = (0..6)
        .map(|column| {
            lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
        })
        .collect();
    let mut table = String::new();
    for line in &lines {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(table, "{}", cells.join("  ").trim_end());
    }
    table.push('\n');
    for figure in figures {
        let _ = writeln!(table, "{}: {}", figure.name, figure.what);
    }
    table
}

/// A whole number with commas.
pub fn thousands(value: f64) -> String {
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
        let figure = Figure::of_ratios("x", String::new(), "1/s", Target::AtLeast(10.0), &rounds);
        assert_eq!(figure.ratio, Some(11.0));
        assert_eq!(figure.spread, Some([8.0, 15.0]));
        assert!(figure.holds);
        let figure =
            Figure::of_ratios("x", String::new(), "1/s", Target::AtLeast(10.0), &rounds[..2]);
        assert_eq!(figure.ratio, Some(11.5));
        let figure =
            Figure::of_ratios("x", String::new(), "1/s", Target::AtLeast(10.0), &rounds[1..2]);
        assert!(!figure.holds);
        assert!(!Figure::of_value("x", String::new(), "MB", Target::Below(200.0), 200.0).holds);
    }

    #[test]
    fn thousands_are_parted() {
        assert_eq!(
            [0.4, 999.0, 1_000.0, 1_234_567.0].map(thousands),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
