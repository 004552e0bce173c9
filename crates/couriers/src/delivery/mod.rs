//! The state machine of a delivery: the effect of each order status, and the resulting state.
//!
//! Intake folds its events here before it writes them. This module does no I/O; the SQL is in
//! [`store`](crate::store).

pub mod courier;
pub(crate) mod rejection;

pub use chassis::http::actor::Actor;

use std::{cmp::Reverse, collections::BTreeMap, str::FromStr, time::Duration};

use chassis::kafka::record::{Position, instant};
use events::{OrderStatus, OrderUid};
use time::OffsetDateTime;

use crate::delivery::courier::{CourierId, Transport};

/// The effect of a status on an order's delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The order joins the queue, once.
    Enqueue,
    /// The order's rank rises; its delivery does not change.
    Advance,
    /// The courier is freed; the delivery stays and counts. A waiting order leaves the queue.
    Complete,
    /// The delivery is deleted, its courier is freed, and it never counts. A waiting order leaves
    /// the queue.
    Cancel,
}

impl Effect {
    /// Returns the effect of `status`. The statements in `queries/` apply the same rules by rank:
    /// an order of rank 5 (completed) or higher leaves the queue.
    #[must_use]
    pub fn of(status: OrderStatus) -> Self {
        match status {
            OrderStatus::Created => Self::Enqueue,
            OrderStatus::Pending
            | OrderStatus::Confirmed
            | OrderStatus::Cooking
            | OrderStatus::Delivering => Self::Advance,
            OrderStatus::Completed => Self::Complete,
            OrderStatus::Cancelled => Self::Cancel,
        }
    }
}

/// Several events of one order, folded into one status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoldedStatus {
    /// The highest status.
    pub status: OrderStatus,
    /// The position of the first of these events that has that status.
    pub event: Position,
    /// Kafka's time of the first of these events that enqueues the order.
    pub created_at: Option<OffsetDateTime>,
}

impl FoldedStatus {
    fn new(status: OrderStatus, event: Position) -> Self {
        let is_enqueued = Effect::of(status) == Effect::Enqueue;
        Self { status, event, created_at: is_enqueued.then(|| instant(event.timestamp_ms)) }
    }

    /// Returns Kafka's time of the event.
    #[must_use]
    pub fn changed_at(&self) -> OffsetDateTime {
        instant(self.event.timestamp_ms)
    }

    /// Combines two: the higher status wins; of two equal ones, the lower position wins.
    // Only minima and maxima, so the result does not depend on the order, the grouping or the
    // repetition of the events. A redelivered or reordered batch ends in the same rows.
    fn merge(self, other: Self) -> Self {
        let created_at = match (self.created_at, other.created_at) {
            (Some(one), Some(another)) => Some(one.min(another)),
            (one, another) => one.or(another),
        };
        let first = |one: &Self| (one.status, Reverse(one.event));
        let Self { status, event, .. } = std::cmp::max_by_key(self, other, first);
        Self { status, event, created_at }
    }
}

/// Folds events into one status per order, sorted by order id.
// The sorting is needed: `store` locks the rows in this order. `OrderUid` is compared by bytes, as
// PostgreSQL compares the column (COLLATE "C").
pub fn fold<'a>(
    events: impl IntoIterator<Item = (&'a OrderUid, OrderStatus, Position)>,
) -> BTreeMap<&'a OrderUid, FoldedStatus> {
    let mut orders = BTreeMap::new();
    for (order_id, status, position) in events {
        let event = FoldedStatus::new(status, position);
        orders
            .entry(order_id)
            .and_modify(|folded: &mut FoldedStatus| *folded = folded.merge(event))
            .or_insert(event);
    }
    orders
}

/// The time that a delivery may take, by transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryTimes {
    pub on_foot: Duration,
    pub scooter: Duration,
    pub car: Duration,
}

/// The treatment of an order whose delivery was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleasedOrders {
    /// The order stays released until it is assigned manually.
    Keep,
    /// The order is queued again, at its old place, at most twice.
    Requeue,
}

impl FromStr for ReleasedOrders {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "keep" => Ok(Self::Keep),
            "requeue" => Ok(Self::Requeue),
            _ => Err("must be keep or requeue"),
        }
    }
}

/// The state of an order's delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Events of the order have arrived, but not yet its `created`.
    Expected,
    /// The order waits for a courier.
    Waiting,
    /// The order was taken from its courier manually, and waits until it is assigned manually.
    Held,
    /// A courier carries the order.
    Assigned,
    /// The deadline has passed; the courier is freed when the grace period has passed too.
    Overdue,
    /// The courier was freed long after the deadline, and the order is not completed.
    Released,
    /// The order was delivered, by a courier of this service or without one.
    Completed,
    /// The order was cancelled.
    Cancelled,
}

impl DeliveryState {
    /// Returns the word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expected => "expected",
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Assigned => "assigned",
            Self::Overdue => "overdue",
            Self::Released => "released",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The reason why an order has no courier yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WaitReason {
    /// Its `created` event has not arrived yet.
    NotCreated,
    /// It was taken from its courier manually.
    HeldManually,
    /// Its delivery was released.
    Released,
    NoCouriers,
    /// Every courier who is not paused carries another order.
    AllBusy,
    AllPaused,
    /// A courier is available. The order waits for the next match, or for older orders before it.
    InTurn,
}

impl WaitReason {
    pub const ALL: [Self; 7] = [
        Self::NotCreated,
        Self::HeldManually,
        Self::Released,
        Self::NoCouriers,
        Self::AllBusy,
        Self::AllPaused,
        Self::InTurn,
    ];

    /// Returns the code in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotCreated => "not_created",
            Self::HeldManually => "held_by_hand",
            Self::Released => "released",
            Self::NoCouriers => "no_couriers",
            Self::AllBusy => "all_couriers_busy",
            Self::AllPaused => "all_couriers_paused",
            Self::InTurn => "in_turn",
        }
    }
}

/// The courier who carries, or carried, an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    pub courier_id: CourierId,
    /// The courier's transport at the time of the assignment.
    pub transport_type: Transport,
    /// By the database's clock.
    pub assigned_at: OffsetDateTime,
    /// By the database's clock.
    pub deadline: OffsetDateTime,
    pub is_manual: bool,
    /// Kafka's time of the `completed` event.
    pub completed_at: Option<OffsetDateTime>,
    /// The time when the courier was freed because the delivery was long overdue.
    pub released_at: Option<OffsetDateTime>,
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn position(second: i64) -> Position {
        Position { timestamp_ms: second * 1_000, partition: 0, offset: 0 }
    }

    proptest! {
        #[test]
        fn events_fold_alike_in_any_order_grouping_and_repetition(
            (events, mixed) in vec((select(&OrderStatus::ALL[..]), 0..20i64), 1..10)
                .prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle())),
            cut in any::<prop::sample::Index>(),
        ) {
            let uid: OrderUid = "1".parse().unwrap();
            let fold_one = |events: &[(OrderStatus, i64)]| {
                let events = events.iter().map(|(status, second)| (&uid, *status, position(*second)));
                fold(events).get(&uid).copied()
            };

            let whole = fold_one(&events).unwrap();

            prop_assert_eq!(whole.status, events.iter().map(|event| event.0).max().unwrap());
            prop_assert_eq!(
                whole.created_at,
                events.iter().filter(|e| e.0 == OrderStatus::Created).map(|e| instant(e.1 * 1_000)).min()
            );
            let (first, second) = mixed.split_at(cut.index(mixed.len()));
            let parts = [first, second, &mixed].into_iter().filter_map(fold_one);
            prop_assert_eq!(Some(whole), parts.reduce(FoldedStatus::merge));
        }
    }

    #[test]
    fn only_created_enqueues_and_only_the_last_two_end_a_delivery() {
        let effects = OrderStatus::ALL.map(Effect::of);

        assert_eq!(effects[0], Effect::Enqueue);
        assert_eq!(effects[1..5], [Effect::Advance; 4]);
        assert_eq!(effects[5..], [Effect::Complete, Effect::Cancel]);
    }
}
