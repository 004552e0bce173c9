//! The state of each order as it follows from the records: the judge's own fold. One order takes
//! about 130 bytes.

use std::collections::HashMap;

use super::Position;
use crate::traffic::Content;

#[derive(Debug, Clone, Default)]
pub(super) struct Slot {
    /// The latest valid record and its content: the one with the greatest position.
    pub(super) latest: Option<(Position, u64)>,
    /// The number of valid records.
    pub(super) records: u32,
    /// True if the valid records have several contents.
    pub(super) has_changed: bool,
    /// The version of the row; 0 if there is none.
    pub(super) version: i32,
    /// The greatest versions in the service's own `created` and `updated` events; 0 if there is none.
    pub(super) created_version: i32,
    pub(super) updated_version: i32,
    /// All events, and those without the order service's own `created`.
    pub(super) status: Status,
    pub(super) foreign_status: Option<(i16, Position)>,
    /// True if a row of `order_status`, or of `order_states`, was found.
    pub(super) has_status_row: bool,
    pub(super) has_state_row: bool,
}

/// The highest rank of an order's events, and the times that its rows may have.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Status {
    /// The highest rank, and the earliest record with it.
    pub(super) highest: Option<(i16, Position)>,
    /// Kafka's time of the last event with this rank.
    pub(super) last_ms: i64,
    /// Kafka's times of the first and the last `created` event.
    pub(super) created_ms: Option<(i64, i64)>,
}

impl Slot {
    pub(super) fn add_order(&mut self, position: Position, revision: u64) {
        self.records += 1;
        if let Some((_, other)) = self.latest {
            self.has_changed |= other != revision;
        }
        if self.latest.is_none_or(|(latest, _)| position > latest) {
            self.latest = Some((position, revision));
        }
    }

    /// Adds an event with a rank. `is_own_created` is true for a `created` of the order service.
    pub(super) fn add_event(&mut self, position: Position, rank: i16, is_own_created: bool) {
        self.status.add(position, rank);
        if !is_own_created {
            raise(&mut self.foreign_status, position, rank);
        }
    }

    /// Returns the content that must be stored.
    pub(super) fn content(&self, order: u64) -> Option<Content> {
        self.latest.map(|(_, revision)| Content { order, revision })
    }
}

impl Status {
    fn add(&mut self, position: Position, rank: i16) {
        let before = self.highest.map(|(rank, _)| rank);
        raise(&mut self.highest, position, rank);
        if before.is_none_or(|before| rank > before) {
            self.last_ms = position.timestamp_ms;
        } else if before == Some(rank) {
            self.last_ms = self.last_ms.max(position.timestamp_ms);
        }
        if rank == 0 {
            let time = position.timestamp_ms;
            let (first, last) = self.created_ms.unwrap_or((time, time));
            self.created_ms = Some((first.min(time), last.max(time)));
        }
    }
}

/// Keeps the highest rank, and of several records with it the earliest.
fn raise(highest: &mut Option<(i16, Position)>, position: Position, rank: i16) {
    let is_higher = highest
        .is_none_or(|(known, earliest)| rank > known || (rank == known && position < earliest));
    if is_higher {
        *highest = Some((rank, position));
    }
}

/// The orders of the orders stream in a list, and the others, which are few, in a map.
#[derive(Debug)]
pub(super) struct Slots {
    sent: Vec<Slot>,
    others: HashMap<u64, Slot>,
}

impl Slots {
    pub(super) fn new(orders: u64) -> Self {
        let length = usize::try_from(orders).expect("the orders fit in memory");
        Self { sent: vec![Slot::default(); length], others: HashMap::new() }
    }

    pub(super) fn get(&mut self, order: u64) -> &mut Slot {
        let index = usize::try_from(order).unwrap_or(usize::MAX);
        match self.sent.get_mut(index) {
            Some(slot) => slot,
            None => self.others.entry(order).or_default(),
        }
    }

    /// Returns all orders with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Slot)> {
        (0..).zip(&self.sent).chain(self.others.iter().map(|(order, slot)| (*order, slot)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(timestamp_ms: i64, partition: i32, offset: i64) -> Position {
        Position { timestamp_ms, partition, offset }
    }

    #[test]
    fn the_greatest_position_wins_in_any_order_of_reading() {
        let records = [(at(5, 0, 9), 1), (at(7, 0, 1), 2), (at(7, 1, 0), 3), (at(6, 9, 99), 4)];
        for first in 0..records.len() {
            let mut slot = Slot::default();
            for step in 0..records.len() {
                let (position, revision) = records[(first + step) % records.len()];
                slot.add_order(position, revision);
            }
            assert_eq!(slot.latest, Some((at(7, 1, 0), 3)));
            assert_eq!((slot.records, slot.has_changed), (4, true));
        }
    }

    #[test]
    fn the_highest_rank_counts_from_its_earliest_event() {
        let events = [(at(1, 0, 0), 0), (at(4, 0, 3), 5), (at(3, 1, 0), 5), (at(9, 0, 4), 2)];
        for first in 0..events.len() {
            let mut slot = Slot::default();
            for step in 0..events.len() {
                let (position, rank) = events[(first + step) % events.len()];
                slot.add_event(position, rank, rank == 0);
            }
            assert_eq!(slot.status.highest, Some((5, at(3, 1, 0))));
            assert_eq!(slot.foreign_status, slot.status.highest);
            assert_eq!((slot.status.last_ms, slot.status.created_ms), (4, Some((1, 1))));
        }
    }
}
