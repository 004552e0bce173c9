//! The metrics of dispatch.

use std::sync::atomic::AtomicU64;

use chassis::{
    postgres::{read::read, time_limit::BACKGROUND},
    process::metrics::seconds_now,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};
use sqlx::PgPool;

use crate::{delivery::courier::CourierStatus, dispatch::Match};

/// The reason why releases are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeldBack {
    IntakeBehind,
    KafkaUnreachable,
}

impl HeldBack {
    fn as_str(self) -> &'static str {
        match self {
            Self::IntakeBehind => "intake_behind",
            Self::KafkaUnreachable => "kafka_unreachable",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: &'static str,
}

chassis::metrics! {
    pub struct DispatchMetrics {
        /// Orders that the match has assigned to couriers
        assigned: Counter = "waybill_deliveries_assigned",
        /// Deliveries released because they were not completed within the grace period
        pub(super) released: Counter = "waybill_deliveries_released",
        /// Overdue deliveries that are due for release and not released, because intake is behind
        pub(super) held_back: Gauge = "waybill_releases_held_back",
        /// 1 for the reason why releases are held back, 0 for the others
        held_back_reason: Family<Reason, Gauge> = "waybill_releases_held_back_reason",
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
        /// Orders that are held until they are assigned manually
        held: Gauge = "waybill_orders_held",
        /// Orders that couriers carry
        active: Gauge = "waybill_deliveries_active",
        /// Orders that couriers carry, and whose deadline has passed
        overdue: Gauge = "waybill_deliveries_overdue",
        /// Orders whose delivery was released and that are not completed
        unassigned_after_release: Gauge = "waybill_orders_released",
        /// Couriers by status
        couriers: Family<Status, Gauge> = "waybill_couriers",
        /// Share of the deliveries completed in the last hour that were on time, 0 to 1; NaN if there are none
        on_time: Gauge<f64, AtomicU64> = "waybill_deliveries_on_time_share" from unknown(),
        /// Time of the last measurement of the queue and of the deliveries, seconds since 1970
        queue_measured_at: Gauge<f64, AtomicU64> = "waybill_queue_measured_timestamp_seconds",
        /// Time at which the couriers and the deliveries on time were last counted, seconds since 1970
        couriers_counted_at: Gauge<f64, AtomicU64> = "waybill_couriers_counted_timestamp_seconds",
        /// 1 while dispatch retries after an error of PostgreSQL, else 0
        pub(super) failing: Gauge = "waybill_dispatch_failing",
    }
}

fn unknown() -> Gauge<f64, AtomicU64> {
    let gauge = Gauge::default();
    gauge.set(f64::NAN);
    gauge
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
            // Each part counts the entries of one index.
            sqlx::query!(
                "-- measure_queue\n\
                 SELECT count(*) AS \"waiting!\", \
                     coalesce(extract(epoch FROM now() - min(waiting_since)), 0)::double precision \
                         AS \"oldest!\", \
                     (SELECT count(*) FROM couriers.order_states WHERE held_at IS NOT NULL) \
                         AS \"held!\", \
                     (SELECT count(*) FROM couriers.active_deliveries WHERE overdue_at IS NULL) \
                         AS \"in_time!\", \
                     (SELECT count(*) FROM couriers.active_deliveries WHERE overdue_at IS NOT NULL) \
                         AS \"overdue!\", \
                     (SELECT count(*) FROM couriers.courier_orders \
                         WHERE released_at IS NOT NULL AND completed_at IS NULL) AS \"released!\" \
                 FROM couriers.order_states WHERE waiting_since IS NOT NULL AND held_at IS NULL"
            )
            .fetch_one(connection)
            .await
        });
        let queue = queue.await?;
        self.waiting.set(queue.waiting);
        self.oldest_wait_seconds.set(queue.oldest.max(0.0));
        self.held.set(queue.held);
        self.active.set(queue.in_time + queue.overdue);
        self.overdue.set(queue.overdue);
        self.unassigned_after_release.set(queue.released);
        self.queue_measured_at.set(seconds_now());
        Ok(())
    }

    /// Counts the couriers by status, which reads all of them, and the deliveries of the last hour.
    pub(super) async fn count_couriers(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        self.measure_couriers(pool).await?;
        self.measure_on_time(pool).await?;
        self.couriers_counted_at.set(seconds_now());
        Ok(())
    }

    async fn measure_on_time(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let deliveries = read(pool, BACKGROUND, async |connection| {
            // Without the deliveries that were read late, as in the statistics.
            sqlx::query!(
                "-- measure_on_time\n\
                 SELECT count(*) AS \"completed!\", \
                     count(*) FILTER (WHERE completed_at <= deadline) AS \"on_time!\" \
                 FROM couriers.courier_orders \
                 WHERE completed_at > now() - interval '1 hour' AND completed_at >= assigned_at"
            )
            .fetch_one(connection)
            .await
        });
        let deliveries = deliveries.await?;
        // NaN if none was completed.
        self.on_time.set(deliveries.on_time as f64 / deliveries.completed as f64);
        Ok(())
    }

    async fn measure_couriers(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let counts = read(pool, BACKGROUND, async |connection| {
            sqlx::query!(
                "-- measure_couriers\n\
                 SELECT status, count(*) AS \"number!\" FROM couriers.couriers GROUP BY status"
            )
            .fetch_all(connection)
            .await
        });
        let counts = counts.await?;
        for status in CourierStatus::ALL.map(CourierStatus::as_str) {
            let row = counts.iter().find(|row| row.status == status);
            let number = row.map_or(0, |row| row.number);
            self.couriers.get_or_create(&Status { status }).set(number);
        }
        Ok(())
    }

    /// Notes the reason why releases are held back, if they are.
    pub(super) fn hold_back(&self, reason: Option<HeldBack>) {
        for one in [HeldBack::IntakeBehind, HeldBack::KafkaUnreachable] {
            let label = Reason { reason: one.as_str() };
            self.held_back_reason.get_or_create(&label).set(i64::from(reason == Some(one)));
        }
    }
}
