//! The frame of every page: navigation, the newest orders, and the number of rejected records.

use std::{ops::Deref, time::Duration};

use chassis::{
    rejected::{self, Counted, MAX_COUNTED},
    web::{Reader, words::fill},
};

use super::{ASSETS, CourierService, PageState, words::Words};
use crate::{
    http::{ApiState, order_path},
    lookup::queries::{self, NewestOrder},
};

pub(super) const NEWEST_ORDERS: i64 = 12;
/// The longest wait for the lists. After that, the page is sent without them.
pub(super) const LISTS_TIMEOUT: Duration = Duration::from_secs(2);

/// The frame that all services share, and what this service adds to it.
#[derive(Debug, Clone)]
pub(super) struct Frame<'a> {
    pub(super) shared: chassis::web::Frame<'a>,
    /// The address of the courier service's board, if that is known.
    pub(super) board: Option<&'a str>,
    pub(super) newest: Vec<NewestOrder>,
    /// The number of rejected records that are left, if known; above [`MAX_COUNTED`] it is not exact.
    pub(super) rejected: Option<u64>,
    /// The last event of the live feed that this page includes, or an empty text.
    pub(super) live: String,
}

/// Lets templates use both frames as one.
impl<'a> Deref for Frame<'a> {
    type Target = chassis::web::Frame<'a>;

    fn deref(&self) -> &Self::Target {
        &self.shared
    }
}

impl<'a> Frame<'a> {
    pub(super) fn without_lists(state: &'a PageState, reader: &'a Reader) -> Self {
        Self {
            shared: reader.frame(&ASSETS),
            board: state.courier_service.as_ref().map(CourierService::board),
            newest: Vec::new(),
            rejected: None,
            live: String::new(),
        }
    }

    pub(super) async fn load(state: &'a PageState, reader: &'a Reader) -> Self {
        let ApiState { feed, pool, .. } = &state.api;
        // Read before the list, so that no order is missed: one that is stored in between is in the
        // list and comes by the feed once more.
        let live = feed.last();
        let lists = async {
            tokio::join!(queries::newest(pool, None, NEWEST_ORDERS), rejected::count(pool))
        };
        let lists = tokio::time::timeout(LISTS_TIMEOUT, lists).await;
        let frame = Self::without_lists(state, reader);
        let Ok((newest, rejected)) = lists else { return frame };
        let newest = newest.unwrap_or_default();
        Self { newest, rejected: rejected.ok(), live, ..frame }
    }

    pub(super) fn words(&self) -> &'static Words {
        Words::of(self.lang)
    }

    pub(super) fn live_words(&self) -> String {
        serde_json::to_string(&self.words().live).expect("a struct of texts becomes JSON")
    }

    /// The number of rejected records that are left, if that is known exactly.
    pub(super) fn rejected_count(&self) -> Option<u64> {
        self.rejected.filter(|count| *count <= MAX_COUNTED.unsigned_abs())
    }

    /// The same number as a count, for the list without a filter.
    pub(super) fn left(&self) -> Option<Counted> {
        self.rejected.map(Counted::of_left)
    }

    pub(super) fn rejected_total(&self) -> String {
        match (self.rejected, self.rejected_count()) {
            (None | Some(0), _) => String::new(),
            (_, Some(count)) => format!(" {}", self.lang.number(count)),
            (_, None) => {
                format!(" {}", fill(self.words().more_than, self.lang.number(MAX_COUNTED)))
            }
        }
    }
}

impl NewestOrder {
    pub(super) fn href(&self) -> String {
        order_path(self.uid.as_str())
    }
}
