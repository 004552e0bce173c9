//! The result of a run, as text and as JSON.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    generator::{ByKind, Kind},
    scenario::ByStatus,
};

/// The reason why a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "how", content = "why")]
pub(crate) enum EndReason {
    /// All records were sent, and each was acknowledged or refused.
    Done,
    /// Stopped by a signal.
    Stopped,
    /// Kafka acknowledged nothing for ten seconds.
    KafkaUnreachable,
    /// Kafka refused a record for a reason that applies to all records.
    Refused(String),
    /// The user's file could not be read to its end.
    Unreadable(String),
    /// The statuses of orders could not be read or sent.
    SimulationFailed(String),
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    /// Records that were given to the Kafka client, including those that are too large for it.
    pub(crate) sent: u64,
    /// Sent records that Kafka acknowledged.
    pub(crate) acknowledged: u64,
    /// Sent records without an acknowledgement at the end of the run: Kafka refused them, or their
    /// outcome is unknown, and they may be on the topic.
    pub(crate) failed: u64,
    /// The sent records by kind.
    #[serde(serialize_with = "every_kind")]
    pub(crate) by_kind: ByKind,
    /// Lines that were too long to be sent.
    pub(crate) skipped: u64,
    /// Couriers that the run registered; those that existed are not counted.
    pub(crate) couriers: u64,
    /// The simulated statuses that were sent, by status.
    pub(crate) statuses: ByStatus,
    /// Sent statuses that Kafka acknowledged.
    pub(crate) statuses_acknowledged: u64,
    /// Sent statuses without an acknowledgement at the end of the run.
    pub(crate) statuses_failed: u64,
    /// The size of the keys and values of the sent records.
    pub(crate) bytes: u64,
    /// The time from the first record to the last acknowledgement or refusal.
    #[serde(rename = "elapsed_seconds", serialize_with = "seconds")]
    pub(crate) elapsed: Duration,
    /// Acknowledged records per second.
    pub(crate) rate: f64,
    /// The seed of generated records.
    pub(crate) seed: Option<u64>,
    pub(crate) ended: EndReason,
}

impl Summary {
    /// Returns the exit code: 0 if all is acknowledged, 1 if not, 69 after a timeout of Kafka.
    #[must_use]
    pub(crate) fn exit_code(&self) -> u8 {
        match self.ended {
            EndReason::KafkaUnreachable => 69,
            EndReason::Refused(_) | EndReason::Unreadable(_) | EndReason::SimulationFailed(_) => 1,
            EndReason::Done | EndReason::Stopped => {
                u8::from(self.failed + self.statuses_failed + self.skipped > 0)
            }
        }
    }
}

fn every_kind<S: Serializer>(by_kind: &ByKind, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(Kind::ALL.len()))?;
    for kind in Kind::ALL {
        map.serialize_entry(&kind, &by_kind.get(&kind).copied().unwrap_or(0))?;
    }
    map.end()
}

fn seconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_secs_f64())
}

/// Several lines, the last without a line end.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = grouped(self.sent);
        let width = sent.len();
        writeln!(f, "sent          {sent}  ({} bytes)", grouped(self.bytes))?;
        writeln!(f, "acknowledged  {:>width$}", grouped(self.acknowledged))?;
        writeln!(f, "failed        {:>width$}", grouped(self.failed))?;
        for (kind, count) in &self.by_kind {
            writeln!(f, "  {:<12}{:>width$}", kind.as_str(), grouped(*count))?;
        }
        if self.skipped > 0 {
            writeln!(
                f,
                "skipped       {:>width$}  (lines longer than 2 MiB)",
                grouped(self.skipped)
            )?;
        }
        if self.couriers > 0 {
            writeln!(f, "couriers      {:>width$}  registered", grouped(self.couriers))?;
        }
        if !self.statuses.is_empty() {
            let total = grouped(self.statuses.values().sum());
            let (acknowledged, failed) =
                (grouped(self.statuses_acknowledged), grouped(self.statuses_failed));
            writeln!(
                f,
                "statuses      {total:>width$}  ({acknowledged} acknowledged, {failed} failed)"
            )?;
        }
        for (status, count) in &self.statuses {
            writeln!(f, "  {status:<12}{:>width$}", grouped(*count))?;
        }
        write!(
            f,
            "took {:.2} s, {} a second",
            self.elapsed.as_secs_f64(),
            grouped(self.rate.round() as u64)
        )?;
        if let Some(seed) = self.seed {
            write!(f, ", seed {seed}")?;
        }
        match &self.ended {
            EndReason::Done => Ok(()),
            ended => write!(f, "\n{ended}"),
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Stopped => f.write_str("stopped before the end"),
            Self::KafkaUnreachable => {
                f.write_str("ended because Kafka acknowledged nothing for 10 seconds")
            }
            Self::Refused(why) => write!(f, "ended because a record was refused: {why}"),
            Self::Unreadable(why) => {
                write!(f, "ended because the input could not be read: {why}")
            }
            Self::SimulationFailed(why) => {
                write!(f, "ended because statuses could not be read or sent: {why}")
            }
        }
    }
}

/// Returns a number with commas: 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        Summary {
            sent: 1_200,
            acknowledged: 1_199,
            failed: 1,
            by_kind: ByKind::from([(Kind::New, 1_100), (Kind::Invalid, 100)]),
            skipped: 0,
            couriers: 0,
            statuses: ByStatus::new(),
            statuses_acknowledged: 0,
            statuses_failed: 0,
            bytes: 1_234_567,
            elapsed: Duration::from_millis(2_500),
            rate: 479.6,
            seed: Some(7),
            ended: EndReason::Done,
        }
    }

    #[test]
    fn text_has_columns() {
        assert_eq!(
            summary().to_string(),
            "\
sent          1,200  (1,234,567 bytes)
acknowledged  1,199
failed            1
  new         1,100
  invalid       100
took 2.50 s, 480 a second, seed 7"
        );
    }

    #[test]
    fn text_lists_the_statuses() {
        let statuses = ByStatus::from([("pending", 1_000), ("cancelled", 50)]);
        let summary = Summary {
            couriers: 12,
            statuses,
            statuses_acknowledged: 1_048,
            statuses_failed: 2,
            ..summary()
        };
        assert_eq!(summary.exit_code(), 1);
        let text = summary.to_string();
        assert!(
            text.contains(
                "\
couriers         12  registered
statuses      1,050  (1,048 acknowledged, 2 failed)
  cancelled      50
  pending     1,000
took"
            ),
            "{text}"
        );
    }

    #[test]
    fn json_has_every_key() {
        assert_eq!(
            serde_json::to_string(&summary()).unwrap(),
            r#"{"sent":1200,"acknowledged":1199,"failed":1,"by_kind":{"new":1100,"duplicate":0,"changed":0,"invalid":100,"unparsable":0,"given":0},"skipped":0,"couriers":0,"statuses":{},"statuses_acknowledged":0,"statuses_failed":0,"bytes":1234567,"elapsed_seconds":2.5,"rate":479.6,"seed":7,"ended":{"how":"done"}}"#
        );
    }

    #[test]
    fn exit_code_depends_on_the_end_and_the_counts() {
        let code =
            |failed, skipped, ended| Summary { failed, skipped, ended, ..summary() }.exit_code();
        assert_eq!(code(0, 0, EndReason::Done), 0);
        assert_eq!(code(0, 0, EndReason::Stopped), 0);
        assert_eq!(code(1, 0, EndReason::Stopped), 1);
        assert_eq!(code(0, 1, EndReason::Done), 1);
        assert_eq!(code(0, 0, EndReason::Refused("too large".to_owned())), 1);
        assert_eq!(code(5, 0, EndReason::KafkaUnreachable), 69);
    }
}
