//! The life of an order: its status, what was told of it, and what may still be told.

use chassis::web::{Lang, machine_time, words::fill};
use events::OrderStatus;
use time::{Duration, OffsetDateTime};

use super::{Position, history_words::StatusWords, order_href, words::Words};
use crate::status::verdict::Ignored;

/// How an order came to be as it is.
#[derive(Debug)]
pub(crate) struct Life<'a> {
    pub(crate) status: OrderStatus,
    /// When its first record was stored, and which version the latest made it.
    pub(crate) stored: Stored<'a>,
    /// What was told of it, oldest first.
    pub(crate) events: &'a [Told<'a>],
    /// More was told than is here.
    pub(crate) more: bool,
}

/// Where a stored order came from.
#[derive(Debug)]
pub(crate) struct Stored<'a> {
    pub(crate) at: OffsetDateTime,
    pub(crate) version: i64,
    /// When Kafka took its latest record, and where that stands.
    pub(crate) record_timestamp: OffsetDateTime,
    pub(crate) position: Position<'a>,
}

/// One event of the status topic.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub(crate) at: OffsetDateTime,
    pub(crate) position: Position<'a>,
    /// The status as it was written.
    pub(crate) word: &'a str,
    pub(crate) status: Option<OrderStatus>,
    pub(crate) version: Option<i32>,
    pub(crate) ignored: Option<Ignored>,
}

/// As the template takes it.
pub(super) struct LifeView {
    pub(super) status: &'static str,
    pub(super) tone: &'static str,
    pub(super) lines: Vec<Line>,
    pub(super) more_href: Option<String>,
    pub(super) cancel_href: Option<String>,
    pub(super) complete_href: Option<String>,
}

/// One thing that happened.
pub(super) struct Line {
    pub(super) text: String,
    /// It changed nothing.
    pub(super) off: bool,
    pub(super) machine: String,
    pub(super) exact: String,
    /// How long after the line before.
    pub(super) after: Option<String>,
    pub(super) position: Option<String>,
    /// Partition and offset of an event, by which a script finds it.
    pub(super) record: String,
}

impl LifeView {
    pub(super) fn of(lang: Lang, uid: &str, life: &Life<'_>) -> Self {
        let w = Words::of(lang);
        let href = |call: &str| format!("{}/{call}", order_href(uid));
        let stored = &life.stored;
        let mut lines = vec![Line {
            text: w.received.to_owned(),
            off: false,
            machine: machine_time(stored.at),
            exact: lang.exact_time(stored.at),
            after: None,
            // The position is that of the latest record.
            position: (stored.version == 1).then(|| stored.position.to_string()),
            record: String::new(),
        }];
        let mut happened: Vec<(OffsetDateTime, Line)> =
            life.events.iter().map(|told| (told.at, line_of(lang, told))).collect();
        if stored.version > 1 {
            let line = Line {
                text: fill(w.replaced, lang.number(stored.version)),
                off: false,
                machine: machine_time(stored.record_timestamp),
                exact: lang.exact_time(stored.record_timestamp),
                after: None,
                position: Some(stored.position.to_string()),
                record: String::new(),
            };
            happened.push((stored.record_timestamp, line));
            happened.sort_by_key(|(at, _)| *at);
        }
        let mut before = stored.at;
        for (at, mut line) in happened {
            line.after = after(lang, at - before);
            before = at;
            lines.push(line);
        }
        Self {
            status: StatusWords::of(lang).plain(life.status),
            tone: match life.status {
                OrderStatus::Completed => "good",
                OrderStatus::Cancelled => "bad",
                _ => "accent",
            },
            lines,
            more_href: life.more.then(|| href("history")),
            cancel_href: (life.status < OrderStatus::Cancelled).then(|| href("cancel")),
            complete_href: (life.status < OrderStatus::Completed).then(|| href("complete")),
        }
    }
}

fn line_of(lang: Lang, told: &Told<'_>) -> Line {
    let w = StatusWords::of(lang);
    let name = || told.status.map_or(told.word, |status| w.plain(status));
    let text = match (told.ignored, told.status, told.version) {
        (None, Some(OrderStatus::Created), Some(_)) => w.published.to_owned(),
        (None, Some(status), _) => w.told(status).to_owned(),
        (Some(Ignored::Repeated), ..) => fill(w.repeated, name()),
        (Some(Ignored::Lower), ..) => fill(w.lower, name()),
        (Some(Ignored::NoRank), _, Some(version)) => {
            fill(w.updated, lang.number(i64::from(version)))
        }
        (Some(Ignored::NoRank), _, None) => w.updated_somehow.to_owned(),
        (Some(Ignored::UnknownStatus), ..) | (None, None, _) => fill(w.unknown, told.word),
    };
    Line {
        text,
        off: matches!(
            told.ignored,
            Some(Ignored::Repeated | Ignored::Lower | Ignored::UnknownStatus)
        ),
        machine: machine_time(told.at),
        exact: lang.exact_time(told.at),
        after: None,
        position: Some(told.position.to_string()),
        record: format!("{}/{}", told.position.partition, told.position.offset),
    }
}

/// `+9 ms`, as long as that says more than the times themselves.
fn after(lang: Lang, span: Duration) -> Option<String> {
    let span = std::time::Duration::try_from(span).ok()?;
    (span < std::time::Duration::from_secs(60)).then(|| format!("+{}", lang.span(span)))
}
