//! The rows of one list of the board, a page at a time.
//!
//! A page begins after a [`Place`] of its list, so each is a range of one index, however long the list
//! is. A page may also have an end: that reads again the rows that a reader sees.

use std::{future::ready, str::FromStr};

use chassis::postgres::{
    errors::{bad_column, parse_column},
    page::{Page, read_page},
};
use events::{CourierId, Transport};
use futures_util::TryStreamExt as _;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::delivery::{
    DeliveryState,
    courier::{CourierStatus, Name, Phone},
};

/// The status of a paused courier, as in the database.
pub(super) const PAUSED: &str = "paused";

/// A list of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// Orders that wait for a courier, oldest first.
    Waiting,
    /// Held orders, by the time from which they are held.
    Held,
    /// Orders whose delivery was released, by the time of the release.
    Released,
    /// Active deliveries whose deadline has passed, by their deadline.
    Overdue,
    /// All active deliveries, by their deadline.
    Road,
    /// Couriers who are free, as the match takes them: fewest deliveries first, then longest idle.
    Free,
    /// Paused couriers, in the same sequence.
    Paused,
    /// Retired couriers, in the same sequence.
    Retired,
}

impl List {
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Held,
        Self::Overdue,
        Self::Released,
        Self::Road,
        Self::Free,
        Self::Paused,
        Self::Retired,
    ];

    /// Returns the word in an address.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Released => "released",
            Self::Overdue => "overdue",
            Self::Road => "road",
            Self::Free => "free",
            Self::Paused => "paused",
            Self::Retired => "retired",
        }
    }

    /// Returns true for a list of orders, which a range of time may limit.
    #[must_use]
    pub fn has_orders(self) -> bool {
        !matches!(self, Self::Free | Self::Paused | Self::Retired)
    }
}

impl FromStr for List {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|one| one.as_str() == word)
            .ok_or("must be waiting, held, released, overdue, road, free, paused or retired")
    }
}

/// The place of a row in its list: the values by which the list is sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Order { at: OffsetDateTime, order_id: String },
    Courier { deliveries: i64, free_since: OffsetDateTime, id: i64 },
}

/// A part of a list.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// Only orders from this time on: the time from which they wait, are held or are released, or the
    /// time of their assignment.
    pub from: Option<OffsetDateTime>,
    /// Only rows after this one.
    pub after: Option<Place>,
    /// Only rows up to this one.
    pub until: Option<Place>,
}

/// An order on the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    pub order_id: String,
    pub state: DeliveryState,
    /// The time from which it waits, is held or is released; else the time of its last status.
    pub since: OffsetDateTime,
    /// The courier who carries it, or had it before.
    pub courier: Option<CourierOfOrder>,
    /// The delivery, unless the order has none.
    pub carried: Option<Carried>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CourierOfOrder {
    pub id: CourierId,
    pub name: Name,
}

/// The delivery of an order, as the board shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    pub transport_type: Transport,
    pub assigned_at: OffsetDateTime,
    pub deadline: OffsetDateTime,
    pub is_courier_paused: bool,
}

/// A courier on the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CourierRow {
    pub id: CourierId,
    pub name: Name,
    pub phone: Phone,
    pub status: CourierStatus,
    pub transport_type: Transport,
    pub deliveries: i64,
    pub free_since: OffsetDateTime,
    /// The order that they carry.
    pub order_id: Option<String>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    pub orders: Vec<OrderRow>,
    pub couriers: Vec<CourierRow>,
    /// True if there are more rows after these.
    pub has_next: bool,
}

impl Rows {
    pub(super) fn of_orders(page: Page<OrderRow>) -> Self {
        Self { orders: page.rows, couriers: Vec::new(), has_next: page.has_next }
    }

    pub(super) fn of_couriers(page: Page<CourierRow>) -> Self {
        Self { orders: Vec::new(), couriers: page.rows, has_next: page.has_next }
    }

    /// Returns the place of the last row.
    #[must_use]
    pub fn end(&self) -> Option<Place> {
        if let Some(last) = self.couriers.last() {
            let CourierRow { deliveries, free_since, .. } = *last;
            return Some(Place::Courier { deliveries, free_since, id: last.id.get() });
        }
        let last = self.orders.last()?;
        let at = last.carried.as_ref().map_or(last.since, |carried| carried.deadline);
        Some(Place::Order { at, order_id: last.order_id.clone() })
    }
}

/// Returns at most `limit` rows of a list.
pub async fn read_rows(
    connection: &mut PgConnection,
    list: List,
    window: &Window,
    limit: i64,
) -> Result<Rows, sqlx::Error> {
    match list {
        List::Waiting | List::Held | List::Released => {
            without_courier(connection, list, window, limit).await.map(Rows::of_orders)
        }
        List::Overdue | List::Road => {
            on_road(connection, list, window, limit).await.map(Rows::of_orders)
        }
        List::Free | List::Paused | List::Retired => {
            couriers(connection, list, window, limit).await.map(Rows::of_couriers)
        }
    }
}

/// Returns the two values of an order's place.
fn of_order(place: Option<&Place>) -> (Option<OffsetDateTime>, Option<&str>) {
    match place {
        Some(Place::Order { at, order_id }) => (Some(*at), Some(order_id)),
        _ => (None, None),
    }
}

/// Returns the three values of a courier's place.
fn of_courier(place: Option<&Place>) -> (Option<i64>, Option<OffsetDateTime>, Option<i64>) {
    match place {
        Some(Place::Courier { deliveries, free_since, id }) => {
            (Some(*deliveries), Some(*free_since), Some(*id))
        }
        _ => (None, None, None),
    }
}

async fn without_courier(
    connection: &mut PgConnection,
    list: List,
    window: &Window,
    limit: i64,
) -> Result<Page<OrderRow>, sqlx::Error> {
    let state = match list {
        List::Held => DeliveryState::Held,
        List::Released => DeliveryState::Released,
        _ => DeliveryState::Waiting,
    };
    let (after, until) = (of_order(window.after.as_ref()), of_order(window.until.as_ref()));
    let rows = sqlx::query_file!(
        "queries/rows_without_courier.sql",
        list.as_str(),
        window.from,
        after.0,
        after.1,
        until.0,
        until.1,
        limit + 1,
    );
    let rows = rows.fetch(connection).and_then(|row| {
        ready(courier_of_order(row.courier_id, row.name).map(|courier| OrderRow {
            order_id: row.order_id,
            state,
            since: row.since,
            courier,
            carried: None,
        }))
    });
    read_page(rows, limit, |_| size_of::<OrderRow>()).await
}

async fn on_road(
    connection: &mut PgConnection,
    list: List,
    window: &Window,
    limit: i64,
) -> Result<Page<OrderRow>, sqlx::Error> {
    let (after, until) = (of_order(window.after.as_ref()), of_order(window.until.as_ref()));
    let rows = sqlx::query_file!(
        "queries/rows_on_road.sql",
        list == List::Overdue,
        window.from,
        after.0,
        after.1,
        until.0,
        until.1,
        limit + 1,
    );
    let rows = rows.fetch(connection).and_then(|row| {
        let courier = courier_of_order(Some(row.courier_id), Some(row.name));
        let transport_type =
            parse_column(&row.transport_type, "couriers.courier_orders.transport_type");
        let is_courier_paused = row.status == PAUSED;
        ready(courier.and_then(|courier| {
            Ok(OrderRow {
                order_id: row.order_id,
                // The page compares the deadline with its own time.
                state: DeliveryState::Assigned,
                since: row.assigned_at,
                courier,
                carried: Some(Carried {
                    transport_type: transport_type?,
                    assigned_at: row.assigned_at,
                    deadline: row.deadline,
                    is_courier_paused,
                }),
            })
        }))
    });
    read_page(rows, limit, |_| size_of::<OrderRow>()).await
}

async fn couriers(
    connection: &mut PgConnection,
    list: List,
    window: &Window,
    limit: i64,
) -> Result<Page<CourierRow>, sqlx::Error> {
    let status = match list {
        List::Paused => CourierStatus::Paused,
        List::Retired => CourierStatus::Retired,
        _ => CourierStatus::Available,
    };
    let (after, until) = (of_courier(window.after.as_ref()), of_courier(window.until.as_ref()));
    let rows = sqlx::query_file_as!(
        StoredCourier,
        "queries/rows_of_couriers.sql",
        status.as_str(),
        after.0,
        after.1,
        after.2,
        until.0,
        until.1,
        until.2,
        limit + 1,
    );
    let rows = rows.fetch(connection).and_then(|row| ready(row.try_into()));
    read_page(rows, limit, |_| size_of::<CourierRow>()).await
}

pub(super) fn courier_of_order(
    id: Option<i64>,
    name: Option<String>,
) -> Result<Option<CourierOfOrder>, sqlx::Error> {
    let (Some(id), Some(name)) = (id, name) else { return Ok(None) };
    Ok(Some(CourierOfOrder {
        id: id
            .try_into()
            .map_err(|error| bad_column("couriers.courier_orders.courier_id", error))?,
        name: parse_column(&name, "couriers.couriers.name")?,
    }))
}

/// A courier's row, before its values are parsed.
pub(super) struct StoredCourier {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) phone: String,
    pub(super) status: String,
    pub(super) transport_type: String,
    pub(super) deliveries: i64,
    pub(super) free_since: OffsetDateTime,
    pub(super) order_id: Option<String>,
}

impl TryFrom<StoredCourier> for CourierRow {
    type Error = sqlx::Error;

    fn try_from(row: StoredCourier) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.id.try_into().map_err(|error| bad_column("couriers.couriers.id", error))?,
            name: parse_column(&row.name, "couriers.couriers.name")?,
            phone: parse_column(&row.phone, "couriers.couriers.phone")?,
            status: parse_column(&row.status, "couriers.couriers.status")?,
            transport_type: parse_column(&row.transport_type, "couriers.couriers.transport_type")?,
            deliveries: row.deliveries,
            free_since: row.free_since,
            order_id: row.order_id,
        })
    }
}
