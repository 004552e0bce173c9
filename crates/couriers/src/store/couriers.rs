//! Couriers: create, change, find and list. The assignment of orders to them is not here.

use std::future::ready;

use chassis::postgres::{
    errors::{bad_column, parse_column},
    page::{Page, read_page},
    read::read,
    time_limit::{CHANGE, LIST, limit_lock_wait},
    transaction::{TransactionError, change},
};
use futures_util::TryStreamExt as _;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use crate::delivery::{
    Actor,
    courier::{Courier, CourierChange, CourierId, CourierStatus, NewCourier, RequestedStatus},
};

/// The reason why a courier was not stored.
#[derive(Debug, thiserror::Error)]
pub enum NotStored {
    #[error("another courier has this phone number")]
    PhoneTaken,
    /// The places of the couriers whose phone numbers are taken.
    #[error("other couriers have these phone numbers")]
    PhonesTaken(Vec<usize>),
    #[error("no such courier")]
    Unknown,
    #[error("the courier carries an order")]
    Carries,
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

struct CourierRow {
    id: i64,
    name: String,
    phone: String,
    transport_type: String,
    status: String,
    deliveries: i64,
    completed: i64,
    /// From the view `courier_figures`, not from the counter of the same name.
    on_time: i64,
    created_at: OffsetDateTime,
}

impl TryFrom<CourierRow> for Courier {
    type Error = sqlx::Error;

    fn try_from(row: CourierRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.id.try_into().map_err(|error| bad_column("couriers.couriers.id", error))?,
            name: parse_column(&row.name, "couriers.couriers.name")?,
            phone: parse_column(&row.phone, "couriers.couriers.phone")?,
            status: parse_column(&row.status, "couriers.couriers.status")?,
            transport_type: parse_column(&row.transport_type, "couriers.couriers.transport_type")?,
            deliveries: row.deliveries,
            completed: row.completed,
            on_time: row.on_time,
            created_at: row.created_at,
        })
    }
}

/// Adds a courier. The caller wakes dispatch afterwards if the courier is available.
// If the outcome is unknown, a repeated call is safe, because the phone number is unique.
pub async fn create_courier(
    pool: &PgPool,
    courier: &NewCourier,
    actor: Option<&Actor>,
) -> Result<CourierId, NotStored> {
    let ids = create_couriers(pool, std::slice::from_ref(courier), actor).await;
    let ids = ids.map_err(|error| match error {
        NotStored::PhonesTaken(_) => NotStored::PhoneTaken,
        error => error,
    })?;
    Ok(ids.into_iter().next().expect("an id for each courier"))
}

/// Adds couriers, all or none, and returns their ids in the same order.
pub async fn create_couriers(
    pool: &PgPool,
    couriers: &[NewCourier],
    actor: Option<&Actor>,
) -> Result<Vec<CourierId>, NotStored> {
    let column = |value: fn(&NewCourier) -> &str| -> Vec<String> {
        couriers.iter().map(|courier| value(courier).to_owned()).collect()
    };
    let phones = column(|courier| courier.phone.as_ref());
    change(pool, CHANGE, async |transaction| {
        let taken = find_taken(transaction, &phones).await?;
        if !taken.is_empty() {
            return Err(NotStored::PhonesTaken(taken));
        }
        // Another transaction may take a phone number after the check: then the unique index
        // decides.
        let ids = sqlx::query_scalar!(
            "-- create_couriers\n\
             WITH added AS ( \
                 INSERT INTO couriers.couriers (name, phone, transport_type, status) \
                 SELECT name, phone, transport_type, status \
                 FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY \
                     AS new (name, phone, transport_type, status, place) \
                 ORDER BY place \
                 RETURNING id \
             ), logged AS ( \
                 INSERT INTO couriers.delivery_log (at, status, courier_id, cause, actor) \
                 SELECT clock_timestamp(), 'added', id, 'manual', $5::text FROM added \
             ) \
             SELECT id FROM added ORDER BY id",
            &column(|courier| courier.name.as_ref()),
            &phones,
            &column(|courier| courier.transport_type.as_str()),
            &column(|courier| courier.status.as_str()),
            actor.map(AsRef::as_ref) as Option<&str>,
        )
        .fetch_all(transaction)
        .await?;
        let bad = |error| bad_column("couriers.couriers.id", error);
        let ids = ids.into_iter().map(TryInto::try_into).collect::<Result<_, _>>();
        Ok(ids.map_err(bad)?)
    })
    .await
}

/// Returns the places of the phone numbers that couriers have.
async fn find_taken(
    transaction: &mut PgConnection,
    phones: &[String],
) -> Result<Vec<usize>, sqlx::Error> {
    let places = sqlx::query_scalar!(
        "-- find_taken\n\
         SELECT place AS \"place!\" \
         FROM UNNEST($1::text[]) WITH ORDINALITY AS new (phone, place) \
         WHERE EXISTS ( \
             SELECT FROM couriers.courier_phones AS taken WHERE taken.phone = new.phone OFFSET 0 \
         ) ORDER BY place",
        phones,
    )
    .fetch_all(transaction)
    .await?;
    Ok(places.into_iter().map(|place| usize::try_from(place - 1).unwrap_or(0)).collect())
}

/// Changes a courier. A courier who is resumed while they carry an order is busy, not available.
///
/// The caller wakes dispatch afterwards, also after an error: a match may have skipped the courier
/// while their row was locked here.
pub async fn update_courier(
    pool: &PgPool,
    id: CourierId,
    changed: &CourierChange,
    actor: Option<&Actor>,
) -> Result<Courier, NotStored> {
    change(pool, CHANGE, async |transaction| {
        limit_lock_wait(transaction).await?;
        // A separate statement, so that the next one has a new snapshot. A transaction that held
        // this lock may just have freed the courier, and the next statement must see that.
        lock_courier(transaction, id).await?.ok_or(NotStored::Unknown)?;
        // No other transaction can assign an order to the courier now: that needs the lock of their
        // row.
        let is_retired = changed.status == Some(RequestedStatus::Retired);
        if is_retired && carries(transaction, id).await? {
            return Err(NotStored::Carries);
        }
        Ok(change_courier(transaction, id, changed, actor).await?)
    })
    .await
}

async fn carries(transaction: &mut PgConnection, id: CourierId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        "-- carries\n\
         SELECT EXISTS (SELECT FROM couriers.active_deliveries WHERE courier_id = $1) AS \"carries!\"",
        id.get(),
    )
    .fetch_one(transaction)
    .await
}

/// Changes a courier and writes the entries of the log: one for other values of name, phone or
/// transport, and one for another status. The entries are not sent, so they are not in the outbox.
// The courier's row is locked, so no other transaction can assign them an order now, and the numbers
// of one courier's entries rise. A transaction that ends their delivery at the same time waits for
// this lock, and then changes the row that this leaves.
async fn change_courier(
    transaction: &mut PgConnection,
    id: CourierId,
    change: &CourierChange,
    actor: Option<&Actor>,
) -> Result<Courier, sqlx::Error> {
    let row = sqlx::query_as!(
        CourierRow,
        "-- update_courier\n\
         WITH before AS ( \
             SELECT name, phone, transport_type, status FROM couriers.couriers WHERE id = $1 \
         ), changed AS ( \
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
                     WHEN $5 = 'available' AND status IN ('paused', 'retired') THEN clock_timestamp() \
                     ELSE free_since \
                 END \
             WHERE id = $1 \
             RETURNING id, name, phone, transport_type, status, deliveries, completed, created_at \
         ), logged AS ( \
             INSERT INTO couriers.delivery_log (at, status, courier_id, cause, actor) \
             SELECT clock_timestamp(), entry.status, $1, 'manual', $6::text \
             FROM changed CROSS JOIN before CROSS JOIN LATERAL (VALUES \
                 (CASE WHEN (changed.name, changed.phone, changed.transport_type) \
                         <> (before.name, before.phone, before.transport_type) \
                     THEN 'changed' END), \
                 (CASE \
                     WHEN (changed.status = 'retired') <> (before.status = 'retired') \
                         THEN CASE changed.status WHEN 'retired' THEN 'retired' ELSE 'restored' END \
                     WHEN (changed.status = 'paused') <> (before.status = 'paused') \
                         THEN CASE changed.status WHEN 'paused' THEN 'paused' ELSE 'resumed' END \
                 END) \
             ) AS entry (status) \
             WHERE entry.status IS NOT NULL \
         ) \
         SELECT id, name, phone, transport_type, status, deliveries, completed, \
             (SELECT on_time FROM couriers.courier_figures AS figures WHERE figures.id = $1) \
                 AS \"on_time!\", \
             created_at \
         FROM changed",
        id.get(),
        change.name.as_ref().map(AsRef::as_ref),
        change.phone.as_ref().map(AsRef::as_ref),
        change.transport_type.map(|transport| transport.as_str()),
        change.status.map(|status| status.as_str()),
        actor.map(AsRef::as_ref) as Option<&str>,
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
        "-- lock_courier\n\
         SELECT id FROM couriers.couriers WHERE id = $1 FOR NO KEY UPDATE",
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

/// The couriers of a list.
#[derive(Debug, Clone, Default)]
pub struct CourierFilter {
    /// Only couriers with this status; without it, all who are not retired.
    pub status: Option<CourierStatus>,
    /// Only couriers whose name or phone number contains this text, in any letter case.
    pub text: Option<String>,
}

/// Returns one page of couriers, by id, after the given one.
pub async fn list_couriers(
    pool: &PgPool,
    filter: &CourierFilter,
    after: Option<CourierId>,
    limit: i64,
) -> Result<Page<Courier>, sqlx::Error> {
    // The text is not a pattern.
    let pattern = filter.text.as_deref().map(|text| {
        format!("%{}%", text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_"))
    });
    read(pool, LIST, async |connection| {
        let rows = sqlx::query_as!(
            CourierRow,
            "-- list_couriers\n\
         SELECT id, name, phone, transport_type, status, deliveries, completed, \
             (SELECT on_time FROM couriers.courier_figures AS figures \
                 WHERE figures.id = couriers.id) AS \"on_time!\", \
             created_at \
         FROM couriers.couriers \
         WHERE id > $1 AND CASE WHEN $3::text IS NULL THEN status <> 'retired' ELSE status = $3 END \
             AND ($4::text IS NULL OR name ILIKE $4 OR phone LIKE $4) \
         ORDER BY id LIMIT $2",
            after.map_or(0, CourierId::get),
            limit + 1,
            filter.status.map(CourierStatus::as_str) as Option<&str>,
            pattern.as_deref() as Option<&str>,
        )
        .fetch(connection)
        .and_then(|row| ready(row.try_into()));
        read_page(rows, limit, |_| size_of::<Courier>()).await
    })
    .await
}
