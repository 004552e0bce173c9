//! The figures of the board: those that are filters, each a link to one list, and the totals.

use chassis::web::{
    Lang,
    words::{Forms, counted, fill},
};
use time::OffsetDateTime;

use super::{
    Frame,
    board_words::BoardWords,
    shown::{Content, Shown, href},
};
use crate::read::{Board, List, Statistics};

/// A figure that is a filter.
pub(super) struct Filter {
    pub(super) key: &'static str,
    pub(super) value: String,
    pub(super) label: String,
    /// The list alone; from there, all lists.
    pub(super) href: String,
    pub(super) is_current: bool,
    /// True for a figure that should be 0 and is not.
    pub(super) is_bad: bool,
    /// The time from which the oldest order waits.
    pub(super) oldest: Option<OffsetDateTime>,
}

/// A figure that is no filter.
pub(super) struct Total {
    pub(super) key: &'static str,
    pub(super) value: String,
    pub(super) label: String,
}

/// Returns the number of rows of a list, without a range of time.
pub(super) fn count(board: &Board, list: List) -> i64 {
    match list {
        List::Waiting => board.queue.waiting,
        List::Held => board.queue.held,
        List::Released => board.queue.released,
        List::Overdue => board.statistics.overdue,
        List::Road => board.statistics.active,
        List::Free => board.counts.available,
        List::Paused => board.counts.paused,
        List::Retired => board.counts.retired,
    }
}

pub(super) fn filters(frame: &Frame<'_>, board: &Board, shown: &Shown) -> Vec<Filter> {
    let (lang, texts) = (frame.lang, BoardWords::of(frame.lang));
    let filters = List::ALL.into_iter().map(|list| {
        let (number, is_current) = (count(board, list), shown.content == Content::One(list));
        let oldest = board.queue.oldest.filter(|_| list == List::Waiting);
        Filter {
            key: list.as_str(),
            value: lang.number(number),
            label: form(lang, forms(texts, list), number),
            href: href(Some(list).filter(|_| !is_current), shown.range, None),
            is_current,
            is_bad: number > 0 && matches!(list, List::Overdue | List::Released),
            oldest,
        }
    });
    filters.collect()
}

fn forms(texts: &BoardWords, list: List) -> &Forms {
    match list {
        List::Waiting => &texts.orders_wait,
        List::Held => &texts.held,
        List::Overdue => &texts.overdue,
        List::Released => &texts.released,
        List::Road => &texts.on_road,
        List::Free => &texts.free,
        List::Paused => &texts.paused,
        List::Retired => &texts.retired,
    }
}

pub(super) fn totals(lang: Lang, statistics: &Statistics) -> Vec<Total> {
    let texts = BoardWords::of(lang);
    let share = statistics.on_time_share();
    let mut totals = vec![
        Total {
            key: "completed",
            value: lang.number(statistics.completed),
            label: match statistics.mean_seconds {
                Some(mean) => fill(texts.completed_mean, spell(lang, mean)),
                None => texts.completed.to_owned(),
            },
        },
        Total {
            key: "on-time",
            value: share.map_or_else(|| "–".to_owned(), |share| lang.percent(share)),
            label: texts.on_time.to_owned(),
        },
    ];
    if let Some(number @ 1..) = statistics.completed_without_courier {
        let label = texts.without_courier.to_owned();
        totals.push(Total { key: "without-courier", value: lang.number(number), label });
    }
    totals
}

/// Returns the form for `n`, without the number.
fn form(lang: Lang, forms: &Forms, n: i64) -> String {
    counted(lang, forms, usize::try_from(n).unwrap_or(0))
}

pub(super) fn spell(lang: Lang, seconds: f64) -> String {
    let now = OffsetDateTime::UNIX_EPOCH;
    lang.age(now - time::Duration::seconds_f64(seconds), now)
}
