//! The pages of the courier service: the board with orders, couriers and figures, for a dispatcher, a
//! courier's page, the charts of the flow, and the rejected status records.
//!
//! ```text
//! address ─▶ shown ─▶ board ─▶ rows, figures ─▶ template
//! ```
//!
//! The modules in `assets/` fetch the same page after each change and replace the parts that differ;
//! `board.js` starts them.
//! Templates escape all values.

pub(crate) mod board;
mod board_words;
pub(crate) mod courier;
mod courier_words;
mod figures;
pub(crate) mod flow;
mod flow_words;
mod live_words;
pub(crate) mod rejected;
mod rejected_words;
mod rows;
mod shown;
mod words;

use std::{
    ops::Deref,
    sync::{Arc, LazyLock},
};

use askama::Template;
use axum::{
    extract::{FromRef, State},
    response::Response,
};
use chassis::{
    asset_files,
    flow::Flow,
    http::Id,
    web::{Assets, Reader, docs::Docs},
};
use http::{HeaderMap, StatusCode};

use self::{live_words::LiveWords, words::Words};
use crate::http::{ApiState, OPENAPI, problems};

/// State of the pages' handlers.
#[derive(Clone)]
pub(crate) struct PageState {
    pub(crate) api: ApiState,
    /// The address of the order service's pages, without a slash at the end.
    pub(crate) orders_url: Arc<str>,
}

impl FromRef<PageState> for ApiState {
    fn from_ref(state: &PageState) -> Self {
        state.api.clone()
    }
}

impl FromRef<PageState> for Flow {
    fn from_ref(state: &PageState) -> Self {
        state.api.flow.clone()
    }
}

static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    Assets::with(asset_files![
        "actions.js",
        "board.css",
        "board.js",
        "calls.js",
        "chooser.js",
        "clock.js",
        "done.js",
        "feed.js",
        "fetch.js",
        "find.js",
        "keys.js",
        "pages.js",
        "patch.js",
        "refresh.js",
        "selection.js",
    ])
});

static DOCS: LazyLock<Docs> = LazyLock::new(|| Docs::new(&OPENAPI, problems::kinds()));

/// `GET /assets/…`
pub(crate) async fn asset(Id(name): Id, headers: HeaderMap) -> Response {
    ASSETS.answer(&name, &headers)
}

/// `GET /docs`
pub(crate) async fn docs(State(state): State<PageState>, reader: Reader) -> Response {
    let frame = Frame::of(&state, &reader);
    let page = DocsTemplate { frame: &frame, words: frame.words(), tab: "docs", docs: &DOCS };
    reader.send(StatusCode::OK, render(&page))
}

/// Any address without a route.
pub(crate) async fn no_such_page(State(state): State<PageState>, reader: Reader) -> Response {
    let frame = Frame::of(&state, &reader);
    let words = frame.words();
    reader.send(StatusCode::NOT_FOUND, message(frame, words.no_page_title, words.no_page_text))
}

/// The frame that all services share, and what this service adds to it.
#[derive(Debug, Clone, Copy)]
struct Frame<'a> {
    shared: chassis::web::Frame<'a>,
    orders_url: &'a str,
}

/// Lets templates use both frames as one.
impl<'a> Deref for Frame<'a> {
    type Target = chassis::web::Frame<'a>;

    fn deref(&self) -> &Self::Target {
        &self.shared
    }
}

impl<'a> Frame<'a> {
    fn of(state: &'a PageState, reader: &'a Reader) -> Self {
        Self { shared: reader.frame(&ASSETS), orders_url: &state.orders_url }
    }

    fn words(&self) -> &'static Words {
        Words::of(self.lang)
    }

    fn live_words(&self) -> String {
        serde_json::to_string(&LiveWords::of(self.lang)).expect("a struct of texts becomes JSON")
    }

    /// The address of an order's page.
    fn order_href(&self, order_id: &str) -> String {
        format!("{}/order/{}", self.orders_url, chassis::http::path_segment(order_id))
    }
}

#[derive(Template)]
#[template(path = "docs.html")]
struct DocsTemplate<'a> {
    frame: &'a Frame<'a>,
    words: &'static Words,
    tab: &'static str,
    docs: &'static Docs,
}

fn message(frame: Frame<'_>, title: &str, text: &str) -> String {
    render(&MessageTemplate { frame: &frame, words: frame.words(), tab: "", title, text })
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessageTemplate<'a> {
    frame: &'a Frame<'a>,
    words: &'static Words,
    tab: &'static str,
    title: &'a str,
    text: &'a str,
}

fn render(page: &impl Template) -> String {
    page.render().expect("a template fails only if one of its values cannot be displayed")
}

#[cfg(test)]
mod tests {
    use chassis::web::Lang;
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_scripts_use_only_texts_that_the_page_has() {
        let texts = serde_json::to_value(LiveWords::of(Lang::En)).unwrap();
        for name in ASSETS.texts_used("board.js") {
            assert_ne!(texts[name], Value::Null, "{name}");
        }
    }

    #[test]
    fn all_assets_together_are_light() {
        // Not compressed, and of all pages. Compression makes text about a third of that.
        assert!(ASSETS.weight() < 150_000, "{}", ASSETS.weight());
    }
}
