//! Message pages: the order or rejected record is not found, the id is invalid, a server does not
//! answer, or the page does not exist.

use std::time::Duration;

use askama::Template;
use chassis::{
    http::{problem::Problem, problems::KAFKA_UNAVAILABLE},
    web::words::{counted, fill},
};
use events::{DeliveryEvent, InvalidOrderUid, OrderStatus};

use super::{
    Frame,
    delivery::DeliveryView,
    render,
    status_words::StatusWords,
    words::{Words, uid_problem},
};
use crate::{http::order_path, lookup::queries::NewestOrder};

/// The page shows at most this many characters of an invalid id.
const MAX_QUERY_CHARS: usize = 200;

/// A server that the service depends on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dependency {
    Database,
    Kafka,
}

impl Dependency {
    /// Returns the server that the problem of a call is about.
    pub(super) fn of(problem: &Problem) -> Self {
        if problem.uri == KAFKA_UNAVAILABLE.uri { Self::Kafka } else { Self::Database }
    }
}

pub(super) struct MissingOrder<'a> {
    pub(super) frame: &'a Frame<'a>,
    pub(super) uid: &'a str,
    /// The orders whose track number is `uid`.
    pub(super) by_track: &'a [NewestOrder],
    /// The time that the request has waited because of `?wait=`.
    pub(super) waited: Option<Duration>,
    /// `None` if no event about the order is known; else the status that the events give it, if
    /// they give it one.
    pub(super) events: Option<Option<OrderStatus>>,
    pub(super) delivery: Option<&'a DeliveryEvent>,
}

/// Renders the answer 404: the order is not stored.
pub(super) fn missing(page: &MissingOrder<'_>) -> String {
    let (lang, w) = (page.frame.lang, page.frame.words());
    let path = order_path(page.uid);
    let wait = format!("{path}?wait=30s");
    let (title, text) = match page.events {
        None => (w.missing_title, w.missing_text.to_owned()),
        Some(None) => (w.only_events_title, w.no_status_text.to_owned()),
        Some(Some(status)) => {
            let status = StatusWords::of(lang).plain(status);
            (w.only_events_title, fill(w.only_events_text, status))
        }
    };
    let mut actions = vec![
        Action { href: wait, label: w.wait_for_it, waits: true },
        Action { href: "/rejected".to_owned(), label: w.see_rejected, waits: false },
    ];
    if page.events.is_some() {
        let href = format!("{path}/history");
        actions.insert(0, Action { href, label: w.see_events, waits: false });
    }
    render(&MessageTemplate {
        query: page.uid,
        delivery: page.delivery.map(|event| DeliveryView::of(lang, event)),
        waited: page.waited.map(|waited| fill(w.waited, lang.span(waited))),
        by_track: page.by_track,
        by_track_title: counted(lang, &w.is_track, page.by_track.len()),
        actions,
        ..MessageTemplate::new(page.frame, title, text)
    })
}

/// Renders the answer 400: `asked` is not a valid order id.
pub(super) fn malformed(frame: &Frame<'_>, asked: &str, rule: InvalidOrderUid) -> String {
    let end = asked.char_indices().nth(MAX_QUERY_CHARS).map_or(asked.len(), |(end, _)| end);
    let text = uid_problem(frame.lang, rule);
    render(&MessageTemplate {
        query: &asked[..end],
        ..MessageTemplate::new(frame, frame.words().malformed_title, text)
    })
}

/// Renders the answer 503: the order is not cached and the database does not answer.
pub(super) fn order_unavailable(frame: &Frame<'_>, uid: &str) -> String {
    let w = frame.words();
    let retry = Action { href: order_path(uid), label: w.try_again, waits: false };
    render(&MessageTemplate {
        query: uid,
        actions: vec![retry],
        ..MessageTemplate::new(frame, w.trouble_title, w.trouble_text.to_owned())
    })
}

/// Renders the answer 503: rejected records cannot be shown or replayed, because a server does not
/// answer. `retry_href` is the address of the link “Try again”.
pub(super) fn rejected_unavailable(
    frame: &Frame<'_>,
    dependency: Dependency,
    retry_href: &str,
) -> String {
    let w = frame.words();
    let text = match dependency {
        Dependency::Database => w.trouble_list_text,
        Dependency::Kafka => w.live.not_sent,
    };
    let retry = Action { href: retry_href.to_owned(), label: w.try_again, waits: false };
    render(&MessageTemplate {
        searchable: false,
        tab: "rejected",
        actions: vec![retry],
        ..MessageTemplate::new(frame, w.rejected_title, text.to_owned())
    })
}

/// Renders the answer 404 (no rejected record has this id) or 400 (the id is invalid).
pub(super) fn no_rejection(frame: &Frame<'_>, id: &str) -> String {
    let w = frame.words();
    let list = Action { href: "/rejected".to_owned(), label: w.see_rejected, waits: false };
    render(&MessageTemplate {
        searchable: false,
        tab: "rejected",
        query: id,
        actions: vec![list],
        ..MessageTemplate::new(frame, w.no_rejection_title, w.no_rejection_text.to_owned())
    })
}

/// Renders the answer 404: no page has this address.
pub(super) fn no_such_page(frame: &Frame<'_>) -> String {
    let w = frame.words();
    render(&MessageTemplate {
        tab: "",
        ..MessageTemplate::new(frame, w.no_page_title, w.no_page_text.to_owned())
    })
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessageTemplate<'a> {
    frame: &'a Frame<'a>,
    words: &'static Words,
    tab: &'static str,
    title: &'static str,
    text: String,
    searchable: bool,
    query: &'a str,
    delivery: Option<DeliveryView>,
    waited: Option<String>,
    by_track: &'a [NewestOrder],
    by_track_title: String,
    actions: Vec<Action>,
}

impl<'a> MessageTemplate<'a> {
    fn new(frame: &'a Frame<'a>, title: &'static str, text: String) -> Self {
        Self {
            words: frame.words(),
            frame,
            tab: "orders",
            title,
            text,
            searchable: true,
            query: "",
            delivery: None,
            waited: None,
            by_track: &[],
            by_track_title: String::new(),
            actions: Vec::new(),
        }
    }
}

struct Action {
    href: String,
    label: &'static str,
    waits: bool,
}
