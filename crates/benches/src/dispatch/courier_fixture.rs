//! The courier fixture: couriers, nine of ten of whom carry an order, and a sequence of events. The
//! events alternate between `created` of a new order and `completed` of the oldest carried order,
//! so that the number of carried orders stays the same.

use anyhow::ensure;
use sqlx::PgConnection;
use testkit::TestEnvironment;

/// The number of records that are given to the producer at once. Its queue can contain more.
const CHUNK: u64 = 20_000;
/// A prime, so that steps of this length reach every courier.
const SCATTER: i64 = 7_919;

#[derive(Clone, Copy)]
pub(super) struct CourierFixture {
    pub couriers: u64,
}

impl CourierFixture {
    /// Returns the number of orders that are carried at the start; new orders have the next
    /// numbers.
    fn carried(self) -> u64 {
        self.couriers / 10 * 9
    }

    /// Returns the key and the value of an event, by its place in the sequence.
    pub(super) fn event(self, place: u64) -> (Vec<u8>, Vec<u8>) {
        let (order, status) = match place % 2 {
            0 => (self.carried() + place / 2, "created"),
            _ => (place / 2, "completed"),
        };
        let id = order_id(order);
        let value = format!(
            r#"{{"order_id":"{id}","status":"{status}","created_at":"2026-01-01T10:00:00.000Z","version":1}}"#
        );
        (id.into_bytes(), value.into_bytes())
    }

    /// Sends the first events of the sequence to the topic.
    pub(super) async fn fill(self, env: &TestEnvironment, events: u64) {
        for first in (0..events).step_by(CHUNK as usize) {
            let chunk = first..events.min(first + CHUNK);
            let records = chunk.map(|place| self.event(place));
            env.send_all_to(&env.status_topic(), records).await;
        }
    }

    /// Fills the tables with the state before the first event.
    pub(super) async fn settle(self, administrator: &mut PgConnection) -> anyhow::Result<()> {
        sqlx::raw_sql(
            "TRUNCATE couriers.couriers, couriers.courier_orders, couriers.order_states, \
                 couriers.delivery_log, couriers.delivery_outbox, couriers.totals RESTART IDENTITY",
        )
        .execute(&mut *administrator)
        .await?;
        // The order of `free_since` is not the order of registration.
        sqlx::query(
            "INSERT INTO couriers.couriers (name, phone, transport_type, status, deliveries, free_since) \
             SELECT 'Courier ' || n, '+7' || lpad(n::text, 10, '0'), \
                 (ARRAY['on_foot', 'scooter', 'car'])[1 + n % 3], \
                 CASE WHEN n <= $2 THEN 'busy' ELSE 'available' END, (n <= $2)::integer, \
                 now() - n * $3 % 86400 * interval '1 s' \
             FROM generate_series(1, $1::bigint) AS n",
        )
        .bind(self.couriers as i64)
        .bind(self.carried() as i64)
        .bind(SCATTER)
        .execute(&mut *administrator)
        .await?;
        self.insert_carried(administrator).await?;
        for statement in ["VACUUM ANALYZE", "CHECKPOINT"] {
            sqlx::query(statement).execute(&mut *administrator).await?;
        }
        Ok(())
    }

    async fn insert_carried(self, administrator: &mut PgConnection) -> anyhow::Result<()> {
        let carried = self.carried() as i64;
        let ids: Vec<String> = (0..self.carried()).map(order_id).collect();
        // The order of the completions is not the order of the rows.
        let carriers: Vec<i64> =
            (0..carried).map(|number| 1 + number * SCATTER % carried).collect();
        sqlx::query(
            "INSERT INTO couriers.order_states (order_id, rank, created_at, changed_at) \
             SELECT order_id, 0, now(), now() FROM UNNEST($1::text[]) AS order_id",
        )
        .bind(&ids)
        .execute(&mut *administrator)
        .await?;
        sqlx::query(
            "INSERT INTO couriers.courier_orders \
                 (order_id, courier_id, transport_type, assigned_at, deadline, by_hand) \
             SELECT order_id, id, transport_type, now(), now() + interval '30 min', false \
             FROM UNNEST($1::text[], $2::bigint[]) AS carried (order_id, id) \
             JOIN couriers.couriers USING (id)",
        )
        .bind(&ids)
        .bind(&carriers)
        .execute(&mut *administrator)
        .await?;
        Ok(())
    }

    /// Checks the tables after `events` events, and returns the number of delivered orders. An
    /// order whose `completed` is applied before it has a courier leaves the queue; only a few may
    /// do so.
    pub(super) async fn count_delivered(
        self,
        administrator: &mut PgConnection,
        events: u64,
    ) -> anyhow::Result<u64> {
        let (half, carried) = (events as i64 / 2, self.carried() as i64);
        let (deliveries, completed, busy): (i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM couriers.courier_orders), \
                 (SELECT count(*) FROM couriers.courier_orders WHERE completed_at IS NOT NULL), \
                 (SELECT count(*) FROM couriers.couriers WHERE status = 'busy')",
        )
        .fetch_one(administrator)
        .await?;
        ensure!(
            deliveries == carried + completed && busy == carried,
            "{completed} of {deliveries} deliveries are completed, and {busy} couriers are busy"
        );
        ensure!(
            completed <= half && completed * 100 >= half * 95,
            "{completed} of {half} orders were delivered"
        );
        Ok(completed.unsigned_abs())
    }
}

/// Returns an id like that of an order. The ids are not ascending, because ascending ids would be
/// an advantage for an index.
fn order_id(number: u64) -> String {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{:016x}test", mixed ^ (mixed >> 29))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn half_of_the_events_complete_earlier_orders() {
        let fixture = CourierFixture { couriers: 100 };
        let mut carried: HashSet<Vec<u8>> =
            (0..90).map(|number| order_id(number).into_bytes()).collect();
        assert_eq!(carried.len(), 90);
        for place in 0..1_000 {
            let (key, value) = fixture.event(place);
            let value: serde_json::Value = serde_json::from_slice(&value).unwrap();
            assert_eq!(value["order_id"].as_str().unwrap().as_bytes(), key);
            match value["status"].as_str().unwrap() {
                "created" => assert!(carried.insert(key), "{place} creates an order again"),
                _ => {
                    assert!(carried.remove(&key), "{place} completes an order that is not carried");
                }
            }
            assert!((90..=91).contains(&carried.len()));
        }
    }
}
