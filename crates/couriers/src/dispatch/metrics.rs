//! The metrics of dispatch.

use std::sync::atomic::AtomicU64;

use chassis::postgres::{read::read, time_limit::BACKGROUND};
use prometheus_client::metrics::{
    counter::Counter,
    gauge::Gauge,
    histogram::{Histogram, exponential_buckets},
};
use sqlx::PgPool;

use crate::dispatch::Match;

chassis::metrics! {
    pub struct DispatchMetrics {
        /// Orders that the match has assigned to couriers
        assigned: Counter = "waybill_deliveries_assigned",
        /// Deliveries released because they were not completed within the grace period
        pub(super) released: Counter = "waybill_deliveries_released",
        /// Overdue deliveries that are due for release and not released, because intake is behind
        pub(super) held_back: Gauge = "waybill_releases_held_back",
        /// Couriers that the match skips: available in the table, and they carry an order
        pub(super) skipped_couriers: Gauge = "waybill_couriers_skipped",
        /// Orders that the match skips: they wait in the table, and have a delivery
        pub(super) skipped_orders: Gauge = "waybill_orders_skipped",
        /// Time from an order's created event to its assignment by the match, seconds
        wait_seconds: Histogram = "waybill_order_wait_seconds"
            from Histogram::new(exponential_buckets(0.005, 2.5, 14)),
        /// Orders that wait for a courier, without held orders
        waiting: Gauge = "waybill_orders_waiting",
        /// Time that the oldest waiting order has waited, seconds
        oldest_wait_seconds: Gauge<f64, AtomicU64> = "waybill_oldest_wait_seconds",
    }
}

impl DispatchMetrics {
    pub(super) fn count(&self, matches: &[Match]) {
        self.assigned.inc_by(matches.len() as u64);
        for one in matches {
            // The wait is below zero if Kafka's clock is ahead of the database's clock.
            self.wait_seconds.observe(one.waited_seconds.max(0.0));
        }
    }

    pub(super) async fn measure_queue(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let queue = read(pool, BACKGROUND, async |connection| {
            sqlx::query!(
                "-- measure_queue\n\
                 SELECT count(*) AS \"waiting!\", \
                     coalesce(extract(epoch FROM now() - min(waiting_since)), 0)::double precision \
                         AS \"oldest!\" \
                 FROM couriers.order_states WHERE waiting_since IS NOT NULL AND held_at IS NULL"
            )
            .fetch_one(connection)
            .await
        });
        let queue = queue.await?;
        self.waiting.set(queue.waiting);
        self.oldest_wait_seconds.set(queue.oldest.max(0.0));
        Ok(())
    }
}
