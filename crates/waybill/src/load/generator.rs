//! Generates records: valid orders, repeated orders and irregular records, in the given shares.
//!
//! Pure: the same seed, shares and times give the same records. It sends nothing and reads no clock.
//! Of its orders it keeps only the origins of the latest ones.

use std::collections::BTreeMap;

use serde::Serialize;
use time::{Duration, OffsetDateTime};

use super::{
    customers::Customers,
    draft::Origin,
    rng::Rng,
    shares::{MILLION, Shares},
    spoil,
};

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A new order.
    New,
    /// The latest record of an earlier order again, byte for byte.
    Duplicate,
    /// An earlier order with other content.
    Changed,
    /// Well-formed JSON that is not a valid order.
    Invalid,
    /// Not JSON.
    Unparsable,
    /// A line of the user's file.
    Given,
}

impl Kind {
    /// All kinds, in the order of the summary.
    pub(crate) const ALL: [Self; 6] =
        [Self::New, Self::Duplicate, Self::Changed, Self::Invalid, Self::Unparsable, Self::Given];

    /// Returns the name of the kind in the summary.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Duplicate => "duplicate",
            Self::Changed => "changed",
            Self::Invalid => "invalid",
            Self::Unparsable => "unparsable",
            Self::Given => "given",
        }
    }
}

/// The number of records by kind.
pub(crate) type ByKind = BTreeMap<Kind, u64>;

/// A record to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    /// The uid of the order, even if a spoiled value no longer contains it.
    pub(crate) key: Option<String>,
    pub(crate) value: Vec<u8>,
}

/// Bounds the latest orders that are kept so that they can be repeated.
const MAX_RECENT_ORDERS: usize = 4_096;

/// Separates the random stream of the kinds from those of the orders.
const KIND_STREAM: u64 = 2;

/// An endless source of records.
pub(crate) struct Generator {
    seed: u64,
    shares: Shares,
    /// The beginning of all ids.
    tag: Option<u32>,
    /// The date of the next record.
    clock: OffsetDateTime,
    rng: Rng,
    customers: Customers,
    /// The number of orders so far, including invalid ones.
    numbers: u64,
    /// The latest orders with their latest revisions; the oldest is overwritten.
    recent: Vec<Origin>,
    oldest: usize,
}

impl Generator {
    /// The time between the dates of consecutive records.
    pub(crate) const STEP: Duration = Duration::milliseconds(200);

    /// Creates a generator whose first record is dated `start`.
    pub(crate) fn new(seed: u64, shares: Shares, start: OffsetDateTime) -> Self {
        Self {
            seed,
            shares,
            tag: None,
            clock: start,
            rng: Rng::of(&[seed, KIND_STREAM]),
            customers: Customers::new(),
            numbers: 0,
            recent: Vec::new(),
            oldest: 0,
        }
    }

    /// Puts a tag at the beginning of all ids.
    pub(crate) fn tagged(self, tag: Option<u32>) -> Self {
        Self { tag, ..self }
    }

    /// Makes the next record; if it is a new order, it is dated `created`.
    pub(crate) fn make(&mut self, created: OffsetDateTime) -> Record {
        let kind = self.choose();
        let origin = match kind {
            Kind::Duplicate => self.rng.pick(&self.recent),
            Kind::Changed => {
                let chosen = self.rng.below(self.recent.len() as u64) as usize;
                self.recent[chosen].revision += 1;
                self.recent[chosen]
            }
            _ => self.begin(created),
        };
        let mut value = origin.json(&self.customers);
        match kind {
            Kind::New => self.remember(origin),
            Kind::Invalid => spoil::invalidate(&mut value, &mut self.rng),
            Kind::Unparsable => spoil::garble(&mut value, &mut self.rng),
            Kind::Duplicate | Kind::Changed | Kind::Given => {}
        }
        Record { kind, key: Some(origin.order_uid()), value }
    }

    /// Returns a random kind; while there is no order to repeat, a repeat becomes a new order.
    fn choose(&mut self) -> Kind {
        let Shares { duplicates, changed, invalid, unparsable } = self.shares;
        let mut point = self.rng.below(u64::from(MILLION)) as u32;
        for (share, kind) in [
            (duplicates, Kind::Duplicate),
            (changed, Kind::Changed),
            (invalid, Kind::Invalid),
            (unparsable, Kind::Unparsable),
        ] {
            if point < share.millionths() {
                let repeats = matches!(kind, Kind::Duplicate | Kind::Changed);
                return if repeats && self.recent.is_empty() { Kind::New } else { kind };
            }
            point -= share.millionths();
        }
        Kind::New
    }

    fn begin(&mut self, created: OffsetDateTime) -> Origin {
        let number = self.numbers;
        self.numbers += 1;
        Origin { seed: self.seed, tag: self.tag, number, created, revision: 0 }
    }

    fn remember(&mut self, origin: Origin) {
        if self.recent.len() < MAX_RECENT_ORDERS {
            self.recent.push(origin);
        } else {
            self.recent[self.oldest] = origin;
            self.oldest = (self.oldest + 1) % MAX_RECENT_ORDERS;
        }
    }
}

/// The records in sequence, dated [`STEP`](Generator::STEP) apart.
impl Iterator for Generator {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let created = self.clock;
        self.clock = created.saturating_add(Self::STEP);
        Some(self.make(created))
    }
}

#[cfg(test)]
mod tests;
