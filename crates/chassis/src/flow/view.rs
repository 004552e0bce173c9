//! A range of samples as JSON: the times, and one array of values for each series.

use serde::{Serialize, Serializer, ser::SerializeSeq as _};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Replica,
    catalogue::{Scope, Unit},
    marks::{Mark, MarkKind},
};

/// Stands for the routes that have no series of their own.
pub(super) const OTHER_ROUTES: &str = "other";
/// The number of digits that a chart can show.
const DIGITS: i32 = 4;

#[derive(Debug, Serialize)]
pub struct FlowView {
    pub range: &'static str,
    pub replica: ReplicaView,
    pub times: Times,
    pub series: Vec<SeriesView>,
    pub routes: Vec<RouteView>,
    pub marks: Vec<MarkView>,
    /// Differs from that of an earlier answer if the marks have changed.
    pub marks_version: u64,
}

#[derive(Debug, Serialize)]
pub struct ReplicaView {
    pub host: String,
    pub address: String,
    pub started_at: String,
}

/// The times of all values: the first one, the interval and the number.
#[derive(Debug, Serialize)]
pub struct Times {
    pub from: String,
    pub step_seconds: i64,
    pub count: usize,
}

#[derive(Debug, Serialize)]
pub struct SeriesView {
    pub id: &'static str,
    pub unit: Unit,
    pub scope: Scope,
    pub values: Values,
}

/// The requests of a route per second, and those that were answered with a status from 500 on.
#[derive(Debug, Serialize)]
pub struct RouteView {
    pub route: String,
    pub requests: Values,
    pub errors: Values,
}

#[derive(Debug, Serialize)]
pub struct MarkView {
    pub kind: MarkKind,
    pub from: String,
    pub to: Option<String>,
}

/// Values, of which a missing one is `NaN`, and null in JSON.
#[derive(Debug)]
pub struct Values(pub Vec<f32>);

impl From<&Replica> for ReplicaView {
    fn from(Replica { host, address, started_at }: &Replica) -> Self {
        let started_at = instant(started_at.unix_timestamp());
        Self { host: host.clone(), address: address.to_string(), started_at }
    }
}

impl RouteView {
    /// Returns true if it stands for several routes.
    #[must_use]
    pub fn is_other(&self) -> bool {
        // The routes of the services begin with a slash.
        self.route == OTHER_ROUTES
    }
}

impl MarkView {
    pub(super) fn of(mark: Mark) -> Self {
        Self { kind: mark.kind, from: instant(mark.from), to: mark.to.map(instant) }
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut values = serializer.serialize_seq(Some(self.0.len()))?;
        for value in &self.0 {
            let value = rounded(f64::from(*value));
            if !value.is_finite() {
                values.serialize_element(&None::<f64>)?;
            } else if value.fract() == 0.0 && value.abs() < 1e9 {
                // Shorter than `1.0`.
                values.serialize_element(&(value as i64))?;
            } else {
                values.serialize_element(&value)?;
            }
        }
        values.end()
    }
}

/// Rounds a value to [`DIGITS`] digits.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = DIGITS - 1 - value.abs().log10().floor() as i32;
    let factor = 10_f64.powi(digits);
    if factor.is_finite() && factor > 0.0 { (value * factor).round() / factor } else { value }
}

/// Returns a second as RFC 3339.
pub(super) fn instant(second: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(second).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).expect("the year of a clock has four digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_missing_ones_are_null() {
        let values =
            Values(vec![f32::NAN, 0.0, 12.0, 312.345_67, 0.000_123_456, -5.5, f32::INFINITY]);
        let text = serde_json::to_string(&values).unwrap();
        assert_eq!(text, "[null,0,12,312.3,0.0001235,-5.5,null]");
        assert_eq!(serde_json::to_string(&Values(vec![1_234_567.0])).unwrap(), "[1235000]");
    }

    #[test]
    fn seconds_are_rfc_3339() {
        assert_eq!(instant(1_764_553_450), "2025-12-01T01:44:10Z");
    }
}
