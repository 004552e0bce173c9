//! What a run has done, exactly: for people and for programs.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    generator::{ByKind, Kind},
    scenario::ByStatus,
};

/// Why a run came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "how", content = "why")]
pub enum Ended {
    /// Everything asked for was sent, and each record's fate is known.
    Done,
    /// Stopped from outside.
    Stopped,
    /// Kafka acknowledged nothing for ten seconds.
    KafkaSilent,
    /// A record was refused, and the next would have been too.
    Refused(String),
    /// The user's file could not be read on.
    Unreadable(String),
    /// The statuses of orders could not be told.
    WorldEnded(String),
}

/// The account of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Records handed to the Kafka client, those that it refused for their size too.
    pub sent: u64,
    /// Of these, acknowledged by Kafka.
    pub acknowledged: u64,
    /// Of these, not acknowledged when the run ended: refused, or without an answer. The latter may
    /// still be on the topic.
    pub failed: u64,
    /// Of the sent ones, how many are of which kind.
    #[serde(serialize_with = "every_kind")]
    pub by_kind: ByKind,
    /// Lines too long to be sent.
    pub skipped: u64,
    /// Couriers enlisted who were not yet.
    pub couriers: u64,
    /// Statuses told of orders that were created, how many of each.
    pub statuses: ByStatus,
    /// Of these, acknowledged by Kafka.
    pub statuses_acknowledged: u64,
    /// Of these, not acknowledged when the run ended.
    pub statuses_failed: u64,
    /// Keys and values of the sent ones.
    pub bytes: u64,
    /// From the first record made to the last one's fate known.
    #[serde(rename = "elapsed_seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
    /// Acknowledged records a second.
    pub rate: f64,
    /// The seed, unless the records were the user's.
    pub seed: Option<u64>,
    /// Why it came to its end.
    pub ended: Ended,
}

impl Summary {
    /// The process's exit code: 0 nothing is amiss, 1 something is, 69 Kafka was silent.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.ended {
            Ended::KafkaSilent => 69,
            Ended::Refused(_) | Ended::Unreadable(_) | Ended::WorldEnded(_) => 1,
            Ended::Done | Ended::Stopped => {
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

/// For people: several lines, the last without a line end.
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
            writeln!(f, "skipped       {:>width$}  (lines above 2 MiB)", grouped(self.skipped))?;
        }
        if self.couriers > 0 {
            writeln!(f, "couriers      {:>width$}  enlisted", grouped(self.couriers))?;
        }
        if !self.statuses.is_empty() {
            let told = grouped(self.statuses.values().sum());
            let (acknowledged, failed) =
                (grouped(self.statuses_acknowledged), grouped(self.statuses_failed));
            writeln!(
                f,
                "statuses      {told:>width$}  ({acknowledged} acknowledged, {failed} failed)"
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
            Ended::Done => Ok(()),
            ended => write!(f, "\n{ended}"),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Stopped => f.write_str("stopped before the end"),
            Self::KafkaSilent => {
                f.write_str("ended because Kafka acknowledged nothing for 10 seconds")
            }
            Self::Refused(why) => write!(f, "ended because a record was refused: {why}"),
            Self::Unreadable(why) => {
                write!(f, "ended because the input could not be read on: {why}")
            }
            Self::WorldEnded(why) => write!(f, "ended because statuses could not be told: {why}"),
        }
    }
}

/// Digits in threes: 1,234,567.
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
            ended: Ended::Done,
        }
    }

    #[test]
    fn people_read_columns() {
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
    fn people_read_what_the_world_did() {
        let statuses = ByStatus::from([("pending", 1_000), ("cancelled", 50)]);
        let told = Summary {
            couriers: 12,
            statuses,
            statuses_acknowledged: 1_048,
            statuses_failed: 2,
            ..summary()
        };
        assert_eq!(told.exit_code(), 1);
        let told = told.to_string();
        assert!(
            told.contains(
                "\
couriers         12  enlisted
statuses      1,050  (1,048 acknowledged, 2 failed)
  cancelled      50
  pending     1,000
took"
            ),
            "{told}"
        );
    }

    #[test]
    fn programs_find_every_key() {
        assert_eq!(
            serde_json::to_string(&summary()).unwrap(),
            r#"{"sent":1200,"acknowledged":1199,"failed":1,"by_kind":{"new":1100,"duplicate":0,"changed":0,"invalid":100,"unparsable":0,"given":0},"skipped":0,"couriers":0,"statuses":{},"statuses_acknowledged":0,"statuses_failed":0,"bytes":1234567,"elapsed_seconds":2.5,"rate":479.6,"seed":7,"ended":{"how":"done"}}"#
        );
    }

    #[test]
    fn exit_code_tells_what_is_amiss() {
        let code =
            |failed, skipped, ended| Summary { failed, skipped, ended, ..summary() }.exit_code();
        assert_eq!(code(0, 0, Ended::Done), 0);
        assert_eq!(code(0, 0, Ended::Stopped), 0);
        assert_eq!(code(1, 0, Ended::Stopped), 1);
        assert_eq!(code(0, 1, Ended::Done), 1);
        assert_eq!(code(0, 0, Ended::Refused("too large".to_owned())), 1);
        assert_eq!(code(5, 0, Ended::KafkaSilent), 69);
    }
}
