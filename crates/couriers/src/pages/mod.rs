//! The board: couriers by what they do, the queue, the figures, for a dispatcher.
//!
//! Values in, HTML out: nothing here does I/O or knows of requests. `assets/board.js` fetches the
//! same page whenever something has happened and puts in place what has changed of it, so this
//! module stays the only one that writes the board. Templates escape all they are given.

mod board;
mod words;

use std::{ops::Deref, sync::LazyLock};

use askama::Template;
use chassis::{
    http::problem::Problem,
    web::{
        Assets, Embedded,
        docs::{Call, calls},
    },
};

pub(crate) use self::board::board;
use self::words::Words;

/// Style and scripts.
pub(crate) static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    Assets::with([
        Embedded::new("board.css", include_bytes!("assets/board.css")),
        Embedded::new("board.js", include_bytes!("assets/board.js")),
    ])
});

/// `/openapi.json`, as it is sent.
pub(crate) const OPENAPI: &str = include_str!("../http/openapi.json");

static CALLS: LazyLock<Vec<Call>> = LazyLock::new(|| calls(OPENAPI));

/// What every page has around its own content: to what all services have, ours is added.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) shared: chassis::web::Frame<'a>,
    /// Where the order service's pages are, without a slash at the end.
    pub(crate) orders_url: &'a str,
}

/// Templates see one frame.
impl<'a> Deref for Frame<'a> {
    type Target = chassis::web::Frame<'a>;

    fn deref(&self) -> &Self::Target {
        &self.shared
    }
}

impl Frame<'_> {
    fn words(&self) -> &'static Words {
        Words::of(self.lang)
    }

    fn live_words(&self) -> String {
        serde_json::to_string(&self.words().live).expect("a struct of texts becomes JSON")
    }

    /// The page of an order.
    fn order_href(&self, order_id: &str) -> String {
        format!("{}/order/{}", self.orders_url, chassis::http::path_segment(order_id))
    }
}

/// `/docs`.
pub(crate) fn docs(frame: Frame<'_>, problems: &[Problem]) -> String {
    render(&DocsTemplate { w: frame.words(), f: &frame, tab: "docs", calls: &CALLS, problems })
}

#[derive(Template)]
#[template(path = "docs.html")]
struct DocsTemplate<'a> {
    f: &'a Frame<'a>,
    w: &'static Words,
    tab: &'static str,
    calls: &'static [Call],
    problems: &'a [Problem],
}

/// Instead of the board, when the database does not answer.
pub(crate) fn trouble(frame: Frame<'_>) -> String {
    let w = frame.words();
    message(frame, w.trouble_title, w.trouble_text)
}

/// What is at no address.
pub(crate) fn no_page(frame: Frame<'_>) -> String {
    let w = frame.words();
    message(frame, w.no_page_title, w.no_page_text)
}

fn message(frame: Frame<'_>, title: &str, text: &str) -> String {
    render(&MessageTemplate { w: frame.words(), f: &frame, tab: "", title, text })
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessageTemplate<'a> {
    f: &'a Frame<'a>,
    w: &'static Words,
    tab: &'static str,
    title: &'a str,
    text: &'a str,
}

fn render(page: &impl Template) -> String {
    page.render().expect("a template fails only if one of its values cannot be displayed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_assets_together_are_light() {
        // What is sent is compressed to about a third.
        assert!(ASSETS.weight() < 120_000, "{}", ASSETS.weight());
    }
}
