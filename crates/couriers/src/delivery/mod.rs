//! The life of a delivery: what each status of its order does to it, and the words for how it
//! stands. Pure.

pub mod courier;

use std::{collections::BTreeMap, time::Duration};

use events::{OrderStatus, OrderUid};
use time::OffsetDateTime;

use crate::delivery::courier::{CourierId, Transport};

/// What a status does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The order waits for a courier, once.
    Wait,
    /// Nothing here; the order has come further, that is all.
    Pass,
    /// Its courier is freed; the delivery stays and counts. Waiting, it leaves the queue.
    Complete,
    /// Its delivery is deleted, its courier freed, and it never counts. Waiting, it leaves the queue.
    Cancel,
}

impl Effect {
    /// The one place that says what each status does.
    #[must_use]
    pub fn of(status: OrderStatus) -> Self {
        match status {
            OrderStatus::Created => Self::Wait,
            OrderStatus::Pending
            | OrderStatus::Confirmed
            | OrderStatus::Cooking
            | OrderStatus::Delivering => Self::Pass,
            OrderStatus::Completed => Self::Complete,
            OrderStatus::Cancelled => Self::Cancel,
        }
    }
}

/// What some events tell of one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The highest status.
    pub status: OrderStatus,
    /// Kafka's time of the first event of that status.
    pub changed_at: OffsetDateTime,
    /// Kafka's time of the first event that has the order wait.
    pub created_at: Option<OffsetDateTime>,
}

impl Told {
    /// What one event tells.
    #[must_use]
    pub fn by(status: OrderStatus, at: OffsetDateTime) -> Self {
        let created_at = (Effect::of(status) == Effect::Wait).then_some(at);
        Self { status, changed_at: at, created_at }
    }

    /// What both tell together: the higher status wins.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let created_at = match (self.created_at, other.created_at) {
            (Some(one), Some(another)) => Some(one.min(another)),
            (one, another) => one.or(another),
        };
        let (high, low) = if self.status >= other.status { (self, other) } else { (other, self) };
        let changed_at = if high.status == low.status {
            high.changed_at.min(low.changed_at)
        } else {
            high.changed_at
        };
        Self { status: high.status, changed_at, created_at }
    }
}

/// Folds events to what they tell of each order, sorted by order id.
pub fn fold<'a>(
    events: impl IntoIterator<Item = (&'a OrderUid, OrderStatus, OffsetDateTime)>,
) -> BTreeMap<&'a OrderUid, Told> {
    let mut orders = BTreeMap::new();
    for (order_id, status, at) in events {
        let told = Told::by(status, at);
        orders
            .entry(order_id)
            .and_modify(|so_far: &mut Told| *so_far = so_far.and(told))
            .or_insert(told);
    }
    orders
}

/// How long a delivery may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryTimes {
    /// On foot.
    pub on_foot: Duration,
    /// By scooter.
    pub scooter: Duration,
    /// By car.
    pub car: Duration,
}

/// How the delivery of an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Events have told of the order, but its `created` has not come yet.
    Expected,
    /// It waits for a courier.
    Waiting,
    /// It was taken from its courier by hand and waits until it is assigned by hand.
    Held,
    /// A courier carries it.
    Assigned,
    /// It is not completed though its deadline has passed; its courier may be freed by now.
    Overdue,
    /// It has arrived, by one of our couriers or otherwise.
    Completed,
    /// It is not to be delivered.
    Cancelled,
}

impl Standing {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expected => "expected",
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Assigned => "assigned",
            Self::Overdue => "overdue",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why an order has no courier yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Its `created` event has not come yet.
    NotCreated,
    /// It was taken from its courier by hand.
    HeldByHand,
    /// Nobody is registered.
    NoCouriers,
    /// Whoever is not paused carries another order.
    AllBusy,
    /// Every courier is paused.
    AllPaused,
    /// A courier is free: it is a matter of moments, or of those who have waited longer.
    InTurn,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::NotCreated,
        Self::HeldByHand,
        Self::NoCouriers,
        Self::AllBusy,
        Self::AllPaused,
        Self::InTurn,
    ];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotCreated => "not_created",
            Self::HeldByHand => "held_by_hand",
            Self::NoCouriers => "no_couriers",
            Self::AllBusy => "all_couriers_busy",
            Self::AllPaused => "all_couriers_paused",
            Self::InTurn => "in_turn",
        }
    }
}

/// Who carries, or carried, an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The courier.
    pub courier_id: CourierId,
    /// How he moved when he was given it.
    pub transport_type: Transport,
    /// When that was, by the database's clock.
    pub assigned_at: OffsetDateTime,
    /// Until when it should arrive.
    pub deadline: OffsetDateTime,
    /// Given by hand?
    pub by_hand: bool,
    /// Kafka's time of the `completed` event.
    pub completed_at: Option<OffsetDateTime>,
    /// When the courier was freed because nobody completed the order long after its deadline.
    pub released_at: Option<OffsetDateTime>,
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(second).unwrap()
    }

    proptest! {
        #[test]
        fn any_order_and_grouping_and_repetition_of_events_tells_the_same(
            (events, mixed) in vec((select(&OrderStatus::ALL[..]), 0..20i64), 1..10)
                .prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle())),
            cut in any::<prop::sample::Index>(),
        ) {
            let uid: OrderUid = "1".parse().unwrap();
            let told = |events: &[(OrderStatus, i64)]| {
                let events = events.iter().map(|(status, second)| (&uid, *status, at(*second)));
                fold(events).get(&uid).copied()
            };
            let whole = told(&events).unwrap();
            prop_assert_eq!(whole.status, events.iter().map(|event| event.0).max().unwrap());
            prop_assert_eq!(
                whole.created_at,
                events.iter().filter(|e| e.0 == OrderStatus::Created).map(|e| at(e.1)).min()
            );
            let (first, second) = mixed.split_at(cut.index(mixed.len()));
            let parts = [first, second, &mixed].into_iter().filter_map(told);
            prop_assert_eq!(Some(whole), parts.reduce(Told::and));
        }
    }

    #[test]
    fn only_created_has_an_order_wait_and_only_the_ends_free_a_courier() {
        let effects = OrderStatus::ALL.map(Effect::of);
        assert_eq!(effects[0], Effect::Wait);
        assert_eq!(effects[1..5], [Effect::Pass; 4]);
        assert_eq!(effects[5..], [Effect::Complete, Effect::Cancel]);
    }
}
