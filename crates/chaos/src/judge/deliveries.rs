//! The tables of the courier service: the state and the delivery of each order, the couriers and
//! their counters, and the queue.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use time::OffsetDateTime;

use super::{Case, Position, progress::Progress, topics::Records};
use crate::finding::{
    CheckResult,
    FindingKind::{
        Altered, Duplicated, Foreign, IllegalStatus, Missing, TwoActiveDeliveries,
        WaitingWhileAvailable, WrongStatistics,
    },
};

const COMPLETED: i16 = 5;
const CANCELLED: i16 = 6;

/// Time that the dispatch may need in addition to two sweeps.
const SLACK: Duration = Duration::from_secs(3);

const STATES: &str = "-- judge_states
SELECT order_id, state.rank, state.created_at, state.changed_at, state.without_courier,
    state.waiting_since IS NOT NULL AS is_waiting, delivery.order_id IS NOT NULL AS has_delivery,
    coalesce(delivery.by_hand, false) OR state.held_at IS NOT NULL AS is_manual,
    delivery.completed_at, delivery.deadline, delivery.released_at IS NOT NULL AS is_released
FROM couriers.order_states AS state LEFT JOIN couriers.courier_orders AS delivery USING (order_id)";

/// A row of `order_states`, and its delivery.
struct State {
    id: String,
    rank: i16,
    created_at: Option<OffsetDateTime>,
    changed_at: OffsetDateTime,
    without_courier: bool,
    is_waiting: bool,
    has_delivery: bool,
    is_manual: bool,
    completed_at: Option<OffsetDateTime>,
    deadline: Option<OffsetDateTime>,
    is_released: bool,
}

/// Checks the state of each order. Positions of records without effect are added to `missing`.
pub(super) async fn check_states(
    case: &Case,
    database: &mut PgConnection,
    records: &mut Records,
    missing: &mut Vec<Position>,
) -> anyhow::Result<CheckResult> {
    let mut check = CheckResult::new(3, "order_states: each order follows from its events");
    let progress = Progress::new("couriers.order_states", case.traffic.orders.cast_signed());
    let mut rows = sqlx::query(STATES).fetch(database);
    while let Some(row) = rows.try_next().await? {
        progress.advance();
        check.checked += 1;
        check_state(case, &State::read(&row)?, records, &mut check);
    }
    for (number, slot) in records.slots.iter() {
        if let Some((_, position)) = slot.status.highest
            && !slot.has_state_row
        {
            missing.push(position);
            check.find(Missing, || format!("{} of {position}", case.traffic.id(number)));
        }
    }
    Ok(check)
}

fn check_state(case: &Case, state: &State, records: &mut Records, check: &mut CheckResult) {
    let id = &state.id;
    let Some(number) = case.traffic.order_number(id) else {
        return check.find(Foreign, || id.clone());
    };
    let slot = records.slots.get(number);
    let is_repeated = std::mem::replace(&mut slot.has_state_row, true);
    check.expect(!is_repeated, Duplicated, || id.clone());
    let status = slot.status;
    let Some((rank, first)) = status.highest else {
        // A manual assignment stores an order that no event has named.
        return check.expect(state.is_manual, Foreign, || format!("{id}: no event has a status"));
    };
    check.expect(state.rank == rank, IllegalStatus, || {
        format!("{id}: {} instead of {rank}", state.rank)
    });
    let is_within = |time: OffsetDateTime, (first, last): (i64, i64)| {
        (first..=last).contains(&Position::milliseconds(time))
    };
    let times = (first.timestamp_ms, status.last_ms);
    check.expect(state.rank != rank || is_within(state.changed_at, times), Altered, || {
        format!("{id}: changed_at is {}", state.changed_at)
    });
    let is_created = match (state.created_at, status.created_ms) {
        (None, None) => true,
        (Some(time), Some(times)) => is_within(time, times) || state.is_manual,
        (Some(_), None) => state.is_manual,
        (None, Some(_)) => false,
    };
    check.expect(is_created, Altered, || format!("{id}: created_at is {:?}", state.created_at));
    check.expect(legal(state), IllegalStatus, || {
        format!(
            "{id}: rank {}, waiting {}, delivery {}, completed {}",
            state.rank,
            state.is_waiting,
            state.has_delivery,
            state.completed_at.is_some()
        )
    });
    if let Some(time) = state.completed_at
        && state.rank == COMPLETED
    {
        check.expect(is_within(time, times), Altered, || format!("{id}: completed_at is {time}"));
    }
    // Everything that was sent before a delivery is due for release is applied before the release.
    if let Some((completed, deadline)) = state.completed_at.zip(state.deadline) {
        let is_in_time = completed < deadline + Duration::from_millis(case.overdue_grace_ms);
        check.expect(!(state.is_released && is_in_time), IllegalStatus, || {
            format!("{id}: released, although it was completed at {completed}, due at {deadline}")
        });
    }
    let without_courier = state.rank == COMPLETED && !state.has_delivery;
    check.expect(state.without_courier == without_courier, WrongStatistics, || {
        format!("{id}: without_courier is {}", state.without_courier)
    });
}

/// Returns true if queue and delivery agree with the status.
fn legal(state: &State) -> bool {
    match state.rank {
        CANCELLED => !state.is_waiting && !state.has_delivery,
        COMPLETED => !state.is_waiting && state.has_delivery == state.completed_at.is_some(),
        // An order that has not ended either waits or has a delivery, from the time when it is
        // created on.
        _ => {
            let is_created = state.created_at.is_some();
            state.completed_at.is_none() && (state.is_waiting != state.has_delivery) == is_created
        }
    }
}

impl State {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("order_id")?,
            rank: row.try_get("rank")?,
            created_at: row.try_get("created_at")?,
            changed_at: row.try_get("changed_at")?,
            without_courier: row.try_get("without_courier")?,
            is_waiting: row.try_get("is_waiting")?,
            has_delivery: row.try_get("has_delivery")?,
            is_manual: row.try_get("is_manual")?,
            completed_at: row.try_get("completed_at")?,
            deadline: row.try_get("deadline")?,
            is_released: row.try_get("is_released")?,
        })
    }
}

const DELIVERIES_WITHOUT_STATE: &str = "-- judge_deliveries
SELECT order_id FROM couriers.courier_orders AS delivery
WHERE NOT EXISTS (SELECT FROM couriers.order_states AS state WHERE state.order_id = delivery.order_id)";

const COURIERS: &str = "-- judge_couriers
SELECT courier.id, courier.status, courier.deliveries, courier.completed, courier.on_time,
    coalesce(own.deliveries, 0) AS own_deliveries, coalesce(own.completed, 0) AS own_completed,
    coalesce(own.on_time, 0) AS own_on_time, coalesce(own.read_late, 0) AS own_read_late,
    coalesce(own.active, 0) AS active, figures.on_time AS shown_on_time, figures.read_late
FROM couriers.couriers AS courier
LEFT JOIN couriers.courier_figures AS figures ON figures.id = courier.id
LEFT JOIN (
    SELECT courier_id, count(*) AS deliveries, count(completed_at) AS completed,
        count(*) FILTER (WHERE completed_at <= deadline) AS on_time,
        count(*) FILTER (WHERE completed_at < assigned_at) AS read_late,
        count(*) FILTER (WHERE completed_at IS NULL AND released_at IS NULL) AS active
    FROM couriers.courier_orders GROUP BY courier_id
) AS own ON own.courier_id = courier.id";

/// Checks the couriers: their deliveries, their status and their counters.
pub(super) async fn check_couriers(
    database: &mut PgConnection,
) -> anyhow::Result<[CheckResult; 2]> {
    let mut active = CheckResult::new(3, "couriers: one active delivery, and the status");
    let mut counters = CheckResult::new(4, "statistics: counters equal a recount");
    let orphans: Vec<String> =
        sqlx::query_scalar(DELIVERIES_WITHOUT_STATE).fetch_all(&mut *database).await?;
    for id in orphans {
        active.find(Foreign, || format!("{id}: a delivery of an unknown order"));
    }
    let mut rows = sqlx::query(COURIERS).fetch(database);
    while let Some(row) = rows.try_next().await? {
        let id: i64 = row.try_get("id")?;
        let number = |name: &str| row.try_get::<i64, _>(name);
        let count = number("active")?;
        active.checked += 1;
        active.expect(count <= 1, TwoActiveDeliveries, || format!("courier {id} has {count}"));
        let status: String = row.try_get("status")?;
        let is_possible = match status.as_str() {
            "busy" => count > 0,
            "available" | "retired" => count == 0,
            _ => true,
        };
        active.expect(is_possible, IllegalStatus, || {
            format!("courier {id} is {status} and has {count} active deliveries")
        });
        counters.checked += 1;
        let own = [number("own_deliveries")?, number("own_completed")?, number("own_on_time")?];
        let stored = [number("deliveries")?, number("completed")?, number("on_time")?];
        counters.expect(stored == own, WrongStatistics, || {
            format!("courier {id}: {stored:?} instead of {own:?}")
        });
        let late = number("own_read_late")?;
        let shown = (number("shown_on_time")?, number("read_late")?);
        let expected = (stored[2] - late, late);
        counters.expect(shown == expected, WrongStatistics, || {
            format!("courier {id}: on time and read late are {shown:?} instead of {expected:?}")
        });
    }
    Ok([active, counters])
}

// The conditions are written out here, and not taken from the functions that keep the totals.
const TOTALS: &str = "-- judge_totals
SELECT name, coalesce(total, 0)::bigint AS total, coalesce(counted, 0)::bigint AS counted
FROM (
    SELECT sum(available) AS available, sum(busy) AS busy, sum(paused) AS paused,
        sum(retired) AS retired, sum(deliveries) AS deliveries, sum(completed) AS completed,
        sum(on_time) AS on_time, sum(active) AS active, sum(overdue) AS overdue,
        sum(released) AS released, sum(read_late) AS read_late, sum(waiting) AS waiting,
        sum(held) AS held, sum(without_courier) AS without_courier
    FROM couriers.totals
) AS total_of, LATERAL (VALUES
    ('available', available, (SELECT count(*) FROM couriers.couriers WHERE status = 'available')),
    ('busy', busy, (SELECT count(*) FROM couriers.couriers WHERE status = 'busy')),
    ('paused', paused, (SELECT count(*) FROM couriers.couriers WHERE status = 'paused')),
    ('retired', retired, (SELECT count(*) FROM couriers.couriers WHERE status = 'retired')),
    ('deliveries', deliveries, (SELECT sum(deliveries) FROM couriers.couriers)),
    ('completed', completed, (SELECT sum(completed) FROM couriers.couriers)),
    ('on_time', on_time, (SELECT sum(on_time) FROM couriers.couriers)),
    ('active', active, (SELECT count(*) FROM couriers.courier_orders
        WHERE completed_at IS NULL AND released_at IS NULL)),
    ('overdue', overdue, (SELECT count(*) FROM couriers.courier_orders
        WHERE completed_at IS NULL AND released_at IS NULL AND overdue_at IS NOT NULL)),
    ('released', released, (SELECT count(*) FROM couriers.courier_orders
        WHERE completed_at IS NULL AND released_at IS NOT NULL)),
    ('read_late', read_late, (SELECT count(*) FROM couriers.courier_orders
        WHERE completed_at < assigned_at)),
    ('waiting', waiting, (SELECT count(*) FROM couriers.order_states
        WHERE waiting_since IS NOT NULL AND held_at IS NULL)),
    ('held', held, (SELECT count(*) FROM couriers.order_states WHERE held_at IS NOT NULL)),
    ('without_courier', without_courier, (SELECT count(*) FROM couriers.order_states
        WHERE without_courier))
) AS compared (name, total, counted)";

/// Checks the totals in one statement, and so in one snapshot.
pub(super) async fn check_totals(database: &mut PgConnection) -> anyhow::Result<CheckResult> {
    let mut check = CheckResult::new(4, "totals: equal a recount of the tables");
    for row in sqlx::query(TOTALS).fetch_all(database).await? {
        let name: String = row.try_get("name")?;
        let (total, counted): (i64, i64) = (row.try_get("total")?, row.try_get("counted")?);
        check.checked += 1;
        check.expect(total == counted, WrongStatistics, || {
            format!("{name}: {total} instead of {counted}")
        });
    }
    Ok(check)
}

// An order does not go back to the courier from whom it was taken, so another one must be available.
const WAITING: &str = "-- judge_queue
WITH available AS MATERIALIZED (
    SELECT id FROM couriers.couriers AS courier WHERE status = 'available' AND NOT EXISTS (
        SELECT FROM couriers.courier_orders AS delivery WHERE delivery.courier_id = courier.id
            AND completed_at IS NULL AND released_at IS NULL)
)
SELECT count(*) AS waiting, count(*) FILTER (WHERE is_possible) AS possible,
    (SELECT count(*) FROM available) AS available, min(order_id) FILTER (WHERE is_possible) AS example
FROM (
    SELECT order_id,
        EXISTS (SELECT FROM available WHERE id IS DISTINCT FROM taken_from) AS is_possible
    FROM couriers.order_states WHERE waiting_since IS NOT NULL AND held_at IS NULL
) AS queue";

/// Checks that no order waits for longer than two sweeps while a courier is available.
pub(super) async fn check_queue(
    case: &Case,
    database: &mut PgConnection,
) -> anyhow::Result<CheckResult> {
    let mut check = CheckResult::new(3, "queue: no order waits while a courier is available");
    if !case.couriers_run {
        check.not_checked = Some("the courier service does not run".to_owned());
        return Ok(check);
    }
    let limit = Duration::from_millis(case.dispatch_sweep_ms) * 2 + SLACK;
    let start = Instant::now();
    loop {
        let row = sqlx::query(WAITING).fetch_one(&mut *database).await?;
        let number = |name: &str| row.try_get::<i64, _>(name);
        check.checked = number("waiting")?.unsigned_abs();
        let (possible, available) = (number("possible")?, number("available")?);
        if possible == 0 {
            return Ok(check);
        }
        if start.elapsed() > limit {
            let example: Option<String> = row.try_get("example")?;
            check.find(WaitingWhileAvailable, || {
                format!("{possible} orders, such as {example:?}, and {available} couriers")
            });
            return Ok(check);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
