//! Applies events without Kafka, adds couriers, matches, and checks the invariants.

use std::{collections::BTreeMap, sync::OnceLock, time::Duration};

use chassis::kafka::record::{Position, milliseconds};
use couriers::{
    delivery::{
        DeliveryTimes,
        courier::{CourierId, NewCourier, RequestedStatus, Transport},
        fold,
    },
    dispatch::{self, MatchCursor, match_pairs},
    store,
};
use events::{OrderStatus, OrderUid};
use sqlx::{PgConnection, PgPool};
use testkit::CourierDatabase;
use time::OffsetDateTime;

pub(crate) const TIMES: DeliveryTimes = DeliveryTimes {
    on_foot: Duration::from_secs(1_800),
    scooter: Duration::from_secs(900),
    car: Duration::from_secs(300),
};

pub(crate) fn uid(name: &str) -> OrderUid {
    name.parse().unwrap()
}

/// Returns a time as from Kafka's clock: `second` seconds after a start that is one hour before the
/// first call.
pub(crate) fn at(second: i64) -> OffsetDateTime {
    static START: OnceLock<OffsetDateTime> = OnceLock::new();
    let start = START.get_or_init(|| OffsetDateTime::now_utc() - Duration::from_secs(3_600));
    // PostgreSQL stores microseconds.
    start.replace_nanosecond(0).unwrap() + time::Duration::seconds(second)
}

/// Applies one batch of events, as intake does.
pub(crate) async fn apply(
    pool: &PgPool,
    events: &[(&str, OrderStatus, OffsetDateTime)],
) -> MatchCursor {
    let events: Vec<_> =
        events.iter().map(|(name, status, at)| (uid(name), *status, *at)).collect();
    let events = (0..).zip(&events).map(|(offset, (order_id, status, at))| {
        let timestamp_ms = milliseconds(*at);
        (order_id, *status, Position { timestamp_ms, partition: 0, offset })
    });
    let mut transaction = pool.begin().await.unwrap();
    let cursor = store::apply(&mut transaction, "statuses", &fold(events)).await.unwrap();
    transaction.commit().await.unwrap();
    cursor
}

/// Applies one batch of events, and asserts that no row changes.
pub(crate) async fn assert_no_change_by(
    pool: &PgPool,
    events: &[(&str, OrderStatus, OffsetDateTime)],
) {
    let before = all_rows(pool).await;

    apply(pool, events).await;

    assert_eq!(all_rows(pool).await, before, "{events:?}");
}

async fn all_rows(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT o::text FROM couriers.order_states AS o UNION ALL \
         SELECT d::text FROM couriers.courier_orders AS d UNION ALL \
         SELECT c::text FROM couriers.couriers AS c UNION ALL \
         SELECT l::text FROM couriers.delivery_log AS l ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

/// Matches until no pair is left, as a sweep does.
pub(crate) async fn match_all(pool: &PgPool) -> Vec<dispatch::Match> {
    match_from(pool, MatchCursor::START).await
}

/// Matches until no pair is left, as dispatch does after a wake-up.
pub(crate) async fn match_from(pool: &PgPool, mut cursor: MatchCursor) -> Vec<dispatch::Match> {
    let mut all = Vec::new();
    loop {
        let matches = match_pairs(pool, &TIMES, cursor).await.unwrap();
        cursor = MatchCursor::END;
        let is_last = matches.len() < dispatch::MATCH_ROWS;
        all.extend(matches);
        if is_last {
            return all;
        }
    }
}

pub(crate) fn courier(number: u64, status: RequestedStatus) -> NewCourier {
    NewCourier {
        name: format!("Courier {number}").parse().unwrap(),
        phone: format!("+7{number:010}").parse().unwrap(),
        status,
        transport_type: Transport::ALL[(number % 3) as usize],
    }
}

pub(crate) async fn add_couriers(pool: &PgPool, number: u64) -> Vec<CourierId> {
    let mut ids = Vec::new();
    for number in 0..number {
        let new = courier(number, RequestedStatus::Available);
        ids.push(store::create_courier(pool, &new, None).await.unwrap());
    }
    ids
}

/// Returns each broken invariant with the number of violations, from one snapshot.
pub(crate) async fn broken_invariants(connection: &mut PgConnection) -> BTreeMap<String, i64> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as(include_str!("invariants.sql")).fetch_all(connection).await.unwrap();
    rows.into_iter().filter(|(_, number)| *number > 0).collect()
}

pub(crate) async fn assert_invariants(pool: &PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    assert_eq!(broken_invariants(&mut connection).await, BTreeMap::new());
}

pub(crate) async fn scalar(database: &CourierDatabase, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(&database.pool).await.unwrap()
}
