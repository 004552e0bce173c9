//! Couriers: create, change, find and list. The assignment of orders to them is not here.

use std::future::ready;

use chassis::postgres::{
    errors::bad_column,
    page::{Page, read_page},
    read::read,
    time_limit::{CHANGE, LIST},
    transaction::{TransactionError, change},
};
use futures_util::TryStreamExt as _;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use super::limit_lock_wait;
use crate::delivery::courier::{Courier, CourierChange, CourierId, NewCourier};

/// The reason why a courier was not stored.
#[derive(Debug, thiserror::Error)]
pub enum NotStored {
    #[error("another courier has this phone number")]
    PhoneTaken,
    #[error("no such courier")]
    Unknown,
    #[error(transparent)]
    Database(sqlx::Error),
}

impl From<sqlx::Error> for NotStored {
    fn from(error: sqlx::Error) -> Self {
        // The unique constraint decides, and no query before the write: two calls with the same
        // phone number may run at the same time.
        let constraint = error.as_database_error().and_then(|error| error.constraint());
        if constraint == Some("couriers_phone") { Self::PhoneTaken } else { Self::Database(error) }
    }
}

impl TransactionError for NotStored {
    fn database(&self) -> Option<&sqlx::Error> {
        let Self::Database(error) = self else { return None };
        Some(error)
    }
}

pub(crate) struct CourierRow {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) phone: String,
    pub(crate) transport_type: String,
    pub(crate) status: String,
    pub(crate) deliveries: i64,
    pub(crate) completed: i64,
    /// From the view `courier_figures`, not from the counter of the same name.
    pub(crate) on_time: i64,
    pub(crate) created_at: OffsetDateTime,
}

impl TryFrom<CourierRow> for Courier {
    type Error = sqlx::Error;

    fn try_from(row: CourierRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.id.try_into().map_err(|error| bad_column("couriers.couriers.id", error))?,
            name: row.name.parse().map_err(|error| bad_column("couriers.couriers.name", error))?,
            phone: row
                .phone
                .parse()
                .map_err(|error| bad_column("couriers.couriers.phone", error))?,
            status: row
                .status
                .parse()
                .map_err(|error| bad_column("couriers.couriers.status", error))?,
            transport_type: row
                .transport_type
                .parse()
                .map_err(|error| bad_column("couriers.couriers.transport_type", error))?,
            deliveries: row.deliveries,
            completed: row.completed,
            on_time: row.on_time,
            created_at: row.created_at,
        })
    }
}

/// Adds a courier. The caller wakes dispatch afterwards if the courier is available.
// If the outcome is unknown, a repeated call is safe, because the phone number is unique.
pub async fn create_courier(pool: &PgPool, courier: &NewCourier) -> Result<CourierId, NotStored> {
    change(pool, CHANGE, async |transaction| {
        let id = sqlx::query_scalar!(
            "-- create_courier\n\
             INSERT INTO couriers.couriers (name, phone, transport_type, status) \
             VALUES ($1, $2, $3, $4) RETURNING id",
            courier.name.as_ref(),
            courier.phone.as_ref(),
            courier.transport_type.as_str(),
            courier.status.as_str(),
        )
        .fetch_one(transaction)
        .await?;
        Ok(id.try_into().map_err(|error| bad_column("couriers.couriers.id", error))?)
    })
    .await
}

/// Changes a courier. A courier who is resumed while they carry an order is busy, not available.
///
/// The caller wakes dispatch afterwards, also after an error: a match may have skipped the courier
/// while their row was locked here.
pub async fn update_courier(
    pool: &PgPool,
    id: CourierId,
    changed: &CourierChange,
) -> Result<Courier, NotStored> {
    change(pool, CHANGE, async |transaction| {
        limit_lock_wait(transaction).await?;
        // A separate statement, so that the next one has a new snapshot. A transaction that held
        // this lock may just have freed the courier, and the next statement must see that.
        lock_courier(transaction, id).await?.ok_or(NotStored::Unknown)?;
        Ok(change_courier(transaction, id, changed).await?)
    })
    .await
}

// The courier's row is locked, so no other transaction can assign them an order now. One that ends
// their delivery at the same time waits for this lock, and then changes the row that this leaves.
async fn change_courier(
    transaction: &mut PgConnection,
    id: CourierId,
    change: &CourierChange,
) -> Result<Courier, sqlx::Error> {
    let row = sqlx::query_as!(
        CourierRow,
        "-- update_courier\n\
         UPDATE couriers.couriers SET \
             name = coalesce($2, name), \
             phone = coalesce($3, phone), \
             transport_type = coalesce($4, transport_type), \
             status = CASE \
                 WHEN $5::text IS NULL THEN status \
                 WHEN $5 = 'available' AND EXISTS ( \
                     SELECT FROM couriers.active_deliveries WHERE courier_id = $1 \
                 ) THEN 'busy' \
                 ELSE $5 \
             END, \
             free_since = CASE \
                 WHEN $5 = 'available' AND status = 'paused' THEN clock_timestamp() ELSE free_since \
             END \
         WHERE id = $1 \
         RETURNING id, name, phone, transport_type, status, deliveries, completed, \
             (SELECT on_time FROM couriers.courier_figures AS figures WHERE figures.id = $1) \
                 AS \"on_time!\", \
             created_at",
        id.get(),
        change.name.as_ref().map(AsRef::as_ref),
        change.phone.as_ref().map(AsRef::as_ref),
        change.transport_type.map(|transport| transport.as_str()),
        change.status.map(|status| status.as_str()),
    )
    .fetch_one(transaction)
    .await?;
    row.try_into()
}

// NO KEY UPDATE is enough, because the id never changes. It does not block the foreign-key checks
// of other transactions that insert or change deliveries of this courier.
async fn lock_courier(
    transaction: &mut PgConnection,
    id: CourierId,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "-- lock_courier\nSELECT id FROM couriers.couriers WHERE id = $1 FOR NO KEY UPDATE",
        id.get(),
    )
    .fetch_optional(transaction)
    .await
}

pub async fn find_courier(
    connection: &mut PgConnection,
    id: CourierId,
) -> Result<Option<Courier>, sqlx::Error> {
    let row = sqlx::query_as!(
        CourierRow,
        "-- find_courier\n\
         SELECT id, name, phone, transport_type, status, deliveries, completed, \
             (SELECT on_time FROM couriers.courier_figures AS figures \
                 WHERE figures.id = couriers.id) AS \"on_time!\", \
             created_at \
         FROM couriers.couriers WHERE id = $1",
        id.get(),
    )
    .fetch_optional(connection)
    .await?;
    row.map(TryInto::try_into).transpose()
}

/// Returns one page of couriers, by id, after the given one.
pub async fn list_couriers(
    pool: &PgPool,
    after: Option<CourierId>,
    limit: i64,
) -> Result<Page<Courier>, sqlx::Error> {
    read(pool, LIST, async |connection| {
        let rows = sqlx::query_as!(
            CourierRow,
            "-- list_couriers\n\
         SELECT id, name, phone, transport_type, status, deliveries, completed, \
             (SELECT on_time FROM couriers.courier_figures AS figures \
                 WHERE figures.id = couriers.id) AS \"on_time!\", \
             created_at \
         FROM couriers.couriers WHERE id > $1 ORDER BY id LIMIT $2",
            after.map_or(0, CourierId::get),
            limit + 1,
        )
        .fetch(connection)
        .and_then(|row| ready(row.try_into()));
        read_page(rows, limit, |_| size_of::<Courier>()).await
    })
    .await
}
