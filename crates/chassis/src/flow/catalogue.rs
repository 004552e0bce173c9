//! The charts of a service as data: which metrics become which series. A metric is named as in the
//! text of `GET /metrics`.

use serde::Serialize;

use super::marks::MarkKind;

/// The charts of a service, and the metrics that tell of outages.
#[derive(Debug, Clone, Copy)]
pub struct Catalogue {
    pub charts: &'static [Chart],
    /// An outage lasts while the sum of these gauges is above 0.
    pub outages: &'static [(MarkKind, &'static [Select])],
    /// Something has happened when the sum of these counters has grown.
    pub events: &'static [(MarkKind, &'static [Select])],
}

impl Catalogue {
    pub fn series(&self) -> impl Iterator<Item = (&'static Chart, &'static Series)> {
        self.charts.iter().flat_map(|chart| chart.series.iter().map(move |series| (chart, series)))
    }
}

#[derive(Debug)]
pub struct Chart {
    pub id: &'static str,
    pub unit: Unit,
    pub scope: Scope,
    pub series: &'static [Series],
}

/// One line of a chart.
#[derive(Debug)]
pub struct Series {
    /// Unique in the catalogue.
    pub id: &'static str,
    pub tone: Tone,
    pub source: Source,
}

/// The unit of all values of a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    PerSecond,
    Seconds,
    Percent,
    Count,
}

/// The part of the installation that a value describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The work of this replica.
    Replica,
    /// Read from the database: all replicas see the same.
    Whole,
}

/// The look of a line. Colour means state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Main,
    Second,
    Good,
    Warn,
    Bad,
}

impl Tone {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Second => "second",
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// The values of a metric: all of them, or those whose label begins with a text.
#[derive(Debug, Clone, Copy)]
pub struct Select {
    pub metric: &'static str,
    pub label: Option<(&'static str, &'static str)>,
}

impl Select {
    #[must_use]
    pub const fn all(metric: &'static str) -> Self {
        Self { metric, label: None }
    }

    #[must_use]
    pub const fn with(metric: &'static str, label: &'static str, beginning: &'static str) -> Self {
        Self { metric, label: Some((label, beginning)) }
    }
}

/// The origin of the values of a series. Several metrics are added up.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// Counters: their increase per second. A longer interval has the mean.
    Rate(&'static [Select]),
    /// Two sums of counters: the increase of the first divided by the increase of the second, as
    /// a percentage. A longer interval divides its whole increases.
    Share { part: &'static [Select], whole: &'static [Select] },
    /// The same without the percentage.
    Quotient { part: &'static [Select], whole: &'static [Select] },
    /// A histogram: a percentile, from 0 to 1, of the values of an interval. A longer interval has
    /// the percentile of all of its values.
    Percentile { histogram: &'static str, rank: f64 },
    /// A gauge. A longer interval has the mean.
    Mean(&'static [Select]),
    /// A gauge. A longer interval has the maximum.
    Max(&'static [Select]),
    /// A gauge that is measured from time to time. It is missing if the time of its last
    /// measurement, a gauge too, is longer ago than `max_age_seconds`.
    Measured {
        gauges: &'static [Select],
        at: &'static str,
        max_age_seconds: f64,
        fold: Fold,
        /// 100 for a share that is shown as a percentage.
        factor: f64,
    },
}

/// The value of a longer interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    Mean,
    Max,
}

/// A range of time, and the interval of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// 15 minutes, by the second.
    Minutes,
    /// 24 hours, by the minute.
    Day,
    /// 7 days, by the quarter of an hour.
    Week,
}

impl Range {
    pub const ALL: [Self; 3] = [Self::Minutes, Self::Day, Self::Week];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minutes => "15m",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|range| range.as_str() == text)
    }

    /// Returns the interval between two values, in seconds.
    #[must_use]
    pub const fn step(self) -> i64 {
        match self {
            Self::Minutes => 1,
            Self::Day => 60,
            Self::Week => 900,
        }
    }

    /// Returns the number of its values.
    #[must_use]
    pub const fn values(self) -> usize {
        match self {
            Self::Minutes => 900,
            Self::Day => 1_440,
            Self::Week => 672,
        }
    }
}
