//! The charts of the courier service, and the metrics of which they are made. Their texts are in
//! [`pages`](crate::pages).
//!
//! Gauges that every replica reads from the database describe the whole service, and are missing
//! while they are not measured.

use chassis::flow::{
    MarkKind,
    catalogue::{Catalogue, Chart, Fold, Scope, Select, Series, Source, Tone, Unit},
};

const EVENTS: &[Select] = &[Select::all("waybill_status_events_total")];
const ASSIGNED: &[Select] = &[Select::all("waybill_deliveries_assigned_total")];
const REJECTED: &[Select] = &[Select::all("waybill_records_rejected_total")];
const LAG: &[Select] = &[Select::all("waybill_consumer_lag_seconds")];
const BACKLOG: &[Select] = &[Select::all("waybill_consumer_lag_records")];
const WAITING: &[Select] = &[Select::all("waybill_orders_waiting")];
const HELD: &[Select] = &[Select::all("waybill_orders_held")];
const RELEASED: &[Select] = &[Select::all("waybill_orders_released")];
const OLDEST_WAIT: &[Select] = &[Select::all("waybill_oldest_wait_seconds")];
const AVAILABLE: &[Select] = &[Select::with("waybill_couriers", "status", "available")];
const BUSY: &[Select] = &[Select::with("waybill_couriers", "status", "busy")];
const PAUSED: &[Select] = &[Select::with("waybill_couriers", "status", "paused")];
const ACTIVE: &[Select] = &[Select::all("waybill_deliveries_active")];
const OVERDUE: &[Select] = &[Select::all("waybill_deliveries_overdue")];
const ON_TIME: &[Select] = &[Select::all("waybill_deliveries_on_time_share")];
const UNSENT: &[Select] = &[Select::all("waybill_delivery_events_unsent")];
const OLDEST_UNSENT: &[Select] = &[Select::all("waybill_oldest_unsent_delivery_event_seconds")];
const REQUESTS: &[Select] = &[Select::all("http_server_request_duration_seconds_count")];
const ERRORS: &[Select] =
    &[Select::with("http_server_request_duration_seconds_count", "http_response_status_code", "5")];
const POSTGRES: &[Select] =
    &[Select::all("waybill_batches_waiting"), Select::all("waybill_dispatch_failing")];
const KAFKA: &[Select] = &[Select::all("waybill_kafka_unreachable")];
const BLOCKED: &[Select] = &[Select::all("waybill_blocked_parts")];
const REBALANCES: &[Select] = &[Select::all("waybill_consumer_rebalances_total")];

/// The queue, the deliveries, the couriers and the outbox are measured every 5 seconds. One measurement may fail
/// or be late.
const MEASURED_MAX_AGE: f64 = 15.0;

const fn series(id: &'static str, tone: Tone, source: Source) -> Series {
    Series { id, tone, source }
}

const fn chart(id: &'static str, unit: Unit, scope: Scope, series: &'static [Series]) -> Chart {
    Chart { id, unit, scope, series }
}

/// A gauge that is measured with the queue.
const fn of_queue(gauges: &'static [Select], fold: Fold) -> Source {
    of_dispatch(gauges, fold, 1.0)
}

const fn of_dispatch(gauges: &'static [Select], fold: Fold, factor: f64) -> Source {
    Source::Measured {
        gauges,
        at: "waybill_queue_measured_timestamp_seconds",
        max_age_seconds: MEASURED_MAX_AGE,
        fold,
        factor,
    }
}

const fn of_outbox(gauges: &'static [Select]) -> Source {
    Source::Measured {
        gauges,
        at: "waybill_outbox_measured_timestamp_seconds",
        max_age_seconds: MEASURED_MAX_AGE,
        fold: Fold::Max,
        factor: 1.0,
    }
}

pub(crate) static CATALOGUE: Catalogue = Catalogue {
    charts: &[
        chart(
            "throughput",
            Unit::PerSecond,
            Scope::Replica,
            &[
                series("events", Tone::Main, Source::Rate(EVENTS)),
                series("assignments", Tone::Second, Source::Rate(ASSIGNED)),
                series("rejections", Tone::Bad, Source::Rate(REJECTED)),
            ],
        ),
        chart(
            "queue",
            Unit::Count,
            Scope::Whole,
            &[
                series("waiting", Tone::Main, of_queue(WAITING, Fold::Mean)),
                series("held", Tone::Second, of_queue(HELD, Fold::Mean)),
                series("released", Tone::Bad, of_queue(RELEASED, Fold::Mean)),
            ],
        ),
        chart(
            "oldest_wait",
            Unit::Seconds,
            Scope::Whole,
            &[series("oldest_wait", Tone::Main, of_queue(OLDEST_WAIT, Fold::Max))],
        ),
        chart(
            "deliveries",
            Unit::Count,
            Scope::Whole,
            &[
                series("active", Tone::Main, of_queue(ACTIVE, Fold::Mean)),
                series("overdue", Tone::Warn, of_queue(OVERDUE, Fold::Mean)),
            ],
        ),
        chart(
            "couriers",
            Unit::Count,
            Scope::Whole,
            &[
                series("busy", Tone::Main, of_queue(BUSY, Fold::Mean)),
                series("available", Tone::Good, of_queue(AVAILABLE, Fold::Mean)),
                series("paused", Tone::Second, of_queue(PAUSED, Fold::Mean)),
            ],
        ),
        chart(
            "on_time",
            Unit::Percent,
            Scope::Whole,
            &[series("on_time", Tone::Main, of_dispatch(ON_TIME, Fold::Mean, 100.0))],
        ),
        chart(
            "outbox",
            Unit::Count,
            Scope::Whole,
            &[series("unsent", Tone::Main, of_outbox(UNSENT))],
        ),
        chart(
            "oldest_unsent",
            Unit::Seconds,
            Scope::Whole,
            &[series("oldest_unsent", Tone::Main, of_outbox(OLDEST_UNSENT))],
        ),
        chart("lag", Unit::Seconds, Scope::Replica, &[series("lag", Tone::Main, Source::Max(LAG))]),
        chart(
            "backlog",
            Unit::Count,
            Scope::Replica,
            &[series("backlog", Tone::Main, Source::Max(BACKLOG))],
        ),
        chart(
            "requests",
            Unit::PerSecond,
            Scope::Replica,
            &[
                series("requests", Tone::Main, Source::Rate(REQUESTS)),
                series("errors", Tone::Bad, Source::Rate(ERRORS)),
            ],
        ),
    ],
    outages: &[
        (MarkKind::Postgres, POSTGRES),
        (MarkKind::Kafka, KAFKA),
        (MarkKind::Blocked, BLOCKED),
    ],
    events: &[(MarkKind::Rebalance, REBALANCES)],
};
