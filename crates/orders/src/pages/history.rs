//! The history of an order on its page: its status, its events, and the forms that change it.

use chassis::web::{Lang, machine_time, words::fill};
use events::OrderStatus;
use time::{Duration, OffsetDateTime};

use super::{position, status_words::StatusWords, words::Words};
use crate::{
    http::order_path,
    status::{
        history::{EventRow, StoredOrder},
        verdict::Ignored,
    },
};

#[derive(Debug)]
pub(super) struct OrderHistory<'a> {
    pub(super) status: OrderStatus,
    pub(super) stored: &'a StoredOrder,
    pub(super) orders_topic: &'a str,
    /// The first events, oldest first.
    pub(super) events: &'a [EventRow],
    /// There are more events than these.
    pub(super) more: bool,
}

/// The values of the template.
pub(super) struct HistoryView {
    pub(super) status: &'static str,
    pub(super) tone: &'static str,
    pub(super) lines: Vec<Line>,
    pub(super) more_href: Option<String>,
    pub(super) cancel_href: Option<String>,
    pub(super) complete_href: Option<String>,
}

impl HistoryView {
    pub(super) fn of(lang: Lang, uid: &str, history: &OrderHistory<'_>) -> Self {
        let status = history.status;
        let href = |call: &str| format!("{}/{call}", order_path(uid));
        Self {
            status: StatusWords::of(lang).plain(status),
            tone: match status {
                OrderStatus::Completed => "good",
                OrderStatus::Cancelled => "bad",
                _ => "accent",
            },
            lines: lines(lang, history),
            more_href: history.more.then(|| href("history")),
            cancel_href: (status < OrderStatus::Cancelled).then(|| href("cancel")),
            complete_href: (status < OrderStatus::Completed).then(|| href("complete")),
        }
    }
}

/// An entry of the history.
pub(super) struct Line {
    at: OffsetDateTime,
    pub(super) text: String,
    /// The event changed nothing.
    pub(super) ignored: bool,
    pub(super) machine: String,
    pub(super) exact: String,
    /// The time since the entry before.
    pub(super) after: Option<String>,
    pub(super) position: Option<String>,
    /// Partition and offset of an event, by which a script finds it.
    pub(super) record: String,
}

impl Line {
    fn new(lang: Lang, at: OffsetDateTime, text: String) -> Self {
        Self {
            at,
            text,
            ignored: false,
            machine: machine_time(at),
            exact: lang.exact_time(at),
            after: None,
            position: None,
            record: String::new(),
        }
    }
}

fn lines(lang: Lang, history: &OrderHistory<'_>) -> Vec<Line> {
    let (words, stored) = (Words::of(lang), history.stored);
    let position = Some(position(history.orders_topic, stored.partition, stored.offset));
    let mut received = Line::new(lang, stored.ingested_at, words.received.to_owned());
    let mut later: Vec<Line> = history.events.iter().map(|event| event_line(lang, event)).collect();
    // The position is that of the latest record, which is the first one only in version 1.
    if stored.version == 1 {
        received.position = position;
    } else {
        let text = fill(words.replaced, lang.number(stored.version));
        later.push(Line { position, ..Line::new(lang, stored.record_timestamp, text) });
        later.sort_by_key(|line| line.at);
    }
    let mut before = received.at;
    for line in &mut later {
        line.after = after(lang, line.at - before);
        before = line.at;
    }
    later.insert(0, received);
    later
}

fn event_line(lang: Lang, event: &EventRow) -> Line {
    let words = StatusWords::of(lang);
    let name = || event.status.map_or(event.word.as_str(), |status| words.plain(status));
    let text = match (event.ignored, event.status, event.version) {
        (None, Some(OrderStatus::Created), Some(_)) => words.published.to_owned(),
        (None, Some(status), _) => words.reached(status).to_owned(),
        (Some(Ignored::Repeated), ..) => fill(words.repeated, name()),
        (Some(Ignored::Lower), ..) => fill(words.lower, name()),
        (Some(Ignored::NoRank), _, Some(version)) => fill(words.updated, lang.number(version)),
        (Some(Ignored::NoRank), _, None) => words.updated_without_version.to_owned(),
        (Some(Ignored::UnknownStatus), ..) | (None, None, _) => fill(words.unknown, &event.word),
    };
    Line {
        ignored: matches!(
            event.ignored,
            Some(Ignored::Repeated | Ignored::Lower | Ignored::UnknownStatus)
        ),
        position: Some(position(&event.topic, event.partition, event.offset)),
        record: format!("{}/{}", event.partition, event.offset),
        ..Line::new(lang, event.at, text)
    }
}

/// Returns a short span, such as `+9 ms`. A longer one adds nothing to the two times.
fn after(lang: Lang, span: Duration) -> Option<String> {
    let span = std::time::Duration::try_from(span).ok()?;
    (span < std::time::Duration::from_secs(60)).then(|| format!("+{}", lang.span(span)))
}
