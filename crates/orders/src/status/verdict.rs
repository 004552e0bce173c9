//! The verdict on an event of the status topic: it changed the status of its order, or the reason
//! why it did not. Pure; the ranks that decide are in the crate `events`.

use events::{OrderStatus, StatusWord};
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// `None` for an event that changed its order's status, otherwise the reason why it was ignored.
pub(crate) type Verdict = Option<Ignored>;

/// The reason why an event did not change its order's status. Stored with the event and served: the
/// codes are part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ignored {
    /// The order already had this status.
    Repeated,
    /// The order already had a higher status.
    Lower,
    /// `updated` is about the order's content and has no rank.
    NoRank,
    UnknownStatus,
}

impl Ignored {
    pub(crate) const ALL: [Self; 4] =
        [Self::Repeated, Self::Lower, Self::NoRank, Self::UnknownStatus];

    /// Judges an event with this word, given the order's status before.
    pub(crate) fn judge(before: Option<OrderStatus>, word: StatusWord) -> Verdict {
        match (word, before) {
            (StatusWord::Unknown, _) => Some(Self::UnknownStatus),
            (StatusWord::Updated, _) => Some(Self::NoRank),
            (StatusWord::Status(status), Some(before)) if status == before => Some(Self::Repeated),
            (StatusWord::Status(status), Some(before)) if status < before => Some(Self::Lower),
            (StatusWord::Status(_), _) => None,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Repeated => "repeated",
            Self::Lower => "lower",
            Self::NoRank => "no_rank",
            Self::UnknownStatus => "unknown_status",
        }
    }

    /// Returns the reason in words, as the API shows it.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Repeated => "the order already had this status",
            Self::Lower => "the order already had a higher status",
            Self::NoRank => "the event is about the content of the order, not about its status",
            Self::UnknownStatus => "this status is not known",
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
    fn an_event_that_is_not_ignored_changes_the_status() {
        let known = OrderStatus::ALL.map(StatusWord::Status);
        for before in [None].into_iter().chain(OrderStatus::ALL.map(Some)) {
            for word in known.into_iter().chain([StatusWord::Updated, StatusWord::Unknown]) {
                let moves = word.advance(before) != before;
                assert_eq!(Ignored::judge(before, word).is_none(), moves, "{before:?} {word:?}");
            }
        }
    }

    #[test]
    fn each_reason_has_its_own_verdict() {
        let judge = |word| Ignored::judge(Some(OrderStatus::Completed), StatusWord::read(word));
        assert_eq!(judge("delivered"), Some(Ignored::Repeated));
        assert_eq!(judge("created"), Some(Ignored::Lower));
        assert_eq!(judge("updated"), Some(Ignored::NoRank));
        assert_eq!(judge("lost"), Some(Ignored::UnknownStatus));
        assert_eq!(judge("deleted"), None);
    }
}
