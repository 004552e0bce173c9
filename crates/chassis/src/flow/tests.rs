//! The samples of metrics that the tests change.

use std::time::Instant;

use prometheus_client::metrics::{
    counter::Counter, family::Family, gauge::Gauge, histogram::Histogram,
};
use serde_json::{Value, json};

use super::{
    catalogue::{Chart, Fold, Scope, Select, Series, Source, Tone, Unit},
    *,
};

const ORDERS: &[Select] = &[Select::all("orders_total")];
const HITS: &[Select] = &[Select::with("loads_total", "from", "memory")];
const LOADS: &[Select] = &[Select::all("loads_total")];
const WAITING: &[Select] = &[Select::all("waiting")];
const DOWN: &[Select] = &[Select::all("down")];
const REBALANCES: &[Select] = &[Select::all("rebalances_total")];

const fn series(id: &'static str, source: Source) -> Series {
    Series { id, tone: Tone::Main, source }
}

static CATALOGUE: Catalogue = Catalogue {
    charts: &[
        Chart {
            id: "orders",
            unit: Unit::PerSecond,
            scope: Scope::Replica,
            series: &[series("orders", Source::Rate(ORDERS))],
        },
        Chart {
            id: "cache",
            unit: Unit::Percent,
            scope: Scope::Replica,
            series: &[series("hits", Source::Share { part: HITS, whole: LOADS })],
        },
        Chart {
            id: "times",
            unit: Unit::Seconds,
            scope: Scope::Replica,
            series: &[
                series("p50", Source::Percentile { histogram: "seconds", rank: 0.5 }),
                series("p99", Source::Percentile { histogram: "seconds", rank: 0.99 }),
            ],
        },
        Chart {
            id: "queue",
            unit: Unit::Count,
            scope: Scope::Whole,
            series: &[
                series("mean", Source::Mean(WAITING)),
                series("max", Source::Max(WAITING)),
                series(
                    "measured",
                    Source::Measured {
                        gauges: WAITING,
                        at: "measured_at",
                        max_age_seconds: 60.0,
                        fold: Fold::Max,
                        factor: 10.0,
                    },
                ),
            ],
        },
    ],
    outages: &[(MarkKind::Postgres, DOWN)],
    events: &[(MarkKind::Rebalance, REBALANCES)],
};

type Labels = Vec<(&'static str, String)>;
type Requests = Family<Labels, Histogram, fn() -> Histogram>;

fn histogram() -> Histogram {
    Histogram::new([0.1, 1.0, 10.0])
}

/// Metrics, and a sampler that takes its samples at times that a test chooses.
struct Sampled {
    registry: Registry,
    orders: Counter,
    loads: Family<Labels, Counter>,
    seconds: Histogram,
    requests: Requests,
    waiting: Gauge,
    measured_at: Gauge,
    down: Gauge,
    rebalances: Counter,
    sampler: Sampler,
    moment: Moment,
}

impl Sampled {
    /// A full quarter of an hour.
    const START: i64 = 1_800_000_000;

    /// Creates the metrics, and takes the first sample.
    fn new() -> Self {
        let mut registry = Registry::default();
        let (orders, rebalances) = (Counter::default(), Counter::default());
        let (waiting, down, measured_at) = (Gauge::default(), Gauge::default(), Gauge::default());
        let loads = Family::<Labels, Counter>::default();
        let requests: Requests = Family::new_with_constructor(histogram);
        let seconds = histogram();
        registry.register("orders", "Orders", orders.clone());
        registry.register("loads", "Loads", loads.clone());
        registry.register("seconds", "Seconds", seconds.clone());
        registry.register("waiting", "Orders that wait", waiting.clone());
        registry.register("measured_at", "Time of the measurement", measured_at.clone());
        registry.register("down", "Outages", down.clone());
        registry.register("rebalances", "Rebalances", rebalances.clone());
        let name = "http_server_request_duration_seconds";
        registry.register(name, "Seconds of requests", requests.clone());
        let moment = Moment { second: Self::START, instant: Instant::now() };
        let mut sampler = Sampler::new(CATALOGUE, Self::START);
        sampler.take(&registry, moment);
        Self {
            registry,
            orders,
            loads,
            seconds,
            requests,
            waiting,
            measured_at,
            down,
            rebalances,
            sampler,
            moment,
        }
    }

    /// Takes a sample when the clock has advanced by `seconds`, and the process by `elapsed`.
    fn sample_after(&mut self, seconds: i64, elapsed: Duration) {
        self.moment.second += seconds;
        self.moment.instant += elapsed;
        self.sampler.take(&self.registry, self.moment);
    }

    fn sample(&mut self) {
        self.sample_after(1, Duration::from_secs(1));
    }

    fn load(&self, from: &str) {
        self.loads.get_or_create(&vec![("from", from.to_owned())]).inc();
    }

    fn request(&self, route: &str, status: &str) {
        let labels = vec![
            ("http_route", route.to_owned()),
            ("http_response_status_code", status.to_owned()),
        ];
        self.requests.get_or_create(&labels).observe(0.5);
    }

    fn view(&self, range: Range) -> Value {
        let started_at = OffsetDateTime::from_unix_timestamp(Self::START).unwrap();
        let address = ([127, 0, 0, 1], 8081).into();
        let replica = Replica { host: "host".to_owned(), address, started_at };
        serde_json::to_value(self.sampler.view(range, &replica)).unwrap()
    }

    /// Returns the values of a series.
    fn values(&self, range: Range, id: &str) -> Value {
        let view = self.view(range);
        let series = view["series"].as_array().unwrap();
        series.iter().find(|series| series["id"] == id).unwrap()["values"].clone()
    }

    fn marks(&self, kind: &str) -> Vec<Value> {
        let view = self.view(Range::Week);
        let marks = view["marks"].as_array().unwrap().iter();
        marks.filter(|mark| mark["kind"] == kind).cloned().collect()
    }
}

#[test]
fn counters_become_rates_and_gauges_stay_as_they_are() {
    let mut sampled = Sampled::new();
    sampled.orders.inc_by(500);
    sampled.waiting.set(7);
    sampled.sample();
    sampled.orders.inc_by(30);
    sampled.waiting.set(9);
    sampled.sample_after(1, Duration::from_millis(1_500));

    assert_eq!(sampled.values(Range::Minutes, "orders"), json!([null, 500, 20]));
    assert_eq!(sampled.values(Range::Minutes, "mean"), json!([null, 7, 9]));
    let view = sampled.view(Range::Minutes);
    assert_eq!(
        view["times"],
        json!({ "from": "2027-01-15T08:00:00Z", "step_seconds": 1, "count": 3 })
    );
    assert_eq!(view["replica"]["address"], "127.0.0.1:8081");
    assert_eq!(view["replica"]["started_at"], "2027-01-15T08:00:00Z");
    assert_eq!(view["series"][0]["unit"], "per_second");
    assert_eq!(view["series"][4]["scope"], "whole");
}

#[test]
fn a_minute_has_means_maxima_and_percentiles_of_all_its_values() {
    let mut sampled = Sampled::new();
    for second in 0..60 {
        sampled.orders.inc_by(second);
        sampled.waiting.set(if second == 30 { 60 } else { 0 });
        // One slow answer, in a second of its own, and 59 fast ones.
        sampled.seconds.observe(if second == 30 { 5.0 } else { 0.05 });
        sampled.load(if second == 30 { "database" } else { "memory" });
        sampled.sample();
    }

    // The minute of the start has the first 59 samples.
    assert_eq!(sampled.values(Range::Day, "orders")[0], json!(29));
    assert_eq!(sampled.values(Range::Day, "mean")[0], json!(1.017));
    assert_eq!(sampled.values(Range::Day, "max")[0], json!(60));
    assert_eq!(sampled.values(Range::Day, "hits")[0], json!(98.31));
    let p50 = sampled.values(Range::Day, "p50")[0].as_f64().unwrap();
    let p99 = sampled.values(Range::Day, "p99")[0].as_f64().unwrap();
    assert!(p50 < 0.1, "the median is a fast answer: {p50}");
    assert!(p99 > 1.0, "1 of 59 is more than 1 %: {p99}");
    assert_eq!(sampled.values(Range::Week, "max"), json!([60]));
}

#[test]
fn a_late_sample_has_the_mean_of_the_seconds_that_it_covers() {
    let mut sampled = Sampled::new();
    sampled.orders.inc_by(60);
    sampled.sample_after(3, Duration::from_secs(3));
    assert_eq!(sampled.values(Range::Minutes, "orders"), json!([null, 20, 20, 20]));
    assert_eq!(sampled.values(Range::Day, "orders"), json!([20]));

    sampled.orders.inc_by(20);
    sampled.sample_after(0, Duration::from_millis(400));
    sampled.sample_after(1, Duration::from_millis(600));
    assert_eq!(sampled.values(Range::Minutes, "orders")[4], json!(20), "the second was not over");
}

#[test]
fn a_pause_of_the_process_is_a_gap_and_not_a_rate() {
    let mut sampled = Sampled::new();
    sampled.orders.inc_by(10);
    sampled.sample();
    // Stopped for 20 seconds. What came meanwhile is read at once after it.
    sampled.orders.inc_by(4_000);
    sampled.sample_after(20, Duration::from_secs(20));
    sampled.orders.inc_by(10);
    sampled.sample();

    let values = sampled.values(Range::Minutes, "orders");
    let values = values.as_array().unwrap();
    assert_eq!(values.len(), 23);
    assert_eq!((&values[1], &values[22]), (&json!(10), &json!(10)));
    assert!(values[2..22].iter().all(Value::is_null), "{values:?}");
    assert_eq!(sampled.values(Range::Day, "orders"), json!([10]));
    let gap =
        json!({ "kind": "gap", "from": "2027-01-15T08:00:01Z", "to": "2027-01-15T08:00:21Z" });
    assert_eq!(sampled.marks("gap"), [gap]);
}

#[test]
fn a_clock_that_is_set_gives_no_wrong_rate() {
    let second = Duration::from_secs(1);
    let mut sampled = Sampled::new();
    for _ in 0..5 {
        sampled.orders.inc_by(10);
        sampled.sample();
    }
    sampled.orders.inc_by(10);
    sampled.sample_after(-3, second);
    sampled.orders.inc_by(10);
    sampled.sample();
    assert_eq!(sampled.values(Range::Minutes, "orders"), json!([null, 10, 10, 10]));

    sampled.orders.inc_by(10);
    sampled.sample_after(3_600, second);
    sampled.orders.inc_by(10);
    sampled.sample();
    let values = sampled.values(Range::Minutes, "orders");
    let known: Vec<_> = values.as_array().unwrap().iter().filter(|one| !one.is_null()).collect();
    assert_eq!(known, [&json!(10)], "15 minutes have one sample");
    let hour = sampled.values(Range::Day, "orders");
    let known: Vec<_> = hour.as_array().unwrap().iter().filter(|one| !one.is_null()).collect();
    assert_eq!(known, [&json!(10), &json!(10)]);
}

#[test]
fn an_old_measurement_is_missing() {
    let mut sampled = Sampled::new();
    sampled.waiting.set(7);
    sampled.sample();
    sampled.measured_at.set(OffsetDateTime::now_utc().unix_timestamp());
    sampled.sample();
    sampled.measured_at.set(OffsetDateTime::now_utc().unix_timestamp() - 61);
    sampled.sample();

    assert_eq!(sampled.values(Range::Minutes, "measured"), json!([null, null, 70, null]));
}

#[test]
fn requests_and_errors_are_counted_by_route() {
    let mut sampled = Sampled::new();
    sampled.sample();
    for status in ["200", "404", "503"] {
        sampled.request("/order/{order_uid}", status);
    }
    sampled.request("/", "200");
    sampled.sample();

    let view = sampled.view(Range::Minutes);
    let order = json!({
        "route": "/order/{order_uid}", "requests": [null, null, 3], "errors": [null, null, 1],
    });
    let start = json!({ "route": "/", "requests": [null, null, 1], "errors": [null, null, 0] });
    assert_eq!(view["routes"], json!([start, order]));
    let newest: Value = serde_json::from_str(&sampled.sampler.newest().unwrap()).unwrap();
    assert_eq!(newest["routes"]["/order/{order_uid}"], json!([3, 1]));
    assert_eq!(newest["values"].as_array().unwrap().len(), 7);
    assert_eq!(newest["at"], "2027-01-15T08:00:02Z");
}

#[test]
fn outages_and_rebalances_become_marks() {
    let mut sampled = Sampled::new();
    sampled.rebalances.inc();
    sampled.sample();
    sampled.down.set(2);
    (0..10).for_each(|_| sampled.sample());
    assert_eq!(sampled.marks("postgres")[0]["to"], Value::Null);
    sampled.down.set(0);
    sampled.sample();

    let at = |from: &str, to: &str, kind: &str| {
        let time = |second| format!("2027-01-15T08:00:{second}Z");
        [json!({ "kind": kind, "from": time(from), "to": time(to) })]
    };
    assert_eq!(sampled.marks("start"), at("00", "00", "start"));
    assert_eq!(sampled.marks("rebalance"), at("01", "01", "rebalance"));
    assert_eq!(sampled.marks("postgres"), at("02", "12", "postgres"));
}

#[test]
fn the_memory_is_limited_for_any_number_of_routes_and_samples() {
    let mut sampled = Sampled::new();
    for number in 0..3 * MAX_ROUTES {
        sampled.request(&format!("/{number}"), "200");
    }
    sampled.sample();
    for number in 0..3 * MAX_ROUTES {
        sampled.request(&format!("/{number}"), "200");
    }
    (0..2_000).for_each(|_| sampled.sample());

    let view = sampled.view(Range::Day);
    let routes = view["routes"].as_array().unwrap();
    assert_eq!(routes.len(), MAX_ROUTES);
    let other = routes.iter().find(|route| route["route"] == "other").unwrap();
    let first = routes.iter().find(|route| route["route"] == "/0").unwrap();
    let sum = |route: &Value| route["requests"][0].as_f64().unwrap();
    // All routes but those with a name of their own.
    let ratio = sum(other) / sum(first);
    assert!(ratio > 2.0 * MAX_ROUTES as f64, "{ratio}");
    assert_eq!(sampled.view(Range::Minutes)["times"]["count"], 900);
    assert_eq!(MAX_BYTES, 1_638_528, "as the documentation of the constant says");
    assert!(sampled.sampler.value_bytes() <= MAX_BYTES);
}

#[test]
fn the_next_sample_is_at_the_next_full_second() {
    let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
    assert_eq!(until_next_second(at(7_000)), Duration::from_secs(1));
    assert_eq!(until_next_second(at(7_250)), Duration::from_millis(750));
    assert_eq!(until_next_second(at(7_999)), Duration::from_millis(1));
}
