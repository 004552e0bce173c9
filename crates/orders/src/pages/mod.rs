//! The page: an order, the newest of them, what was rejected, and the API, for a person.
//!
//! Values in, HTML out: nothing here does I/O or knows of requests; `http` gathers what a page
//! needs and sends what it gets back. Everything works without JavaScript. `assets/app.js` fetches
//! these same pages and puts their `<main>` in place, so this module stays the only one that writes
//! an order for people. Templates escape all they are given.
//!
//! ```text
//! http ─▶ home, order, missing, … ─▶ templates/*.html ─▶ HTML
//!     └─▶ asset ─▶ style, scripts, icon: named by their content, kept by browsers for ever
//! ```

mod barcode;
mod docs;
mod history;
mod history_words;
mod orders;
mod rejected;
mod words;

use std::{fmt, ops::Deref, sync::LazyLock};

use askama::Template;
use chassis::{
    http::path_segment,
    rejected::COUNTED,
    web::{Assets, Embedded, words::fill},
};
use events::OrderUid;
use time::OffsetDateTime;

use self::words::Words;
pub(crate) use self::{
    docs::{OPENAPI, docs},
    history::{Life, Stored, Told},
    orders::{
        Missing, OrderPage, Silent, Source, home, malformed, missing, no_page, no_rejection, order,
        order_trouble, trouble,
    },
    rejected::{RejectedPage, RejectedRow, RejectionPage, Replay, rejected, rejection},
};

/// Style, scripts and icon.
pub(crate) static ASSETS: LazyLock<Assets> =
    LazyLock::new(|| Assets::with([Embedded::new("app.js", include_bytes!("assets/app.js"))]));

/// What every page has around its own content: to what all services have, ours is added.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) shared: chassis::web::Frame<'a>,
    /// Where the courier service's board is, if that is known.
    pub(crate) board: Option<&'a str>,
    /// The newest orders, newest first; a dozen is a good number.
    pub(crate) newest: &'a [NewestOrder],
    /// How many records were rejected, if known, or more than [`COUNTED`].
    pub(crate) rejected: Option<u64>,
    /// The last event of the live feed that this page already knows of, if it knows.
    pub(crate) live: &'a str,
}

/// Templates see one frame.
impl<'a> Deref for Frame<'a> {
    type Target = chassis::web::Frame<'a>;

    fn deref(&self) -> &Self::Target {
        &self.shared
    }
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

    /// How many records were rejected, if that is known exactly.
    fn rejected_count(&self) -> Option<u64> {
        self.rejected.filter(|count| *count <= COUNTED.unsigned_abs())
    }

    fn rejected_total(&self) -> String {
        match (self.rejected, self.rejected_count()) {
            (None | Some(0), _) => String::new(),
            (_, Some(count)) => format!(" {}", self.lang.number(count)),
            (_, None) => {
                format!(" {}", fill(self.words().more_than, self.lang.number(COUNTED)))
            }
        }
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

fn render(page: &impl Template) -> String {
    page.render().expect("a template fails only if one of its values cannot be displayed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_assets_together_stay_light() {
        // Uncompressed; the promise is 60 KB compressed, and text shrinks to a third or so.
        let bytes = ASSETS.weight();
        assert!(bytes < 60_000, "{bytes} bytes");
    }

    #[test]
    fn any_id_becomes_one_segment_of_a_path() {
        assert_eq!(order_href("b563feb7b2b84b6test"), "/order/b563feb7b2b84b6test");
        assert_eq!(order_href("a/b?c#d%e \"'<&"), "/order/a%2Fb%3Fc%23d%25e%20%22%27%3C%26");
        assert_eq!(order_href("ж"), "/order/%D0%B6");
        assert_eq!(rejection_href("orders:3:18204"), "/rejected/orders:3:18204");
    }
}
