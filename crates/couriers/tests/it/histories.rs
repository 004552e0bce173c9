//! Random histories, driven against the real database and against a model; the two agree after
//! every step.

use std::{collections::BTreeMap, time::Duration};

use couriers::{
    delivery::courier::{AskedStatus, CourierChange, CourierId},
    dispatch::{Front, release_overdue},
    store::{self, NotAssigned, NotUnassigned},
};
use events::OrderStatus;
use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};
use sqlx::PgPool;
use testkit::{CourierDatabase, shared};

use crate::support::{TIMES, all_holds, at, courier, match_from, tell, uid};

const ORDERS: [&str; 5] = ["a", "b", "c", "d", "e"];

#[derive(Debug, Clone)]
enum Step {
    /// A batch of events, told as often as it says, so many seconds old when Kafka stamped it.
    Tell(Vec<(usize, OrderStatus)>, usize, i64),
    Match,
    Add(AskedStatus),
    Ask(usize, AskedStatus),
    Assign(usize),
    Unassign(usize),
    /// The deadline of an order's delivery turns out to be long past.
    Overdue(usize),
    /// Another process goes on.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let order = 0..ORDERS.len();
    let asked = select(&[AskedStatus::Available, AskedStatus::Paused][..]);
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
            .prop_map(|(events, times, age)| Step::Tell(events, times, age)),
        4 => Just(Step::Match),
        2 => asked.clone().prop_map(Step::Add),
        2 => (0..4usize, asked).prop_map(|(courier, asked)| Step::Ask(courier, asked)),
        1 => order.clone().prop_map(Step::Assign),
        1 => order.clone().prop_map(Step::Unassign),
        1 => order.prop_map(Step::Overdue),
        1 => Just(Step::Restart),
    ]
}

// The model.
#[derive(Debug, Clone, Default, PartialEq)]
struct Order {
    rank: i16,
    created: bool,
    /// Its place in the queue.
    waiting: Option<i64>,
    held: bool,
    courier: Option<usize>,
    /// Its deadline is past, and its courier has been freed.
    released: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Courier {
    paused: bool,
    deliveries: i64,
    completed: i64,
    on_time: i64,
    /// When he was freed or added, in steps.
    free_since: i64,
}

#[derive(Debug, Default)]
struct Model {
    orders: BTreeMap<usize, Order>,
    couriers: Vec<Courier>,
    clock: i64,
}

impl Model {
    fn carries(&self, courier: usize) -> bool {
        let is_active = |order: &&Order| order.rank < 5 && !order.released;
        self.orders.values().filter(is_active).any(|order| order.courier == Some(courier))
    }

    fn best(&self) -> Option<usize> {
        let is_available = |c: &usize| !self.couriers[*c].paused && !self.carries(*c);
        let available = (0..self.couriers.len()).filter(is_available);
        available.min_by_key(|c| (self.couriers[*c].deliveries, self.couriers[*c].free_since, *c))
    }

    fn tell(&mut self, batch: &[(usize, OrderStatus)], at: i64) {
        let mut freed = Vec::new();
        for order in 0..ORDERS.len() {
            let told = batch.iter().filter(|event| event.0 == order).map(|event| event.1);
            let Some(rank) = told.clone().max().map(OrderStatus::rank) else { continue };
            let known = self.orders.entry(order).or_default();
            let before = known.rank;
            known.rank = before.max(rank);
            if !known.created && told.into_iter().any(|status| status == OrderStatus::Created) {
                (known.created, known.waiting) = (true, Some(at));
            }
            if known.rank >= 5 {
                (known.waiting, known.held) = (None, false);
            }
            let (rank, carrier, released) = (known.rank, known.courier, known.released);
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
        // Those of one batch at one moment.
        self.free(freed);
    }

    fn free(&mut self, couriers: impl IntoIterator<Item = usize>) {
        self.clock += 1;
        for courier in couriers {
            self.couriers[courier].free_since = self.clock;
        }
    }

    fn release(&mut self, order: usize) {
        let active = self.orders.get_mut(&order).filter(|order| order.rank < 5 && !order.released);
        let Some((courier, known)) = active.and_then(|order| Some((order.courier?, order))) else {
            return;
        };
        known.released = true;
        self.free([courier]);
    }

    fn give(&mut self, order: usize, courier: usize) {
        self.couriers[courier].deliveries += 1;
        let order = self.orders.get_mut(&order).unwrap();
        (order.waiting, order.held, order.created) = (None, false, true);
        order.courier = Some(courier);
    }

    fn match_all(&mut self) {
        loop {
            let waiting = self.orders.iter().filter(|(_, order)| !order.held);
            let first = waiting.filter_map(|(n, order)| Some((order.waiting?, *n))).min();
            let (Some((_, order)), Some(courier)) = (first, self.best()) else { return };
            self.give(order, courier);
        }
    }
}

async fn compare(database: &CourierDatabase, model: &Model) {
    let rows: Vec<(String, i16, bool, bool, bool, Option<i64>)> = sqlx::query_as(
        "SELECT order_id, rank, created_at IS NOT NULL, waiting_since IS NOT NULL, held_at IS NOT NULL, courier_id \
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
            (ORDERS[*n].to_owned(), order.rank, order.created, waits, order.held, courier)
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
            let status = match (one.paused, model.carries(courier)) {
                (true, _) => "paused",
                (false, true) => "busy",
                (false, false) => "available",
            };
            (courier as i64 + 1, status.to_owned(), one.deliveries, one.completed, one.on_time)
        })
        .collect();
    assert_eq!(rows, wanted, "{model:?}");
    all_holds(&database.pool).await;
}

/// Puts a delivery that is not over before all events, and releases it.
async fn expire(pool: &PgPool, order_id: &str) {
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query(
        "UPDATE couriers.courier_orders SET assigned_at = $1, deadline = $1 \
         WHERE order_id = $2 AND completed_at IS NULL AND released_at IS NULL",
    )
    .bind(at(-2_000))
    .bind(order_id)
    .execute(&mut *transaction)
    .await
    .unwrap();
    release_overdue(&mut transaction, Duration::ZERO).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn drive(database: &CourierDatabase, steps: &[Step]) {
    let mut pool = database.pool.clone();
    let mut administrator = database.administrator().await;
    sqlx::raw_sql("TRUNCATE couriers.couriers, couriers.courier_orders, couriers.order_states RESTART IDENTITY")
        .execute(&mut administrator)
        .await
        .unwrap();
    let mut model = Model::default();
    // What dispatch was last woken with and has not seen to.
    let mut front = Front::START;
    for (second, step) in (0..).zip(steps) {
        let pool = &mut pool;
        match step {
            Step::Tell(batch, times, age) => {
                let second = second - age;
                let events: Vec<_> = batch
                    .iter()
                    .map(|(order, status)| (ORDERS[*order], *status, at(second)))
                    .collect();
                for _ in 0..*times {
                    front = front.and(tell(pool, &events).await);
                    model.tell(batch, second);
                }
            }
            Step::Overdue(order) => {
                expire(pool, ORDERS[*order]).await;
                model.release(*order);
            }
            Step::Restart => {
                // A pool of the same options, none of whose connections has seen anything.
                *pool = PgPool::connect(&database.url).await.unwrap();
            }
            Step::Match => {
                match_from(pool, std::mem::replace(&mut front, Front::END)).await;
                model.match_all();
            }
            Step::Add(status) => {
                let number = model.couriers.len();
                store::create_courier(pool, &courier(number as u64, *status)).await.unwrap();
                let paused = *status == AskedStatus::Paused;
                model.couriers.push(Courier { paused, ..Courier::default() });
                model.free([number]);
            }
            Step::Ask(number, status) => {
                let change = CourierChange { status: Some(*status), ..CourierChange::default() };
                let id = CourierId::try_from(*number as i64 + 1).unwrap();
                let changed = store::update_courier(pool, id, &change).await;
                assert_eq!(changed.is_ok(), *number < model.couriers.len());
                if let Some(courier) = model.couriers.get_mut(*number) {
                    let was_paused = courier.paused;
                    courier.paused = *status == AskedStatus::Paused;
                    if was_paused && !courier.paused {
                        model.free([*number]);
                    }
                }
            }
            Step::Assign(order) => {
                let assigned = store::assign(pool, &uid(ORDERS[*order]), &TIMES).await;
                let known = model.orders.get(order);
                match (known, model.best()) {
                    (Some(known), _) if known.rank >= 5 => {
                        assert!(matches!(assigned, Err(NotAssigned::Ended(_))));
                    }
                    (Some(Order { courier: Some(_), .. }), _) => {
                        assert!(matches!(assigned, Err(NotAssigned::Already(_))));
                    }
                    (_, None) => assert!(matches!(assigned, Err(NotAssigned::NoCourier))),
                    (_, Some(best)) => {
                        assert_eq!(assigned.unwrap().courier_id.get(), best as i64 + 1);
                        model.orders.entry(*order).or_default();
                        model.give(*order, best);
                    }
                }
            }
            Step::Unassign(order) => {
                let taken = store::unassign(pool, &uid(ORDERS[*order])).await;
                match model.orders.get_mut(order) {
                    None => assert!(matches!(taken, Err(NotUnassigned::Unknown))),
                    Some(known) if known.rank >= 5 => {
                        assert!(matches!(taken, Err(NotUnassigned::Ended(_))));
                    }
                    Some(known) => match known.courier.take() {
                        None => assert!(matches!(taken, Err(NotUnassigned::NotAssigned))),
                        Some(courier) => {
                            assert_eq!(taken.unwrap().get(), courier as i64 + 1);
                            (known.waiting, known.held) = (Some(0), true);
                            let was_released = std::mem::take(&mut known.released);
                            model.couriers[courier].deliveries -= 1;
                            if !was_released {
                                model.free([courier]);
                            }
                        }
                    },
                }
            }
        }
        // Only what events tell says where to begin: hands, the sweep that releases, and a process
        // that starts have dispatch look anywhere.
        if !matches!(step, Step::Tell(..) | Step::Match | Step::Assign(_)) {
            front = Front::START;
        }
        compare(database, &model).await;
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
    TestRunner::new(config)
        .run(&vec(step(), 1..40), |steps| {
            runtime.block_on(drive(&database, &steps));
            Ok(())
        })
        .unwrap();
}
