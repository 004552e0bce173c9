//! The state machine of an order, for both services: the event with the highest rank determines the
//! status.
//!
//! Events in any order and with any repetition lead to the same status. For example, a cancellation
//! that arrives first is kept, and a late `created` does not replace it. What a service does after
//! a change of status is not decided here.

use serde::{Deserialize, Serialize};

/// The status of an order, ordered by rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// The order is stored.
    Created,
    /// The order waits for the shop.
    Pending,
    /// The shop has accepted the order.
    Confirmed,
    /// The shop prepares the order.
    Cooking,
    /// A courier delivers the order.
    Delivering,
    /// The order is delivered.
    Completed,
    /// The order is not delivered. An earlier delivery of it no longer counts.
    Cancelled,
}

impl OrderStatus {
    /// All statuses, by rank.
    pub const ALL: [Self; 7] = [
        Self::Created,
        Self::Pending,
        Self::Confirmed,
        Self::Cooking,
        Self::Delivering,
        Self::Completed,
        Self::Cancelled,
    ];

    /// Returns the rank. The higher rank wins.
    #[must_use]
    pub fn rank(self) -> i16 {
        self as i16
    }

    /// Returns the status of a rank.
    #[must_use]
    pub fn of_rank(rank: i16) -> Option<Self> {
        Self::ALL.get(usize::try_from(rank).ok()?).copied()
    }

    /// Returns the word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Cooking => "cooking",
            Self::Delivering => "delivering",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns true if the order is completed or cancelled.
    #[must_use]
    pub fn is_ended(self) -> bool {
        self >= Self::Completed
    }
}

/// The meaning of the status word of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusWord {
    /// The order has this status.
    Status(OrderStatus),
    /// The content of the order was replaced. This has no rank.
    Updated,
    /// An unknown word. It is recorded and ignored.
    Unknown,
}

impl StatusWord {
    /// Reads a word in any of its spellings.
    #[must_use]
    pub fn read(word: &str) -> Self {
        match word.trim() {
            "updated" => Self::Updated,
            "delivered" => Self::Status(OrderStatus::Completed),
            "canceled" | "deleted" => Self::Status(OrderStatus::Cancelled),
            word => OrderStatus::ALL
                .into_iter()
                .find(|status| status.as_str() == word)
                .map_or(Self::Unknown, Self::Status),
        }
    }

    /// Returns the status of an order that had the status `before` and receives this word.
    #[must_use]
    pub fn advance(self, before: Option<OrderStatus>) -> Option<OrderStatus> {
        match self {
            // The maximum does not depend on order or repetition, so replicas and redeliveries
            // agree.
            Self::Status(status) => before.max(Some(status)),
            Self::Updated | Self::Unknown => before,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    const WORDS: &[&str] = &[
        "created",
        "pending",
        "confirmed",
        "cooking",
        "delivering",
        "completed",
        "delivered",
        "cancelled",
        "canceled",
        "deleted",
        "updated",
        " created ",
        "lost",
        "Created",
    ];

    fn fold<'a>(words: impl IntoIterator<Item = &'a &'static str>) -> Option<OrderStatus> {
        words.into_iter().fold(None, |status, word| StatusWord::read(word).advance(status))
    }

    proptest! {
        #[test]
        fn any_order_and_repetition_of_events_ends_in_the_same_status(
            (words, mixed) in vec(select(WORDS), 1..12)
                .prop_flat_map(|words| (Just(words.clone()), Just(words).prop_shuffle())),
            again in vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let repeated: Vec<_> = again.iter().map(|index| *index.get(&words)).collect();
            let status = fold(&words);
            prop_assert_eq!(status, fold(&mixed));
            prop_assert_eq!(status, fold(mixed.iter().chain(&repeated)));
            prop_assert_eq!(status, fold(repeated.iter().chain(&mixed)));
        }
    }

    #[test]
    fn ranks_follow_the_order_of_the_statuses() {
        let words: Vec<_> = OrderStatus::ALL.iter().map(|status| status.as_str()).collect();
        assert_eq!(
            words,
            ["created", "pending", "confirmed", "cooking", "delivering", "completed", "cancelled"]
        );
        for (rank, status) in OrderStatus::ALL.into_iter().enumerate() {
            assert_eq!(status.rank() as usize, rank);
            assert_eq!(OrderStatus::of_rank(status.rank()), Some(status));
            assert_eq!(status.is_ended(), rank >= 5);
        }
        assert_eq!((OrderStatus::of_rank(-1), OrderStatus::of_rank(7)), (None, None));
    }

    #[test]
    fn spellings_that_others_use_are_known() {
        for (word, meant) in [
            ("deleted", StatusWord::Status(OrderStatus::Cancelled)),
            ("canceled", StatusWord::Status(OrderStatus::Cancelled)),
            ("delivered", StatusWord::Status(OrderStatus::Completed)),
            ("\tcooking\n", StatusWord::Status(OrderStatus::Cooking)),
            ("updated", StatusWord::Updated),
            ("CREATED", StatusWord::Unknown),
            ("", StatusWord::Unknown),
        ] {
            assert_eq!(StatusWord::read(word), meant, "{word:?}");
        }
    }
}
