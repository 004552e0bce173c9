//! The metrics of dispatch.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use sqlx::PgPool;

use crate::dispatch::Match;

#[derive(Debug, Clone)]
pub struct DispatchMetrics {
    assigned: Counter,
    pub(super) released: Counter,
    wait_seconds: Histogram,
    waiting: Gauge,
    oldest_wait_seconds: Gauge<f64, AtomicU64>,
}

impl DispatchMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            assigned: Counter::default(),
            released: Counter::default(),
            wait_seconds: Histogram::new(exponential_buckets(0.005, 2.5, 14)),
            waiting: Gauge::default(),
            oldest_wait_seconds: Gauge::default(),
        };
        registry.register(
            "waybill_deliveries_assigned",
            "Orders given to couriers by dispatch",
            metrics.assigned.clone(),
        );
        registry.register(
            "waybill_deliveries_released",
            "Couriers freed long after a deadline",
            metrics.released.clone(),
        );
        registry.register(
            "waybill_order_wait_seconds",
            "From an order's created event to its courier, seconds",
            metrics.wait_seconds.clone(),
        );
        registry.register(
            "waybill_orders_waiting",
            "Orders that wait for a courier",
            metrics.waiting.clone(),
        );
        registry.register(
            "waybill_oldest_wait_seconds",
            "How long the first of the queue has waited, seconds",
            metrics.oldest_wait_seconds.clone(),
        );
        metrics
    }

    pub(super) fn count(&self, matches: &[Match]) {
        self.assigned.inc_by(matches.len() as u64);
        for one in matches {
            self.wait_seconds.observe(one.waited_seconds.max(0.0));
        }
    }

    pub(super) async fn measure_queue(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let queue = sqlx::query!(
            "-- measure_queue\n\
             SELECT count(*) AS \"waiting!\", \
                 coalesce(extract(epoch FROM now() - min(waiting_since)), 0)::double precision AS \"oldest!\" \
             FROM couriers.order_states WHERE waiting_since IS NOT NULL AND held_at IS NULL"
        )
        .fetch_one(pool)
        .await?;
        self.waiting.set(queue.waiting);
        self.oldest_wait_seconds.set(queue.oldest.max(0.0));
        Ok(())
    }
}
