//! Records out of chance: honest orders, repeats, and mischief, in the shares asked for.
//!
//! Pure: seed, shares and instants go in, records come out, the same for the same. It sends
//! nothing, reads no clock, and remembers only which orders came lately, a few words each.

use std::collections::BTreeMap;

use serde::Serialize;
use time::{Duration, OffsetDateTime};

use super::{
    customers::Town,
    draft::Origin,
    rng::Rng,
    shares::{MILLION, Shares},
    spoil,
};

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An order that was not there before.
    New,
    /// An earlier order again as it last was, byte for byte.
    Duplicate,
    /// An earlier order with other content.
    Changed,
    /// Well-formed JSON that breaks a rule of validity.
    Invalid,
    /// No JSON at all.
    Unparsable,
    /// A line of the user's own.
    Given,
}

impl Kind {
    /// All kinds, as the summary lists them.
    pub const ALL: [Self; 6] =
        [Self::New, Self::Duplicate, Self::Changed, Self::Invalid, Self::Unparsable, Self::Given];

    /// How the summary calls records of this kind.
    #[must_use]
    pub fn as_str(self) -> &'static str {
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

/// How many records of each kind.
pub type ByKind = BTreeMap<Kind, u64>;

/// A record as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// What it is.
    pub kind: Kind,
    /// The order that it is, or would be were it not spoiled.
    pub order_uid: String,
    /// The value.
    pub value: Vec<u8>,
}

impl Made {
    /// The record's key: the order's uid, so that all records of an order meet in one partition.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.order_uid.as_bytes()
    }
}

/// How many of the latest orders are remembered for repeats.
const WINDOW: usize = 4_096;

/// Sets the stream that chooses kinds apart from the orders' own.
const KINDS: u64 = 2;

/// Makes records without end.
pub struct Generator {
    seed: u64,
    shares: Shares,
    /// When the next record is dated.
    clock: OffsetDateTime,
    rng: Rng,
    town: Town,
    /// How many orders have been begun, the spoiled ones too.
    numbers: u64,
    /// The latest orders with their latest revisions; the oldest is overwritten.
    recent: Vec<Origin>,
    oldest: usize,
}

impl Generator {
    /// How far apart consecutive records are dated.
    pub const STEP: Duration = Duration::milliseconds(200);

    /// Begins at `start`.
    #[must_use]
    pub fn new(seed: u64, shares: Shares, start: OffsetDateTime) -> Self {
        Self {
            seed,
            shares,
            clock: start,
            rng: Rng::of(&[seed, KINDS]),
            town: Town::new(),
            numbers: 0,
            recent: Vec::new(),
            oldest: 0,
        }
    }

    /// Makes the next record; if it is a new order, it is dated `created`.
    pub fn make(&mut self, created: OffsetDateTime) -> Made {
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
        let mut value = origin.json(&self.town);
        match kind {
            Kind::New => self.remember(origin),
            Kind::Invalid => spoil::invalidate(&mut value, &mut self.rng),
            Kind::Unparsable => spoil::garble(&mut value, &mut self.rng),
            Kind::Duplicate | Kind::Changed | Kind::Given => {}
        }
        Made { kind, order_uid: origin.order_uid(), value }
    }

    /// Lets chance choose; before there is an order to repeat, a repeat becomes a new one.
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
        Origin { seed: self.seed, number, created, revision: 0 }
    }

    fn remember(&mut self, origin: Origin) {
        if self.recent.len() < WINDOW {
            self.recent.push(origin);
        } else {
            self.recent[self.oldest] = origin;
            self.oldest = (self.oldest + 1) % WINDOW;
        }
    }
}

/// The records one after the other, dated [`STEP`](Generator::STEP) apart.
impl Iterator for Generator {
    type Item = Made;

    fn next(&mut self) -> Option<Made> {
        let created = self.clock;
        self.clock = created.saturating_add(Self::STEP);
        Some(self.make(created))
    }
}

#[cfg(test)]
mod tests;
