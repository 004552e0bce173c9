//! Replicas of the courier service that share few couriers among many orders, and are killed at it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rand::seq::IteratorRandom as _;
use sqlx::PgPool;
use testkit::{CourierDatabase, TestEnvironment, shared};
use time::OffsetDateTime;

use crate::support::Program;

const REPLICAS: usize = 8;
const COURIERS: i64 = 50;
/// How many are killed each time, and how often.
const KILLED: usize = 3;
const TIMES: usize = 3;
/// An order that waits as long as two sweeps, while the same courier is free, has been forgotten.
const FORGOTTEN: Duration = Duration::from_secs(2);
/// A customer who has not been heard says it again: whoever was to hear it may be dead.
const REPEAT: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn eight_replicas_killed_in_full_flow_give_each_order_one_courier_and_each_courier_one_order()
{
    killed_in_full_flow(10_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make test ARGS=\"-p waybill --test it dispatch -- --ignored\""]
async fn eight_replicas_killed_in_full_flow_serve_100_000_orders() {
    killed_in_full_flow(100_000).await;
}

async fn killed_in_full_flow(orders: usize) {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    sqlx::query(
        "INSERT INTO couriers.couriers (name, phone, transport_type, status) \
         SELECT 'c', '+7' || lpad(n::text, 10, '0'), 'car', 'available' FROM generate_series(1, $1) AS n",
    )
    .bind(COURIERS)
    .execute(&database.pool)
    .await
    .unwrap();
    let created: Vec<_> = (0..orders).map(|number| event(number, "created")).collect();
    for chunk in created.chunks(20_000) {
        env.send_all_to(&env.status_topic(), chunk.to_vec()).await;
    }

    let mut replicas: Vec<_> =
        (0..REPLICAS).map(|_| Program::start_couriers(&env, &database, &[], None)).collect();
    let mut world = World::new(&env, &database, orders);
    for time in 1..=TIMES {
        world.goes_on_until(orders * time / (TIMES + 1)).await;
        for _ in 0..KILLED {
            world.goes_on_for(Duration::from_millis(rand::random_range(0..200))).await;
            let place = (0..REPLICAS).choose(&mut rand::rng()).unwrap();
            replicas.swap_remove(place).kill().await;
            replicas.push(Program::start_couriers(&env, &database, &[], None));
        }
    }
    world.goes_on_until(orders).await;
    env.events_drained().await;
    for replica in replicas {
        assert!(replica.terminate().await.success());
    }
    nothing_is_broken(&database.pool).await;
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

fn event(order: usize, status: &str) -> (Vec<u8>, Vec<u8>) {
    let value = format!(
        r#"{{"order_id":"order-{order}","status":"{status}","created_at":"2025-08-06T12:00:00Z"}}"#
    );
    // Without a key, so that what is said again goes to another partition.
    (Vec::new(), value.into_bytes())
}

/// Customers who tell of each order that has reached them, and somebody who watches.
struct World<'a> {
    env: &'a TestEnvironment,
    pool: &'a PgPool,
    orders: usize,
    /// Orders that have reached their customers, and when that was last told.
    told: HashMap<String, Instant>,
    left: Option<Left>,
}

/// The order that is first in the queue, couriers who have been free as long, each with his time,
/// and since when that has been seen.
struct Left {
    order_id: String,
    free: Vec<(i64, OffsetDateTime)>,
    since: Instant,
}

impl<'a> World<'a> {
    fn new(env: &'a TestEnvironment, database: &'a CourierDatabase, orders: usize) -> Self {
        Self { env, pool: &database.pool, orders, told: HashMap::new(), left: None }
    }

    /// Goes on until so many orders are completed.
    async fn goes_on_until(&mut self, completed: usize) {
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            self.goes_on_for(Duration::from_millis(100)).await;
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
                (last, moved) = (done, Instant::now());
            }
            let patience = Duration::from_secs(60);
            assert!(moved.elapsed() < patience, "{done} of {} orders, and no more", self.orders);
        }
    }

    async fn goes_on_for(&mut self, time: Duration) {
        let begun = Instant::now();
        loop {
            self.tell().await;
            self.watch().await;
            if begun.elapsed() >= time {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        nothing_is_broken(self.pool).await;
    }

    async fn tell(&mut self) {
        let carried: Vec<String> = sqlx::query_scalar(
            "SELECT order_id FROM couriers.courier_orders \
             WHERE completed_at IS NULL AND released_at IS NULL",
        )
        .fetch_all(self.pool)
        .await
        .unwrap();
        self.told.retain(|order_id, _| carried.contains(order_id));
        for order_id in carried {
            if self.told.get(&order_id).is_none_or(|told| told.elapsed() > REPEAT) {
                let number = order_id.strip_prefix("order-").unwrap().parse().unwrap();
                self.env.enqueue_status(None, &event(number, "completed").1);
                self.told.insert(order_id, Instant::now());
            }
        }
    }

    async fn watch(&mut self) {
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
            self.left = None;
            return;
        };
        let before = self.left.take().filter(|left| left.order_id == order_id);
        let mut left =
            before.unwrap_or_else(|| Left { order_id, free: free.clone(), since: Instant::now() });
        left.free.retain(|courier| free.contains(courier));
        let Left { order_id, free, since } = &left;
        let is_left = !free.is_empty();
        assert!(
            !is_left || since.elapsed() < FORGOTTEN,
            "{order_id} waits while {free:?} are free"
        );
        self.left = is_left.then_some(left);
    }
}

/// What holds at any moment, as the courier service's own tests have it.
async fn nothing_is_broken(pool: &PgPool) {
    let rules: Vec<(String, i64)> =
        sqlx::query_as(include_str!("../../../../couriers/tests/it/invariants.sql"))
            .fetch_all(pool)
            .await
            .unwrap();
    let broken: Vec<_> = rules.into_iter().filter(|(_, number)| *number > 0).collect();
    assert!(broken.is_empty(), "{broken:?}");
}
