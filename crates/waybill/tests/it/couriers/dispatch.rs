//! Replicas of the courier service that dispatch many orders to few couriers, and are killed
//! meanwhile.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rand::seq::IteratorRandom as _;
use sqlx::PgPool;
use testkit::{CourierDatabase, TestEnvironment, shared, wait_until};
use time::OffsetDateTime;

use crate::support::{
    Program, add_courier, assert_courier_invariants, insert_couriers, keyless_event, metric,
    status_event, wait_for_delivery,
};

const REPLICAS: usize = 8;
const COURIERS: i64 = 50;
const KILLS_PER_ROUND: usize = 3;
const ROUNDS: usize = 3;
/// An order must not wait longer than two sweeps while the same courier is available.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// The time after which a completion is sent again, because the replica that read it may have been
/// killed.
const RESEND_INTERVAL: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn killed_replicas_give_each_order_one_courier() {
    assert_dispatched_despite_kills(10_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make test ARGS=\"-p waybill --test it dispatch -- --ignored\""]
async fn killed_replicas_serve_100_000_orders() {
    assert_dispatched_despite_kills(100_000).await;
}

async fn assert_dispatched_despite_kills(orders: usize) {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    insert_couriers(&database.pool, COURIERS).await;
    let created: Vec<_> =
        (0..orders).map(|number| keyless_event(&format!("order-{number}"), "created")).collect();
    for chunk in created.chunks(20_000) {
        env.send_all_to(&env.status_topic(), chunk.to_vec()).await;
    }

    let mut replicas: Vec<_> =
        (0..REPLICAS).map(|_| Program::start_couriers(&env, &database, &[], None)).collect();
    let mut customers = Customers::new(&env, &database, orders);
    for round in 1..=ROUNDS {
        customers.run_until(orders * round / (ROUNDS + 1)).await;
        for _ in 0..KILLS_PER_ROUND {
            customers.run_for(Duration::from_millis(rand::random_range(0..200))).await;
            let place = (0..REPLICAS).choose(&mut rand::rng()).unwrap();
            replicas.swap_remove(place).kill().await;
            replicas.push(Program::start_couriers(&env, &database, &[], None));
        }
    }
    customers.run_until(orders).await;
    env.wait_until_couriers_drained().await;
    for replica in replicas {
        assert!(replica.terminate().await.success());
    }
    assert_courier_invariants(&database.pool).await;
    let counts: (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM couriers.order_states WHERE rank = 5), \
             (SELECT count(*) FROM couriers.courier_orders WHERE completed_at IS NOT NULL), \
             sum(deliveries)::bigint, sum(completed)::bigint \
         FROM couriers.couriers WHERE status = 'available'",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    let orders = i64::try_from(orders).unwrap();
    assert_eq!(counts, (orders, orders, orders, orders), "each order was delivered once");
}

/// Customers, who complete every carried order. The queue is checked at each step.
struct Customers<'a> {
    env: &'a TestEnvironment,
    pool: &'a PgPool,
    orders: usize,
    /// The carried orders, each with the time at which its completion was last sent.
    completed: HashMap<String, Instant>,
    waiting: Option<Waiting>,
}

/// The first order in the queue, the time at which it was first seen there, and the couriers who
/// have been available since then.
struct Waiting {
    order_id: String,
    free: Vec<(i64, OffsetDateTime)>,
    since: Instant,
}

impl<'a> Customers<'a> {
    fn new(env: &'a TestEnvironment, database: &'a CourierDatabase, orders: usize) -> Self {
        Self { env, pool: &database.pool, orders, completed: HashMap::new(), waiting: None }
    }

    /// Completes orders until this number of them is completed.
    async fn run_until(&mut self, completed: usize) {
        let (mut last, mut changed_at) = (0, Instant::now());
        loop {
            self.run_for(Duration::from_millis(100)).await;
            let done: i64 =
                sqlx::query_scalar("SELECT sum(completed)::bigint FROM couriers.couriers")
                    .fetch_one(self.pool)
                    .await
                    .unwrap();
            let done = usize::try_from(done).unwrap();
            if done >= completed {
                return;
            }
            if done > last {
                (last, changed_at) = (done, Instant::now());
            }
            let limit = Duration::from_secs(60);
            assert!(
                changed_at.elapsed() < limit,
                "only {done} of {} orders are completed",
                self.orders
            );
        }
    }

    async fn run_for(&mut self, time: Duration) {
        let begun = Instant::now();
        loop {
            self.complete_carried().await;
            self.assert_queue_moves().await;
            if begun.elapsed() >= time {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_courier_invariants(self.pool).await;
    }

    async fn complete_carried(&mut self) {
        let carried: Vec<String> = sqlx::query_scalar(
            "SELECT order_id FROM couriers.courier_orders \
             WHERE completed_at IS NULL AND released_at IS NULL",
        )
        .fetch_all(self.pool)
        .await
        .unwrap();
        self.completed.retain(|order_id, _| carried.contains(order_id));
        for order_id in carried {
            if self.completed.get(&order_id).is_none_or(|sent| sent.elapsed() > RESEND_INTERVAL) {
                // Without a key, so that a repeat goes to another partition.
                self.env.enqueue_status(None, &status_event(&order_id, "completed"));
                self.completed.insert(order_id, Instant::now());
            }
        }
    }

    async fn assert_queue_moves(&mut self) {
        let free: Vec<(i64, OffsetDateTime)> = sqlx::query_as(
            "SELECT id, free_since FROM couriers.couriers WHERE status = 'available' ORDER BY id",
        )
        .fetch_all(self.pool)
        .await
        .unwrap();
        let first: Option<String> = sqlx::query_scalar(
            "SELECT order_id FROM couriers.order_states \
             WHERE waiting_since IS NOT NULL AND held_at IS NULL \
             ORDER BY waiting_since, order_id LIMIT 1",
        )
        .fetch_optional(self.pool)
        .await
        .unwrap();
        let Some(order_id) = first else {
            self.waiting = None;
            return;
        };
        let before = self.waiting.take().filter(|waiting| waiting.order_id == order_id);
        let mut waiting = before.unwrap_or_else(|| Waiting {
            order_id,
            free: free.clone(),
            since: Instant::now(),
        });
        waiting.free.retain(|courier| free.contains(courier));
        let Waiting { order_id, free, since } = &waiting;
        let may_be_assigned = !free.is_empty();
        assert!(
            !may_be_assigned || since.elapsed() < MAX_WAIT,
            "{order_id} waits while {free:?} are free"
        );
        self.waiting = may_be_assigned.then_some(waiting);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_courier_made_available_with_an_order_is_skipped() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let service = env.start_couriers(&database, &["--dispatch-sweep", "100ms"]).await;
    let send = async |order_id: &str, status: &str| {
        env.send_all_to(&env.status_topic(), [keyless_event(order_id, status)]).await;
    };
    let carrier = async |order_id: &str| {
        let delivery = wait_for_delivery(&service, order_id, "assigned").await;
        delivery["assignment"]["courier_id"].as_i64().unwrap()
    };
    let anna = add_courier(&service, "Anna", "car", "available").await;
    send("first", "created").await;
    assert_eq!(carrier("first").await, anna);
    let boris = add_courier(&service, "Boris", "car", "available").await;
    send("second", "created").await;
    assert_eq!(carrier("second").await, boris);

    let statement = "UPDATE couriers.couriers SET status = 'available' WHERE name = 'Anna'";
    sqlx::raw_sql(statement).execute(&database.pool).await.unwrap();
    send("third", "created").await;
    wait_for_delivery(&service, "third", "waiting").await;
    wait_until("Anna to be reported", async || {
        metric(&service, "waybill_couriers_skipped").await == 1.0
    })
    .await;
    send("second", "completed").await;
    assert_eq!(carrier("third").await, boris, "Anna carries the first order");

    send("first", "completed").await;
    send("fourth", "created").await;
    assert_eq!(carrier("fourth").await, anna);
    wait_until("no courier to be skipped", async || {
        metric(&service, "waybill_couriers_skipped").await == 0.0
    })
    .await;
    assert_courier_invariants(&database.pool).await;
    service.stop().await.unwrap();
}
