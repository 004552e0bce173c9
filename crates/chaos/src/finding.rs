//! The result of the judge: the checks, what they looked at, and the findings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A record that Kafka has acknowledged is not on the topic.
    LostByKafka,
    /// A record has no row.
    Missing,
    /// A record or an order has two rows.
    Duplicated,
    /// A row or a record that no sender has caused.
    Foreign,
    /// A row or a record with another content.
    Altered,
    /// A valid record among the rejections, or an invalid one among the orders.
    Misplaced,
    /// A rejection with another reason.
    WrongReason,
    /// A rejection without its dead letter.
    MissingDeadLetter,
    /// A stored order without its event.
    MissingEvent,
    /// An event for a fact that is not in the database.
    EventWithoutFact,
    /// An event of an order before an earlier one.
    OutOfSequence,
    /// A status that does not follow from the events of the order.
    IllegalStatus,
    /// A courier with two active deliveries.
    TwoActiveDeliveries,
    /// An order that waits although a courier is available.
    WaitingWhileAvailable,
    /// Counters or totals that differ from the rows.
    WrongStatistics,
    /// An answer of a cache that differs from the database.
    WrongCache,
    /// A committed offset beyond what is stored.
    OffsetsAhead,
}

impl FindingKind {
    pub const ALL: [Self; 17] = [
        Self::LostByKafka,
        Self::Missing,
        Self::Duplicated,
        Self::Foreign,
        Self::Altered,
        Self::Misplaced,
        Self::WrongReason,
        Self::MissingDeadLetter,
        Self::MissingEvent,
        Self::EventWithoutFact,
        Self::OutOfSequence,
        Self::IllegalStatus,
        Self::TwoActiveDeliveries,
        Self::WaitingWhileAvailable,
        Self::WrongStatistics,
        Self::WrongCache,
        Self::OffsetsAhead,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LostByKafka => "lost by Kafka",
            Self::Missing => "missing",
            Self::Duplicated => "duplicated",
            Self::Foreign => "foreign",
            Self::Altered => "altered",
            Self::Misplaced => "misplaced",
            Self::WrongReason => "wrong reason",
            Self::MissingDeadLetter => "missing dead letter",
            Self::MissingEvent => "missing event",
            Self::EventWithoutFact => "event without fact",
            Self::OutOfSequence => "out of sequence",
            Self::IllegalStatus => "illegal status",
            Self::TwoActiveDeliveries => "two active deliveries",
            Self::WaitingWhileAvailable => "waiting while available",
            Self::WrongStatistics => "wrong statistics",
            Self::WrongCache => "wrong cache",
            Self::OffsetsAhead => "offsets ahead",
        }
    }
}

/// One finding: its kind, the order or record, and the difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub kind: FindingKind,
    pub detail: String,
}

/// A check of one invariant of ARCHITECTURE.md.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    pub invariant: u8,
    pub name: String,
    /// The number of rows, records or answers that were compared.
    pub checked: u64,
    pub findings: u64,
    /// The number of findings of each kind.
    pub kinds: BTreeMap<FindingKind, u64>,
    /// The first findings.
    pub examples: Vec<Finding>,
    /// The reason why nothing was checked.
    pub not_checked: Option<String>,
}

/// The number of findings that a check keeps.
const EXAMPLES: usize = 5;

impl CheckResult {
    #[must_use]
    pub fn new(invariant: u8, name: &str) -> Self {
        Self {
            invariant,
            name: name.to_owned(),
            checked: 0,
            findings: 0,
            kinds: BTreeMap::new(),
            examples: Vec::new(),
            not_checked: None,
        }
    }

    /// Counts a finding; its text is made only if it is kept as an example.
    pub fn find(&mut self, kind: FindingKind, detail: impl FnOnce() -> String) {
        self.findings += 1;
        *self.kinds.entry(kind).or_default() += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(Finding { kind, detail: detail() });
        }
    }

    /// Counts a finding unless the condition holds.
    pub fn expect(&mut self, holds: bool, kind: FindingKind, detail: impl FnOnce() -> String) {
        if !holds {
            self.find(kind, detail);
        }
    }
}

/// The result of all checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub checks: Vec<CheckResult>,
}

impl Verdict {
    /// Returns the number of all findings.
    #[must_use]
    pub fn findings(&self) -> u64 {
        self.checks.iter().map(|check| check.findings).sum()
    }

    /// Returns the number of findings of a kind.
    #[must_use]
    pub fn count(&self, kind: FindingKind) -> u64 {
        self.checks.iter().filter_map(|check| check.kinds.get(&kind)).sum()
    }

    /// Returns the table of all checks, with examples of the findings.
    #[must_use]
    pub fn table(&self) -> String {
        let mut lines = vec![format!(
            "{:<9}  {:<52}  {:>12}  {:>9}",
            "invariant", "check", "checked", "findings"
        )];
        for check in &self.checks {
            let findings = match &check.not_checked {
                Some(_) => "not run".to_owned(),
                None => check.findings.to_string(),
            };
            lines.push(format!(
                "{:<9}  {:<52}  {:>12}  {:>9}",
                check.invariant, check.name, check.checked, findings
            ));
            lines.extend(check.not_checked.iter().map(|reason| format!("           {reason}")));
            let kinds =
                check.kinds.iter().map(|(kind, count)| format!("{} {count}", kind.as_str()));
            let kinds = kinds.collect::<Vec<_>>().join(", ");
            if !kinds.is_empty() {
                lines.push(format!("           {kinds}"));
            }
            for Finding { kind, detail } in &check.examples {
                lines.push(format!("           - {}: {detail}", kind.as_str()));
            }
        }
        lines.push(match self.findings() {
            0 => "nothing was found".to_owned(),
            count => format!("{count} findings"),
        });
        lines.join("\n")
    }
}
