//! Reports rows that contradict each other, which a match skips: a courier whose status is
//! `available` and who carries an order, and an order that waits and has a delivery. The service
//! never writes such rows; a person with access to the tables may.

use std::collections::BTreeSet;

use chassis::postgres::{read::read, time_limit::BACKGROUND};
use sqlx::PgPool;

use super::DispatchMetrics;

/// The rows that are reported in the log.
#[derive(Debug, Default)]
pub(super) struct Skipped(BTreeSet<String>);

impl Skipped {
    /// Counts the skipped rows, and logs each of them once until it is right again.
    // Only among the first rows of both queues, so that a long queue costs no more. A skipped row
    // keeps its place while the others leave the queue, so it comes to the front.
    pub(super) async fn report(
        &mut self,
        pool: &PgPool,
        metrics: &DispatchMetrics,
    ) -> Result<(), sqlx::Error> {
        let skipped = read(pool, BACKGROUND, async |connection| {
            sqlx::query!(
            "-- find_skipped\n\
             SELECT ARRAY ( \
                 SELECT id FROM ( \
                     SELECT id FROM couriers.couriers WHERE status = 'available' \
                     ORDER BY deliveries, free_since, id LIMIT 1000 \
                 ) AS first \
                 WHERE EXISTS (SELECT FROM couriers.active_deliveries WHERE courier_id = first.id) \
             ) AS \"couriers!\", ARRAY ( \
                 SELECT order_id FROM ( \
                     SELECT order_id FROM couriers.order_states \
                     WHERE waiting_since IS NOT NULL AND held_at IS NULL \
                     ORDER BY waiting_since, order_id LIMIT 1000 \
                 ) AS first \
                 WHERE EXISTS (SELECT FROM couriers.courier_orders WHERE order_id = first.order_id) \
             ) AS \"orders!\""
        )
        .fetch_one(connection)
        .await
        });
        let skipped = skipped.await?;
        metrics.skipped_couriers.set(skipped.couriers.len() as i64);
        metrics.skipped_orders.set(skipped.orders.len() as i64);
        let couriers = skipped.couriers.iter().map(|id| {
            format!("courier {id} is available in the table couriers, and carries an order")
        });
        let orders = skipped.orders.iter().map(|order_id| {
            format!("order {order_id} waits in the table order_states, and has a delivery")
        });
        let found: BTreeSet<_> = couriers.chain(orders).collect();
        for fault in found.difference(&self.0) {
            tracing::warn!("a match skips a row that contradicts another one: {fault}");
        }
        self.0 = found;
        Ok(())
    }
}
