//! The records that a run sends: a pure function of the seed, the arguments and a number.
//!
//! The orders stream has valid orders, wrong ones, repeated records and changed orders. The status
//! stream has the events of other systems about these orders and about unknown ones. Every record
//! has the header [`NUMBER_HEADER`], so that the judge can generate it again and compare all bytes.

mod dice;
mod event;
mod id;
mod json;
mod order;
mod poison;
mod sequence;
mod text;

use serde::{Deserialize, Serialize};

use dice::{Dice, Purpose};
pub use event::Event;
pub use order::{Delivery, Item, Order, Payment};
pub(crate) use poison::refuse_statement;

/// The header with the number of a record, in decimal digits.
pub const NUMBER_HEADER: &str = "chaos.number";
/// The largest record; the topics must accept it.
pub const MAX_RECORD_BYTES: usize = 2_100_000;

/// A repeated or changed record is at most this number of records after the earlier one.
const LOOK_BACK: u64 = 5_000;
const MAX_STEPS: u64 = 6;

/// The arguments of the traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    pub seed: u64,
    /// The number of records of the orders stream.
    pub orders: u64,
    /// The number of records of the status stream.
    pub events: u64,
    pub shares: Shares,
}

/// The shares of irregular records, in percent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shares {
    /// Records that must be rejected.
    pub poison: f64,
    /// Records that repeat an earlier one, byte for byte.
    pub repeated: f64,
    /// Orders that replace the content of an earlier one.
    pub changed: f64,
    /// Records that are sent earlier or later than their number.
    pub reordered: f64,
    /// Records without a key.
    pub unkeyed: f64,
    /// Records with another key than the id of their order.
    pub foreign_key: f64,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            poison: 1.0,
            repeated: 5.0,
            changed: 3.0,
            reordered: 5.0,
            unkeyed: 5.0,
            foreign_key: 2.0,
        }
    }
}

/// One of the two streams of records, each for a topic of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Orders,
    Status,
}

impl Stream {
    pub const ALL: [Self; 2] = [Self::Orders, Self::Status];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Status => "status",
        }
    }
}

/// A record as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentRecord {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub expected: Expected,
}

/// The effect that a record must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// A valid order: this content of the order with this number.
    Order(Content),
    /// A valid event about the order with this number.
    Event { order: u64 },
    /// The record is rejected for this reason.
    Rejected { reason: &'static str },
}

/// A content of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The number of the order: of the record that first has its id.
    pub order: u64,
    /// The number of the record that first has this content.
    pub revision: u64,
}

/// The role of a number in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    New,
    Changed { earlier: u64 },
    Repeated { earlier: u64 },
    Poison,
}

impl Traffic {
    /// Returns the number of records of a stream.
    #[must_use]
    pub fn count(&self, stream: Stream) -> u64 {
        match stream {
            Stream::Orders => self.orders,
            Stream::Status => self.events,
        }
    }

    /// Returns the number of orders that any record refers to. Numbers from [`orders`](Self::orders)
    /// on are orders that only events know.
    #[must_use]
    pub fn order_numbers(&self) -> u64 {
        self.orders + sequence::walks(self.events, self.steps())
    }

    /// Returns the record with this number.
    #[must_use]
    pub fn record(&self, stream: Stream, number: u64) -> SentRecord {
        let (value, expected) = self.value(stream, number);
        let mut dice = Dice::new(self.seed ^ stream as u64, Purpose::Envelope, number);
        let order = match expected {
            Expected::Order(content) => content.order,
            Expected::Event { order } => order,
            Expected::Rejected { .. } => number,
        };
        let kind = dice.percent();
        let key = if kind < self.shares.unkeyed {
            None
        } else if kind < self.shares.unkeyed + self.shares.foreign_key {
            Some(format!("key-{}", dice.below(100)).into_bytes())
        } else {
            Some(self.id(order).into_bytes())
        };
        let mut headers = vec![(NUMBER_HEADER.to_owned(), number.to_string().into_bytes())];
        if dice.chance(10.0) {
            headers.push(("ce_source".to_owned(), b"another/system".to_vec()));
            headers.push(("ce_type".to_owned(), b"created".to_vec()));
            headers.push(("x-bytes".to_owned(), vec![0, 255, b'\n']));
        }
        SentRecord { key, value, headers, expected }
    }

    /// Returns the effect that the record with this number must have.
    #[must_use]
    pub fn expected(&self, stream: Stream, number: u64) -> Expected {
        self.value(stream, number).1
    }

    /// Returns the id of the order with this number.
    #[must_use]
    pub fn id(&self, order: u64) -> String {
        id::id(self.seed, order)
    }

    /// Returns the number of the order with this id; `None` if no record has it.
    #[must_use]
    pub fn order_number(&self, id: &str) -> Option<u64> {
        id::number(self.seed, id).filter(|number| *number < self.order_numbers())
    }

    /// Returns an order as it must be stored and served.
    #[must_use]
    pub fn order(&self, content: Content) -> Order {
        order::order(self.seed, content.order, content.revision)
    }

    /// Returns the event with this number; `None` if it is not an event.
    #[must_use]
    pub fn event(&self, number: u64) -> Option<Event> {
        self.event_and_value(self.origin(Stream::Status, number)).ok().map(|(event, _)| event)
    }

    fn value(&self, stream: Stream, number: u64) -> (Option<Vec<u8>>, Expected) {
        let origin = self.origin(stream, number);
        match stream {
            Stream::Orders => self.order_value(origin),
            Stream::Status => match self.event_and_value(origin) {
                Ok((event, value)) => (Some(value), Expected::Event { order: event.order }),
                Err((value, reason)) => (value, Expected::Rejected { reason }),
            },
        }
    }

    fn order_value(&self, origin: u64) -> (Option<Vec<u8>>, Expected) {
        if self.plan(Stream::Orders, origin) == Plan::Poison {
            let poison = poison::poison(self.seed, origin);
            return (poison.value, Expected::Rejected { reason: poison.reason });
        }
        let content = Content { order: self.owner(origin), revision: origin };
        let json = self.order(content).sent_json(self.seed, origin);
        (Some(json.into_bytes()), Expected::Order(content))
    }

    #[expect(clippy::type_complexity, reason = "the error is a value and its reason")]
    fn event_and_value(
        &self,
        origin: u64,
    ) -> Result<(Event, Vec<u8>), (Option<Vec<u8>>, &'static str)> {
        if self.plan(Stream::Status, origin) == Plan::Poison {
            return Err(event::poison(self.seed, origin));
        }
        let steps = self.steps();
        let step = sequence::step(origin, steps);
        let order = self.walked_order(step.walk);
        Ok(event::event(self.seed, origin, order, step.step, steps))
    }

    /// Returns the record whose value a number has: it moves within the sequence, and a repeated
    /// record is an earlier one.
    fn origin(&self, stream: Stream, number: u64) -> u64 {
        let purpose = match stream {
            Stream::Orders => Purpose::OrderSequence,
            Stream::Status => Purpose::StatusSequence,
        };
        let (count, reordered) = (self.count(stream), self.shares.reordered);
        let mut origin = sequence::permute(self.seed, purpose, number, count, reordered);
        while let Plan::Repeated { earlier } = self.plan(stream, origin) {
            origin = earlier;
        }
        origin
    }

    fn plan(&self, stream: Stream, origin: u64) -> Plan {
        let purpose = match stream {
            Stream::Orders => Purpose::OrderPlan,
            Stream::Status => Purpose::StatusPlan,
        };
        let mut dice = Dice::new(self.seed, purpose, origin);
        let (kind, shares) = (dice.percent(), &self.shares);
        let earlier = |dice: &mut Dice| origin - 1 - dice.below(origin.min(LOOK_BACK));
        if origin == 0 {
            Plan::New
        } else if kind < shares.poison {
            Plan::Poison
        } else if kind < shares.poison + shares.repeated {
            Plan::Repeated { earlier: earlier(&mut dice) }
        } else if stream == Stream::Orders
            && kind < shares.poison + shares.repeated + shares.changed
        {
            Plan::Changed { earlier: earlier(&mut dice) }
        } else {
            Plan::New
        }
    }

    /// Returns the number of the order that a valid record of the orders stream has the id of.
    fn owner(&self, origin: u64) -> u64 {
        let mut owner = origin;
        loop {
            owner = match self.plan(Stream::Orders, owner) {
                Plan::New => return owner,
                Plan::Changed { earlier } | Plan::Repeated { earlier } => earlier,
                Plan::Poison => owner - 1,
            };
        }
    }

    /// Returns the number of events of an order.
    fn steps(&self) -> u64 {
        (self.events / self.orders.max(1)).clamp(1, MAX_STEPS)
    }

    /// Returns the order of a walk. Walks follow the orders stream at its pace; those without an
    /// order there are about an unknown order.
    fn walked_order(&self, walk: u64) -> u64 {
        let mut dice = Dice::new(self.seed, Purpose::Walk, walk);
        if walk >= self.orders || dice.chance(1.0) {
            return self.orders + walk;
        }
        match self.plan(Stream::Orders, walk) {
            Plan::New => walk,
            _ => self.orders + walk,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn traffic() -> Traffic {
        Traffic { seed: 11, orders: 20_000, events: 30_000, shares: Shares::default() }
    }

    #[test]
    fn shares_are_kept_and_every_kind_of_record_occurs() {
        let traffic = traffic();
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        let mut orders: BTreeMap<u64, u64> = BTreeMap::new();
        for number in 0..traffic.orders {
            match traffic.expected(Stream::Orders, number) {
                Expected::Order(content) => *orders.entry(content.order).or_default() += 1,
                Expected::Rejected { reason } => *reasons.entry(reason).or_default() += 1,
                Expected::Event { .. } => panic!("{number}"),
            }
        }
        assert!((100..400).contains(&reasons.values().sum::<u64>()), "{reasons:?}");
        assert!(reasons.len() > 15, "{reasons:?}");
        assert!((30..120).contains(&reasons["refused_by_database"]), "{reasons:?}");
        assert!((17_000..19_500).contains(&orders.len()));
        assert!(orders.values().any(|records| *records > 3));

        let mut ended: BTreeMap<u64, bool> = BTreeMap::new();
        for event in (0..traffic.events).filter_map(|number| traffic.event(number)) {
            let is_end = event.rank.is_some_and(|rank| rank >= 5);
            *ended.entry(event.order).or_default() |= is_end;
        }
        assert!(ended.values().filter(|ended| **ended).count() * 10 > ended.len() * 8);
        assert!(ended.keys().any(|order| *order >= traffic.orders));
    }

    #[test]
    fn a_record_depends_on_nothing_but_its_number() {
        let traffic = traffic();
        for stream in Stream::ALL {
            for number in [0, 1, 77, 19_999] {
                assert_eq!(traffic.record(stream, number), traffic.clone().record(stream, number));
            }
        }
        let other = Traffic { seed: 12, ..traffic.clone() };
        assert_ne!(traffic.record(Stream::Orders, 0), other.record(Stream::Orders, 0));
    }

    #[test]
    fn ids_lead_back_to_the_numbers_of_orders() {
        let traffic = traffic();
        for number in (0..traffic.order_numbers()).step_by(97) {
            assert_eq!(traffic.order_number(&traffic.id(number)), Some(number));
        }
        assert_eq!(traffic.order_number(&traffic.id(traffic.order_numbers())), None);
    }
}
