//! Random histories. Each runs on a real database and on a model; both must agree after every step.

use std::{collections::BTreeMap, time::Duration};

use couriers::{
    delivery::{
        ReleasedOrders,
        courier::{CourierChange, CourierId, RequestedStatus},
    },
    dispatch::{MatchCursor, mark_overdue, release_overdue, requeue},
    store::{self, NotAssigned, NotStored, NotUnassigned, Then},
};
use events::OrderStatus;
use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};
use sqlx::PgPool;
use testkit::{CourierDatabase, shared};
use time::OffsetDateTime;

use crate::support::{TIMES, apply, assert_invariants, at, courier, match_from, uid};

const ORDERS: [&str; 5] = ["a", "b", "c", "d", "e"];

#[derive(Debug, Clone)]
enum Step {
    Apply(Batch),
    Match,
    Add(RequestedStatus),
    SetStatus(usize, RequestedStatus),
    /// Assigns an order to the first available courier, or to a chosen one.
    Assign(usize, Option<usize>),
    Unassign(usize, Then),
    /// Moves the deadline of an order's delivery far into the past, and sweeps.
    Overdue(usize, ReleasedOrders),
    /// Continues with new connections, as after a restart.
    Restart,
}

/// Later than the time of every event, in seconds.
const AFTER_ALL_EVENTS: i64 = 1_000_000;

/// A batch of events.
#[derive(Debug, Clone)]
struct Batch {
    events: Vec<(usize, OrderStatus)>,
    /// The number of times that the batch is delivered.
    times: usize,
    age_seconds: i64,
}

fn step() -> impl Strategy<Value = Step> {
    let order = 0..ORDERS.len();
    let new = select(&[RequestedStatus::Available, RequestedStatus::Paused][..]);
    let requested = select(
        &[
            RequestedStatus::Available,
            RequestedStatus::Available,
            RequestedStatus::Paused,
            RequestedStatus::Retired,
        ][..],
    );
    let status = select(
        &[
            OrderStatus::Created,
            OrderStatus::Created,
            OrderStatus::Created,
            OrderStatus::Pending,
            OrderStatus::Delivering,
            OrderStatus::Completed,
            OrderStatus::Completed,
            OrderStatus::Cancelled,
        ][..],
    );
    prop_oneof![
        6 => (vec((order.clone(), status), 1..6), 1..3usize, select(&[0, 0, 1_000][..]))
            .prop_map(|(events, times, age_seconds)| {
                Step::Apply(Batch { events, times, age_seconds })
            }),
        4 => Just(Step::Match),
        2 => new.prop_map(Step::Add),
        2 => (0..4usize, requested).prop_map(|(courier, status)| Step::SetStatus(courier, status)),
        1 => order.clone().prop_map(|order| Step::Assign(order, None)),
        2 => (order.clone(), 0..4usize)
            .prop_map(|(order, courier)| Step::Assign(order, Some(courier))),
        2 => (order.clone(), select(&[Then::Hold, Then::Wait][..]))
            .prop_map(|(order, then)| Step::Unassign(order, then)),
        1 => (order, select(&[ReleasedOrders::Keep, ReleasedOrders::Requeue][..]))
            .prop_map(|(order, released)| Step::Overdue(order, released)),
        1 => Just(Step::Restart),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // In half of the histories, the couriers of one order are late often, so that the order is queued
    // again as often as it may be, and is then kept.
    let late = Just(Step::Overdue(0, ReleasedOrders::Requeue));
    let late = prop_oneof![step(), Just(Step::Match), late];
    prop_oneof![vec(step(), 1..40), vec(late, 1..40)]
}

/// An order in the model.
#[derive(Debug, Clone, Default, PartialEq)]
struct Order {
    rank: i16,
    /// The time of its `created`; for an order that was assigned before, that of the assignment.
    created: Option<i64>,
    /// Its place in the queue.
    waiting: Option<i64>,
    held: bool,
    courier: Option<usize>,
    /// The deadline has passed, and the courier was freed.
    released: bool,
    /// The courier that it was taken from.
    taken_from: Option<usize>,
    /// The number of times that the sweep has queued the order again.
    requeues: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Courier {
    /// As it was requested last.
    status: RequestedStatus,
    deliveries: i64,
    completed: i64,
    on_time: i64,
    /// The model's clock when the courier was added or freed.
    free_since: i64,
}

#[derive(Debug, Default)]
struct Model {
    orders: BTreeMap<usize, Order>,
    couriers: Vec<Courier>,
    clock: i64,
    /// The entries of the log about each order: the status and the courier.
    log: BTreeMap<usize, Vec<(&'static str, Option<usize>)>>,
    /// The entries about each courier.
    courier_log: Vec<Vec<&'static str>>,
}

impl Model {
    fn carries(&self, courier: usize) -> bool {
        let is_active = |order: &&Order| order.rank < 5 && !order.released;
        self.orders.values().filter(is_active).any(|order| order.courier == Some(courier))
    }

    fn is_available(&self, courier: usize) -> bool {
        self.couriers[courier].status == RequestedStatus::Available && !self.carries(courier)
    }

    fn first_available(&self) -> Option<usize> {
        self.first_available_except(None)
    }

    /// Returns the first available courier; `except` only if no other is available.
    fn first_available_except(&self, except: Option<usize>) -> Option<usize> {
        let available = (0..self.couriers.len()).filter(|c| self.is_available(*c));
        available.min_by_key(|c| {
            let courier = self.couriers[*c];
            (Some(*c) == except, courier.deliveries, courier.free_since, *c)
        })
    }

    fn note(&mut self, order: usize, status: &'static str, courier: Option<usize>) {
        self.log.entry(order).or_default().push((status, courier));
    }

    fn apply(&mut self, batch: &[(usize, OrderStatus)], at: i64) {
        let mut freed = Vec::new();
        for order in 0..ORDERS.len() {
            let statuses = batch.iter().filter(|event| event.0 == order).map(|event| event.1);
            let Some(rank) = statuses.clone().max().map(OrderStatus::rank) else { continue };
            let known = self.orders.entry(order).or_default();
            let before = known.rank;
            known.rank = before.max(rank);
            let is_created = statuses.into_iter().any(|status| status == OrderStatus::Created);
            if known.created.is_none() && is_created {
                (known.created, known.waiting) = (Some(at), Some(at));
            }
            if known.rank >= 5 {
                (known.waiting, known.held) = (None, false);
            }
            let (rank, carrier, released) = (known.rank, known.courier, known.released);
            if rank > before && rank >= 5 {
                let status = if rank == 5 { "completed" } else { "cancelled" };
                self.log.entry(order).or_default().push((status, carrier));
            }
            let Some(courier) = carrier.filter(|_| rank > before) else { continue };
            if rank >= 5 && before < 5 && !released {
                freed.push(courier);
            }
            let courier = &mut self.couriers[courier];
            if rank == 5 {
                courier.completed += 1;
                courier.on_time += i64::from(!released);
            } else if rank == 6 {
                courier.deliveries -= 1;
                courier.completed -= i64::from(before == 5);
                courier.on_time -= i64::from(before == 5 && !released);
                (known.courier, known.released) = (None, false);
            }
        }
        // All couriers of one batch are freed at the same time.
        self.free(freed);
    }

    fn free(&mut self, couriers: impl IntoIterator<Item = usize>) {
        self.clock += 1;
        for courier in couriers {
            self.couriers[courier].free_since = self.clock;
        }
    }

    fn release(&mut self, order: usize, released: ReleasedOrders) {
        let active = self.orders.get_mut(&order).filter(|order| order.rank < 5 && !order.released);
        let Some((courier, known)) = active.and_then(|order| Some((order.courier?, order))) else {
            return;
        };
        let is_requeued = released == ReleasedOrders::Requeue && known.requeues < 2;
        if is_requeued {
            (known.courier, known.taken_from) = (None, Some(courier));
            known.waiting = known.created;
            known.requeues += 1;
            self.couriers[courier].deliveries -= 1;
        } else {
            known.released = true;
        }
        self.free([courier]);
        self.note(order, "overdue", Some(courier));
        self.note(order, "released", Some(courier));
        if is_requeued {
            self.note(order, "requeued", Some(courier));
        }
    }

    fn assign(&mut self, order: usize, courier: usize) {
        self.couriers[courier].deliveries += 1;
        self.note(order, "assigned", Some(courier));
        let order = self.orders.get_mut(&order).unwrap();
        self.clock += 1;
        (order.waiting, order.held) = (None, false);
        order.created = order.created.or(Some(AFTER_ALL_EVENTS + self.clock));
        (order.courier, order.taken_from) = (Some(courier), None);
    }

    /// Gives the order of a delivery to another courier, or a released one to the same courier.
    fn move_order(&mut self, order: usize, to: usize) {
        let known = self.orders.get_mut(&order).unwrap();
        let former = known.courier.replace(to).unwrap();
        let was_released = std::mem::take(&mut known.released);
        self.couriers[to].deliveries += 1;
        self.couriers[former].deliveries -= 1;
        self.note(order, "reassigned", Some(to));
        if !was_released {
            self.free([former]);
        }
    }

    /// Matches the orders that were taken from a courier and wait, each with another courier.
    fn match_requeued(&mut self) {
        let requeued = self.orders.iter().filter(|(_, order)| !order.held);
        let mut requeued: Vec<_> = requeued
            .filter_map(|(n, order)| Some((order.waiting?, *n, order.taken_from?)))
            .collect();
        requeued.sort_unstable();
        for (_, order, from) in requeued {
            let courier = self.first_available_except(Some(from));
            if let Some(courier) = courier.filter(|courier| *courier != from) {
                self.assign(order, courier);
            }
        }
    }

    fn match_all(&mut self) {
        self.match_requeued();
        loop {
            let waiting = self.orders.iter();
            let waiting = waiting.filter(|(_, order)| !order.held && order.taken_from.is_none());
            let first = waiting.filter_map(|(n, order)| Some((order.waiting?, *n))).min();
            let (Some((_, order)), Some(courier)) = (first, self.first_available()) else { return };
            self.assign(order, courier);
        }
    }
}

/// The id, the rank, four flags and the courier of an order.
type StateRow = (String, i16, bool, bool, bool, bool, Option<i64>);

async fn assert_agrees(database: &CourierDatabase, model: &Model) {
    let rows: Vec<StateRow> = sqlx::query_as(
        "SELECT order_id, rank, created_at IS NOT NULL, waiting_since IS NOT NULL, held_at IS NOT NULL, \
             without_courier, courier_id \
         FROM couriers.order_states LEFT JOIN couriers.courier_orders USING (order_id) ORDER BY order_id",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    let wanted: Vec<_> = model
        .orders
        .iter()
        .map(|(n, order)| {
            let courier = order.courier.map(|courier| courier as i64 + 1);
            let waits = order.waiting.is_some();
            let without_courier = order.rank == 5 && courier.is_none();
            let name = ORDERS[*n].to_owned();
            (name, order.rank, order.created.is_some(), waits, order.held, without_courier, courier)
        })
        .collect();
    assert_eq!(rows, wanted, "{model:?}");
    let rows: Vec<(i64, String, i64, i64, i64)> = sqlx::query_as(
        "SELECT id, status, deliveries, completed, on_time FROM couriers.couriers ORDER BY id",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    let wanted: Vec<_> = (0..model.couriers.len())
        .map(|courier| {
            let one = model.couriers[courier];
            let status = match one.status {
                RequestedStatus::Available if model.carries(courier) => "busy",
                status => status.as_str(),
            };
            (courier as i64 + 1, status.to_owned(), one.deliveries, one.completed, one.on_time)
        })
        .collect();
    assert_eq!(rows, wanted, "{model:?}");
    assert_log_agrees(&database.pool, model).await;
    assert_invariants(&database.pool).await;
}

/// Asserts that the log has the entries of the model, and that every entry about an order is in the
/// outbox, because no sender runs here.
async fn assert_log_agrees(pool: &PgPool, model: &Model) {
    let rows: Vec<(String, String, Option<i64>)> = sqlx::query_as(
        "SELECT order_id, status, entry.courier_id FROM couriers.delivery_log AS entry \
         JOIN couriers.delivery_outbox USING (order_id, number, status) ORDER BY order_id, number",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let wanted: Vec<_> = model
        .log
        .iter()
        .flat_map(|(n, entries)| entries.iter().map(|entry| (ORDERS[*n].to_owned(), *entry)))
        .map(|(name, (status, courier))| (name, status.to_owned(), courier.map(|c| c as i64 + 1)))
        .collect();
    assert_eq!(rows, wanted, "{model:?}");
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "SELECT courier_id, status FROM couriers.delivery_log WHERE order_id IS NULL \
         ORDER BY courier_id, number",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let wanted: Vec<_> = (1..)
        .zip(&model.courier_log)
        .flat_map(|(id, statuses)| statuses.iter().map(move |status| (id, (*status).to_owned())))
        .collect();
    assert_eq!(rows, wanted, "{model:?}");
}

/// Moves the deadline of an active delivery before all events, and sweeps.
async fn expire(pool: &PgPool, order_id: &str, treatment: ReleasedOrders) {
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query(
        "UPDATE couriers.active_deliveries SET assigned_at = $1, deadline = $1 WHERE order_id = $2",
    )
    .bind(at(-2_000))
    .bind(order_id)
    .execute(&mut *transaction)
    .await
    .unwrap();
    mark_overdue(&mut transaction).await.unwrap();
    let now = OffsetDateTime::now_utc();
    let released = release_overdue(&mut transaction, Duration::ZERO, now).await.unwrap();
    if treatment == ReleasedOrders::Requeue {
        requeue(&mut transaction, &released).await.unwrap();
    }
    transaction.commit().await.unwrap();
}

/// A history that runs on a real database and on the model.
struct History<'a> {
    database: &'a CourierDatabase,
    pool: PgPool,
    model: Model,
    /// The cursor of all wake-ups since the last match.
    cursor: MatchCursor,
}

impl<'a> History<'a> {
    async fn new(database: &'a CourierDatabase) -> Self {
        let mut administrator = database.administrator().await;
        sqlx::raw_sql(
            "TRUNCATE couriers.couriers, couriers.courier_orders, couriers.order_states, \
                 couriers.delivery_log, couriers.delivery_outbox, couriers.totals RESTART IDENTITY",
        )
        .execute(&mut administrator)
        .await
        .unwrap();
        let (pool, cursor) = (database.pool.clone(), MatchCursor::START);
        Self { database, pool, model: Model::default(), cursor }
    }

    async fn run(&mut self, step: &Step, second: i64) {
        match step {
            Step::Apply(batch) => self.apply(batch, second).await,
            Step::Match => {
                match_from(&self.pool, std::mem::replace(&mut self.cursor, MatchCursor::END)).await;
                self.model.match_all();
            }
            Step::Add(status) => self.add(*status).await,
            Step::SetStatus(number, status) => self.set_status(*number, *status).await,
            Step::Assign(order, to) => self.assign(*order, *to).await,
            Step::Unassign(order, then) => self.unassign(*order, *then).await,
            Step::Overdue(order, released) => {
                expire(&self.pool, ORDERS[*order], *released).await;
                self.model.release(*order, *released);
            }
            Step::Restart => {
                // A pool with the same options, and with new connections.
                self.pool = PgPool::connect(&self.database.url).await.unwrap();
            }
        }
        // Only events give a later cursor. After manual actions, a release or a restart, dispatch
        // searches both queues from their start.
        if !matches!(step, Step::Apply(_) | Step::Match) {
            self.cursor = MatchCursor::START;
        }
        assert_agrees(self.database, &self.model).await;
    }

    async fn apply(&mut self, batch: &Batch, second: i64) {
        let second = second - batch.age_seconds;
        let events: Vec<_> =
            batch.events.iter().map(|(n, status)| (ORDERS[*n], *status, at(second))).collect();
        for _ in 0..batch.times {
            self.cursor = self.cursor.earlier(apply(&self.pool, &events).await);
            self.model.apply(&batch.events, second);
        }
    }

    async fn add(&mut self, status: RequestedStatus) {
        let number = self.model.couriers.len();
        store::create_courier(&self.pool, &courier(number as u64, status), None).await.unwrap();
        let new = Courier { status, deliveries: 0, completed: 0, on_time: 0, free_since: 0 };
        self.model.couriers.push(new);
        self.model.courier_log.push(vec!["added"]);
        self.model.free([number]);
    }

    async fn set_status(&mut self, number: usize, status: RequestedStatus) {
        let change = CourierChange { status: Some(status), ..CourierChange::default() };
        let id = CourierId::try_from(number as i64 + 1).unwrap();
        let changed = store::update_courier(&self.pool, id, &change, None).await;
        let Some(before) = self.model.couriers.get(number).map(|courier| courier.status) else {
            assert!(matches!(changed, Err(NotStored::Unknown)));
            return;
        };
        if status == RequestedStatus::Retired && self.model.carries(number) {
            assert!(matches!(changed, Err(NotStored::Carries)));
            return;
        }
        changed.unwrap();
        self.model.couriers[number].status = status;
        use RequestedStatus::{Available, Paused, Retired};
        let logged = match (before, status) {
            (Available | Paused, Retired) => "retired",
            (Retired, Available | Paused) => "restored",
            (Available, Paused) => "paused",
            (Paused, Available) => "resumed",
            (Available, Available) | (Paused, Paused) | (Retired, Retired) => return,
        };
        self.model.courier_log[number].push(logged);
        if status == Available {
            self.model.free([number]);
        }
    }

    async fn assign(&mut self, order: usize, to: Option<usize>) {
        let id = to.map(|to| CourierId::try_from(to as i64 + 1).unwrap());
        let assigned = store::assign(&self.pool, &uid(ORDERS[order]), id, &TIMES, None).await;
        let known = self.model.orders.get(&order).cloned().unwrap_or_default();
        if known.rank >= 5 {
            assert!(matches!(assigned, Err(NotAssigned::Ended(_))));
            return;
        }
        if known.courier.is_some() && !known.released && (to.is_none() || to == known.courier) {
            assert!(matches!(assigned, Err(NotAssigned::Already(_))));
            return;
        }
        let courier = match to {
            Some(to) if to >= self.model.couriers.len() => {
                assert!(matches!(assigned, Err(NotAssigned::UnknownCourier)));
                return;
            }
            Some(to) if !self.model.is_available(to) => {
                assert!(matches!(assigned, Err(NotAssigned::NotAvailable(_))));
                return;
            }
            Some(to) => Some(to),
            None => self.model.first_available_except(known.courier.or(known.taken_from)),
        };
        let Some(courier) = courier else {
            assert!(matches!(assigned, Err(NotAssigned::NoCourier)));
            return;
        };
        assert_eq!(assigned.unwrap().courier_id.get(), courier as i64 + 1);
        if known.courier.is_some() {
            self.model.move_order(order, courier);
        } else {
            self.model.orders.entry(order).or_default();
            self.model.assign(order, courier);
        }
    }

    async fn unassign(&mut self, order: usize, then: Then) {
        let unassigned = store::unassign(&self.pool, &uid(ORDERS[order]), then, None).await;
        let Some(known) = self.model.orders.get_mut(&order) else {
            assert!(matches!(unassigned, Err(NotUnassigned::Unknown)));
            return;
        };
        if known.rank >= 5 {
            assert!(matches!(unassigned, Err(NotUnassigned::Ended(_))));
            return;
        }
        let Some(courier) = known.courier.take() else {
            assert!(matches!(unassigned, Err(NotUnassigned::NotAssigned)));
            return;
        };
        assert_eq!(unassigned.unwrap().get(), courier as i64 + 1);
        (known.waiting, known.held) = (known.created, then == Then::Hold);
        known.taken_from = Some(courier);
        let was_released = std::mem::take(&mut known.released);
        self.model.couriers[courier].deliveries -= 1;
        self.model.note(order, then.logged().as_str(), Some(courier));
        if !was_released {
            self.model.free([courier]);
        }
    }
}

#[test]
fn the_database_agrees_with_the_model_after_every_step() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(CourierDatabase::new(shared()));
    let config = ProptestConfig {
        cases: 64,
        max_shrink_iters: 2_000,
        source_file: Some(file!()),
        ..ProptestConfig::default()
    };

    let outcome = TestRunner::new(config).run(&(0..4, steps()), |(couriers, steps)| {
        runtime.block_on(async {
            let mut history = History::new(&database).await;
            for _ in 0..couriers {
                history.add(RequestedStatus::Available).await;
            }
            for (second, step) in (0..).zip(&steps) {
                history.run(step, second).await;
            }
        });
        Ok(())
    });

    outcome.unwrap();
}
