//! The charts of the order service, and the metrics of which they are made. Their texts are in
//! [`pages`](crate::pages).

use chassis::flow::{
    MarkKind,
    catalogue::{Catalogue, Chart, Scope, Select, Series, Source, Tone, Unit},
};

const COMMITTED: &[Select] = &[Select::all("waybill_orders_committed_total")];
const EVENTS: &[Select] = &[
    Select::all("waybill_status_events_advanced_total"),
    Select::all("waybill_status_events_ignored_total"),
    Select::all("waybill_deliveries_written_total"),
    Select::all("waybill_delivery_events_superseded_total"),
];
const REJECTED: &[Select] = &[Select::all("waybill_records_rejected_total")];
const LAG: &[Select] = &[Select::all("waybill_consumer_lag_seconds")];
const BACKLOG: &[Select] = &[Select::all("waybill_consumer_lag_records")];
const FRESHNESS: &str = "waybill_order_freshness_seconds";
const BATCH_TIME: &str = "messaging_process_duration_seconds";
const BATCH_RECORDS: &[Select] = &[Select::all("waybill_batch_records_sum")];
const BATCHES: &[Select] = &[Select::all("waybill_batch_records_count")];
const HITS: &[Select] = &[Select::all("waybill_cache_hits_total")];
const LOOKUPS: &[Select] =
    &[Select::all("waybill_cache_hits_total"), Select::all("waybill_cache_misses_total")];
const REQUESTS: &[Select] = &[Select::all("http_server_request_duration_seconds_count")];
const ERRORS: &[Select] =
    &[Select::with("http_server_request_duration_seconds_count", "http_response_status_code", "5")];
const WAITING_BATCHES: &[Select] = &[
    Select::all("waybill_batches_waiting"),
    Select::all("status_waybill_batches_waiting"),
    Select::all("deliveries_waybill_batches_waiting"),
];
const KAFKA: &[Select] = &[Select::all("waybill_kafka_unreachable")];
const REDIS: &[Select] = &[Select::all("waybill_redis_unreachable")];
const BLOCKED: &[Select] = &[Select::all("waybill_blocked_parts")];
const REBALANCES: &[Select] = &[Select::all("waybill_consumer_rebalances_total")];

const fn series(id: &'static str, tone: Tone, source: Source) -> Series {
    Series { id, tone, source }
}

const fn chart(id: &'static str, unit: Unit, series: &'static [Series]) -> Chart {
    Chart { id, unit, scope: Scope::Replica, series }
}

pub(crate) static CATALOGUE: Catalogue = Catalogue {
    charts: &[
        chart(
            "throughput",
            Unit::PerSecond,
            &[
                series("orders", Tone::Main, Source::Rate(COMMITTED)),
                series("events", Tone::Second, Source::Rate(EVENTS)),
                series("rejections", Tone::Bad, Source::Rate(REJECTED)),
            ],
        ),
        chart(
            "freshness",
            Unit::Seconds,
            &[
                series(
                    "freshness_p50",
                    Tone::Main,
                    Source::Percentile { histogram: FRESHNESS, rank: 0.5 },
                ),
                series(
                    "freshness_p99",
                    Tone::Second,
                    Source::Percentile { histogram: FRESHNESS, rank: 0.99 },
                ),
            ],
        ),
        chart("lag", Unit::Seconds, &[series("lag", Tone::Main, Source::Max(LAG))]),
        chart("backlog", Unit::Count, &[series("backlog", Tone::Main, Source::Max(BACKLOG))]),
        chart(
            "batch_time",
            Unit::Seconds,
            &[
                series(
                    "batch_time_p50",
                    Tone::Main,
                    Source::Percentile { histogram: BATCH_TIME, rank: 0.5 },
                ),
                series(
                    "batch_time_p99",
                    Tone::Second,
                    Source::Percentile { histogram: BATCH_TIME, rank: 0.99 },
                ),
            ],
        ),
        chart(
            "batch_size",
            Unit::Count,
            &[series(
                "batch_size",
                Tone::Main,
                Source::Quotient { part: BATCH_RECORDS, whole: BATCHES },
            )],
        ),
        chart(
            "cache",
            Unit::Percent,
            &[series("cache_hits", Tone::Main, Source::Share { part: HITS, whole: LOOKUPS })],
        ),
        chart(
            "requests",
            Unit::PerSecond,
            &[
                series("requests", Tone::Main, Source::Rate(REQUESTS)),
                series("errors", Tone::Bad, Source::Rate(ERRORS)),
            ],
        ),
    ],
    outages: &[
        (MarkKind::Postgres, WAITING_BATCHES),
        (MarkKind::Kafka, KAFKA),
        (MarkKind::Redis, REDIS),
        (MarkKind::Blocked, BLOCKED),
    ],
    events: &[(MarkKind::Rebalance, REBALANCES)],
};
