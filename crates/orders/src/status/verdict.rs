//! Why an event of the status topic changed nothing. The state machine itself is in `events`; pure.

use events::{OrderStatus, StatusWord};
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// Why an event did not change its order's status. Stored with the event and served: the codes are
/// part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ignored {
    /// The order had this status already: nothing new.
    Repeated,
    /// The order had come further already.
    Lower,
    /// `updated` tells of the order's content: it has no rank.
    NoRank,
    /// A word that nobody here knows.
    UnknownStatus,
}

impl Ignored {
    /// All of them.
    pub(crate) const ALL: [Self; 4] =
        [Self::Repeated, Self::Lower, Self::NoRank, Self::UnknownStatus];

    /// What an event with this word does to an order of this status: nothing, and why, or `None`
    /// if it moves the order on.
    pub(crate) fn judge(before: Option<OrderStatus>, word: StatusWord) -> Option<Self> {
        match (word, before) {
            (StatusWord::Unknown, _) => Some(Self::UnknownStatus),
            (StatusWord::Updated, _) => Some(Self::NoRank),
            (StatusWord::Status(status), Some(before)) if status == before => Some(Self::Repeated),
            (StatusWord::Status(status), Some(before)) if status < before => Some(Self::Lower),
            (StatusWord::Status(_), _) => None,
        }
    }

    /// The code.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Repeated => "repeated",
            Self::Lower => "lower",
            Self::NoRank => "no_rank",
            Self::UnknownStatus => "unknown_status",
        }
    }

    /// What it means, for whoever reads the API's answers.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Repeated => "the order had this status already",
            Self::Lower => "the order had come further already",
            Self::NoRank => "it tells of the order's content, not of its status",
            Self::UnknownStatus => "nobody here knows this status",
        }
    }
}

impl EncodeLabelValue for Ignored {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.as_str().encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_not_ignored_moves_the_order_on() {
        let known = OrderStatus::ALL.map(StatusWord::Status);
        for before in [None].into_iter().chain(OrderStatus::ALL.map(Some)) {
            for word in known.into_iter().chain([StatusWord::Updated, StatusWord::Unknown]) {
                let moves = word.advance(before) != before;
                assert_eq!(Ignored::judge(before, word).is_none(), moves, "{before:?} {word:?}");
            }
        }
    }

    #[test]
    fn what_was_ignored_is_told_apart() {
        let judge = |word| Ignored::judge(Some(OrderStatus::Completed), StatusWord::read(word));
        assert_eq!(judge("delivered"), Some(Ignored::Repeated));
        assert_eq!(judge("created"), Some(Ignored::Lower));
        assert_eq!(judge("updated"), Some(Ignored::NoRank));
        assert_eq!(judge("lost"), Some(Ignored::UnknownStatus));
        assert_eq!(judge("deleted"), None);
    }
}
