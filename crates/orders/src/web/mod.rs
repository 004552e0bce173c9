//! The page: an order, the newest of them, what was rejected, and the API, for a person.
//!
//! Values in, HTML out: nothing here does I/O or knows of requests; `http` gathers what a page
//! needs and sends what it gets back, with [`CONTENT_SECURITY_POLICY`]. Everything works without
//! JavaScript. `assets/app.js` fetches these same pages and puts their `<main>` in place, so this
//! module stays the only one that writes an order for people. Templates escape all they are given.
//!
//! ```text
//! http ─▶ home, order, missing, … ─▶ templates/*.html ─▶ HTML
//!     └─▶ asset ─▶ style, scripts, icon: named by their content, kept by browsers for ever
//! ```

mod assets;
mod barcode;
mod docs;
mod lang;
mod orders;
mod rejected;
mod words;

use std::fmt;

use askama::Template;
use events::OrderUid;
use time::OffsetDateTime;

pub(crate) use self::{
    assets::asset,
    docs::{OPENAPI, docs},
    lang::Lang,
    orders::{
        Missing, OrderPage, Source, home, malformed, missing, no_page, order, order_trouble,
        trouble,
    },
    rejected::{RejectedPage, RejectedRow, RejectionPage, Replay, rejected, rejection},
};
use self::{lang::machine_time, words::Words};

/// Sent with every page: all from this server, nothing inline, no frames.
pub(crate) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; \
     script-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'";

/// What every page has around its own content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) lang: Lang,
    /// Path and query of this page as they were asked for, `lang` left out.
    pub(crate) here: &'a str,
    /// What ages are reckoned from.
    pub(crate) now: OffsetDateTime,
    /// The newest orders, newest first; a dozen is a good number.
    pub(crate) newest: &'a [NewestOrder],
    /// How many records were rejected, if known.
    pub(crate) rejected: Option<u64>,
}

/// An order in a list.
#[derive(Debug, Clone)]
pub(crate) struct NewestOrder {
    pub(crate) uid: OrderUid,
    pub(crate) ingested_at: OffsetDateTime,
}

/// Where a record is on Kafka; displayed as `orders/3 @ 18204`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// The path of an order's page.
pub(crate) fn order_href(uid: &str) -> String {
    format!("/order/{}", path_segment(uid))
}

/// The path of a rejected record's page.
pub(crate) fn rejection_href(id: &str) -> String {
    format!("/rejected/{}", path_segment(id))
}

impl Frame<'_> {
    fn words(&self) -> &'static Words {
        Words::of(self.lang)
    }

    fn live_words(&self) -> String {
        serde_json::to_string(&self.words().live).expect("a struct of texts becomes JSON")
    }

    #[expect(clippy::unused_self, reason = "templates reach functions through their values")]
    fn asset(&self, name: &str) -> &'static str {
        assets::url(name)
    }

    fn rejected_total(&self) -> String {
        self.rejected.map_or_else(String::new, |n| format!(" {}", self.lang.number(n)))
    }

    /// This page in another language.
    fn here_in(&self, lang: &Lang) -> String {
        let and = if self.here.contains('?') { '&' } else { '?' };
        format!("{}{and}lang={}", self.here, lang.tag())
    }

    /// Markup: how long ago, kept up to date by the browser.
    fn age(&self, since: &OffsetDateTime) -> String {
        let (machine, age) = (machine_time(*since), self.lang.age(*since, self.now));
        format!(r#"<time class="quiet" datetime="{machine}" data-age>{age}</time>"#)
    }
}

impl NewestOrder {
    fn href(&self) -> String {
        order_href(self.uid.as_str())
    }
}

impl fmt::Display for Position<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} @ {}", self.topic, self.partition, self.offset)
    }
}

/// Markup: a time as the language writes it, and for machines.
fn time_markup(lang: Lang, at: OffsetDateTime) -> String {
    format!(r#"<time datetime="{}">{}</time>"#, machine_time(at), lang.date_time(at))
}

fn render(page: &impl Template) -> String {
    page.render().expect("a template fails only if one of its values cannot be displayed")
}

/// Any text as one segment of a path (or one value of a query).
pub(crate) fn path_segment(text: &str) -> String {
    use fmt::Write;

    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            path.push(char::from(byte));
        } else {
            write!(path, "%{byte:02X}").expect("writing to a String does not fail");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_id_becomes_one_segment_of_a_path() {
        assert_eq!(order_href("b563feb7b2b84b6test"), "/order/b563feb7b2b84b6test");
        assert_eq!(order_href("a/b?c#d%e \"'<&"), "/order/a%2Fb%3Fc%23d%25e%20%22%27%3C%26");
        assert_eq!(order_href("ж"), "/order/%D0%B6");
        assert_eq!(rejection_href("orders:3:18204"), "/rejected/orders:3:18204");
    }
}
