//! A large fleet in the tables of the courier service, consistent with its invariants.

use sqlx::PgPool;

/// A courier whose name is markup.
pub(crate) const MARKUP_NAME: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>";

/// The couriers and orders of a fleet. Its couriers have the names `Courier 1`, `Courier 2` and so on,
/// and the phone numbers `+70000000001` and so on; the first of them carry the orders `road-0001` and so
/// on, the next ones are paused, and the last ones are free.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fleet {
    pub(crate) busy: i32,
    /// The number of busy couriers whose deadline has passed.
    pub(crate) overdue: i32,
    pub(crate) paused: i32,
    pub(crate) free: i32,
    /// The orders `wait-0001` and so on; the first one has waited longest.
    pub(crate) waiting: i32,
    /// The orders `held-01` and so on, which were taken from the first paused courier.
    pub(crate) held: i32,
    /// The orders `released-01` and so on, each of another paused courier.
    pub(crate) released: i32,
}

const INSERT: [&str; 6] = [
    "INSERT INTO couriers.couriers (name, phone, transport_type, status, deliveries, free_since) \
     SELECT 'Courier ' || n, '+7' || lpad(n::text, 10, '0'), \
         (ARRAY['on_foot', 'scooter', 'car'])[1 + n % 3], \
         CASE WHEN n <= $1 THEN 'busy' WHEN n <= $1 + $2 THEN 'paused' ELSE 'available' END, \
         (n <= $1 OR (n > $1 AND n <= $1 + $5))::integer, now() - interval '1 s' * (10000 - n) \
     FROM generate_series(1, $1 + $2 + $3) AS n WHERE $4 >= 0 ORDER BY n",
    // The deliveries of busy couriers. The sweep notes those that are overdue.
    "WITH added AS ( \
         INSERT INTO couriers.order_states (order_id, rank, created_at, changed_at) \
         SELECT 'road-' || lpad(n::text, 4, '0'), 0, now() - interval '3 h', now() - interval '3 h' \
         FROM generate_series(1, $1) AS n WHERE $2 + $3 + $5 >= 0 RETURNING order_id \
     ), carried AS ( \
         INSERT INTO couriers.courier_orders \
             (order_id, courier_id, transport_type, assigned_at, deadline, by_hand) \
         SELECT 'road-' || lpad(n::text, 4, '0'), n, 'car', start, start + interval '1 h', false \
         FROM generate_series(1, $1) AS n, LATERAL ( \
             SELECT now() - CASE WHEN n <= $4 THEN interval '2 h' ELSE interval '10 min' END \
                 + interval '0.1 s' * n AS start \
         ) AS times \
         RETURNING order_id, courier_id, transport_type, deadline, assigned_at \
     ) \
     INSERT INTO couriers.delivery_log \
         (at, status, order_id, courier_id, transport_type, deadline, cause) \
     SELECT assigned_at, 'assigned', order_id, courier_id, transport_type, deadline, 'match' FROM carried",
    "INSERT INTO couriers.order_states (order_id, rank, created_at, changed_at, waiting_since) \
     SELECT 'wait-' || lpad(n::text, 4, '0'), 0, at, at, at FROM generate_series(1, $1) AS n, \
         LATERAL (SELECT now() - interval '10 s' * ($1 - n) AS at) AS times",
    "WITH added AS ( \
         INSERT INTO couriers.order_states \
             (order_id, rank, created_at, changed_at, waiting_since, held_at, taken_from) \
         SELECT 'held-' || lpad(n::text, 2, '0'), 0, at, at, at, at + interval '1 min', $2 \
         FROM generate_series(1, $1) AS n, \
             LATERAL (SELECT now() - interval '1 h' + interval '1 s' * n AS at) AS times \
         RETURNING order_id, held_at \
     ) \
     INSERT INTO couriers.delivery_log (at, status, order_id, courier_id, cause) \
     SELECT held_at, 'unassigned', order_id, $2, 'manual' FROM added",
    "WITH added AS ( \
         INSERT INTO couriers.order_states (order_id, rank, created_at, changed_at) \
         SELECT 'released-' || lpad(n::text, 2, '0'), 0, now() - interval '5 h', now() - interval '5 h' \
         FROM generate_series(1, $1) AS n RETURNING order_id \
     ), given AS ( \
         INSERT INTO couriers.courier_orders \
             (order_id, courier_id, transport_type, assigned_at, deadline, by_hand, overdue_at, released_at) \
         SELECT 'released-' || lpad(n::text, 2, '0'), $2 + n, 'car', now() - interval '5 h', \
             now() - interval '4 h', false, now() - interval '4 h', now() - interval '3 h' \
         FROM generate_series(1, $1) AS n RETURNING order_id, courier_id, transport_type, deadline, released_at \
     ) \
     INSERT INTO couriers.delivery_log \
         (at, status, order_id, courier_id, transport_type, deadline, cause) \
     SELECT released_at, 'released', order_id, courier_id, transport_type, deadline, 'sweep' FROM given",
    "INSERT INTO couriers.delivery_outbox (number, order_id, at) \
     SELECT number, order_id, at FROM couriers.delivery_log WHERE order_id IS NOT NULL AND $1",
];

/// Inserts a fleet into empty tables. Two couriers get names that a page must escape, and one has the
/// longest name.
pub(crate) async fn insert_fleet(pool: &PgPool, fleet: Fleet) {
    let mut transaction = pool.begin().await.unwrap();
    let [couriers, road, waiting, held, released, outbox] = INSERT;
    for statement in [couriers, road] {
        let (third, fourth) = match statement == couriers {
            true => (fleet.free, 0),
            false => (0, fleet.overdue),
        };
        sqlx::query(statement)
            .bind(fleet.busy)
            .bind(fleet.paused)
            .bind(third)
            .bind(fourth)
            .bind(fleet.released)
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    sqlx::query(waiting).bind(fleet.waiting).execute(&mut *transaction).await.unwrap();
    let first_paused = i64::from(fleet.busy + 1);
    for (statement, number, courier) in
        [(held, fleet.held, first_paused), (released, fleet.released, first_paused - 1)]
    {
        let query = sqlx::query(statement).bind(number).bind(courier);
        query.execute(&mut *transaction).await.unwrap();
    }
    sqlx::query(outbox).bind(true).execute(&mut *transaction).await.unwrap();
    for (id, name) in [(1, MARKUP_NAME), (2, "שלום \u{202e}evil"), (3, &*"Wide ".repeat(51))] {
        sqlx::query("UPDATE couriers.couriers SET name = $2 WHERE id = $1")
            .bind(i64::from(id))
            .bind(name.trim_end())
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
}
