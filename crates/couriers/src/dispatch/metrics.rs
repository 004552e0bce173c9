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
        /// Overdue deliveries that are due for release and held back by unread events or an unreachable Kafka
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
        /// Share of the newest deliveries completed in the last hour that were on time, 0 to 1; NaN if there are none
        on_time: Gauge<f64, AtomicU64> = "waybill_deliveries_on_time_share" from unknown(),
        /// Time of the last measurement of the queue, the deliveries and the couriers, seconds since 1970
        measured_at: Gauge<f64, AtomicU64> = "waybill_queue_measured_timestamp_seconds",
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

    pub(super) async fn measure(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let totals = read(pool, BACKGROUND, async |connection| {
            sqlx::query!(
                "-- measure_totals\n\
                 SELECT coalesce(sum(waiting), 0)::bigint AS \"waiting!\", \
                     (SELECT coalesce(extract(epoch FROM now() - min(waiting_since)), 0) \
                         FROM couriers.order_states \
                         WHERE waiting_since IS NOT NULL AND held_at IS NULL)::double precision \
                         AS \"oldest!\", \
                     coalesce(sum(held), 0)::bigint AS \"held!\", \
                     coalesce(sum(active), 0)::bigint AS \"active!\", \
                     coalesce(sum(overdue), 0)::bigint AS \"overdue!\", \
                     coalesce(sum(released), 0)::bigint AS \"released!\", \
                     coalesce(sum(available), 0)::bigint AS \"available!\", \
                     coalesce(sum(busy), 0)::bigint AS \"busy!\", \
                     coalesce(sum(paused), 0)::bigint AS \"paused!\", \
                     coalesce(sum(retired), 0)::bigint AS \"retired!\" \
                 FROM couriers.totals"
            )
            .fetch_one(connection)
            .await
        });
        let totals = totals.await?;
        self.waiting.set(totals.waiting);
        self.oldest_wait_seconds.set(totals.oldest.max(0.0));
        self.held.set(totals.held);
        self.active.set(totals.active);
        self.overdue.set(totals.overdue);
        self.unassigned_after_release.set(totals.released);
        for (status, number) in [
            (CourierStatus::Available, totals.available),
            (CourierStatus::Busy, totals.busy),
            (CourierStatus::Paused, totals.paused),
            (CourierStatus::Retired, totals.retired),
        ] {
            self.couriers.get_or_create(&Status { status: status.as_str() }).set(number);
        }
        self.measure_on_time(pool).await?;
        self.measured_at.set(seconds_now());
        Ok(())
    }

    async fn measure_on_time(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let deliveries = read(pool, BACKGROUND, async |connection| {
            // Without the deliveries that were read late, as in the statistics.
            sqlx::query!(
                "-- measure_on_time\n\
                 SELECT count(*) AS \"completed!\", \
                     count(*) FILTER (WHERE completed_at <= deadline) AS \"on_time!\" \
                 FROM ( \
                     SELECT completed_at, deadline FROM couriers.courier_orders \
                     WHERE completed_at > now() - interval '1 hour' AND completed_at >= assigned_at \
                     ORDER BY completed_at DESC LIMIT 10000 \
                 ) AS newest"
            )
            .fetch_one(connection)
            .await
        });
        let deliveries = deliveries.await?;
        // NaN if none was completed.
        self.on_time.set(deliveries.on_time as f64 / deliveries.completed as f64);
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
