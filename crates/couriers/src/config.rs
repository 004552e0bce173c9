//! The courier service's configuration.
//!
//! The options that only this service has are in [`Options`], apart from those that it shares with the
//! order service, so that `waybill up` can give the shared ones to both services.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use chassis::{
    http::{HttpConfig, web_address},
    kafka::{
        batch::BatchPolicy,
        config::KafkaConfig,
        names::{check_topics_differ, topic},
    },
    postgres::{address::Address, pool::PostgresConfig},
    process::{number::within, secret},
};
use clap::{Args, builder::NonEmptyStringValueParser};
use events::topics::dead_letters;
use url::Url;

use crate::delivery::{DeliveryTimes, ReleasedOrders};

const OWN_DATABASE: &str = "COURIERS_DATABASE_URL";

/// The options of the courier service.
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(flatten)]
    pub kafka: KafkaConfig,
    #[command(flatten)]
    pub topics: TopicConfig,
    /// The address for each service that has no address of its own.
    #[command(flatten)]
    pub postgres: PostgresConfig,
    #[command(flatten)]
    pub batch: BatchPolicy,
    /// Number of batches that are written at the same time, from 1 to 64.
    ///
    /// Each partition of the status topic belongs to one lane, which keeps its records in order.
    /// More lanes than partitions have no effect.
    #[arg(
        long,
        env = "LANES",
        default_value_t = 2,
        value_name = "N",
        value_parser = within::<u16>(1..=64),
        help_heading = "Batches",
        hide_short_help = true
    )]
    pub lanes: u16,
    /// URL of the order service, as browsers reach it.
    ///
    /// The board links to this address. Besides the courier service's own pages, only pages of this
    /// origin may call the courier service from a browser (CORS).
    #[arg(
        long,
        env = "ORDERS_URL",
        default_value = "http://127.0.0.1:8081",
        value_name = "URL",
        value_parser = web_address,
        help_heading = "HTTP"
    )]
    pub orders_url: Url,
    /// URL of the courier service, as browsers reach it.
    ///
    /// The courier service answers requests that are addressed to the host of this URL, and accepts
    /// requests of pages of its origin. It is needed if a proxy in front of the service changes the
    /// header Host.
    #[arg(
        long,
        env = "COURIERS_URL",
        value_name = "URL",
        value_parser = web_address,
        help_heading = "HTTP",
        hide_short_help = true
    )]
    pub couriers_url: Option<Url>,
    /// Hosts and connections.
    #[command(flatten)]
    pub http: HttpConfig,
    /// The options that only the courier service has.
    #[command(flatten)]
    pub own: Options,
}

impl Config {
    /// Returns an error for a setting that the service could use only later, or never.
    pub fn check(&self) -> anyhow::Result<()> {
        self.topics.check()?;
        self.kafka.check()?;
        self.kafka.warn();
        self.own.database.address(&self.postgres)?.warn();
        Ok(())
    }
}

/// The options that only the courier service has.
#[derive(Debug, Clone, Args)]
pub struct Options {
    #[command(flatten)]
    pub database: DatabaseConfig,
    /// IP address and port on which the courier service listens.
    ///
    /// The address 0.0.0.0 listens on all interfaces.
    #[arg(
        long,
        env = "COURIERS_HTTP_ADDR",
        default_value = "127.0.0.1:8082",
        value_name = "IP:PORT",
        help_heading = "HTTP",
        display_order = 1
    )]
    pub couriers_http_addr: SocketAddr,
    /// Time from the assignment to the deadline of a delivery on foot, from 0s to 8760h (a year).
    ///
    /// A whole number with ms, s, m or h, such as 90s. A new value applies to deliveries that are
    /// assigned from then on. A delivery that is completed after its deadline counts as late.
    #[arg(
        long,
        env = "DELIVERY_TIME_ON_FOOT",
        default_value = "30m",
        value_name = "TIME",
        value_parser = duration,
        help_heading = "Dispatch",
        hide_short_help = true
    )]
    pub delivery_time_on_foot: Duration,
    /// Time from the assignment to the deadline of a delivery by scooter, from 0s to 8760h.
    #[arg(
        long,
        env = "DELIVERY_TIME_SCOOTER",
        default_value = "15m",
        value_name = "TIME",
        value_parser = duration,
        help_heading = "Dispatch",
        hide_short_help = true
    )]
    pub delivery_time_scooter: Duration,
    /// Time from the assignment to the deadline of a delivery by car, from 0s to 8760h.
    #[arg(
        long,
        env = "DELIVERY_TIME_CAR",
        default_value = "5m",
        value_name = "TIME",
        value_parser = duration,
        help_heading = "Dispatch",
        hide_short_help = true
    )]
    pub delivery_time_car: Duration,
    /// Time after the deadline of a delivery until its courier is free again, from 0s to 8760h.
    ///
    /// It applies to deliveries that are never completed. If it is too short, a courier who is only
    /// late gets a second order.
    #[arg(
        long,
        env = "OVERDUE_GRACE",
        default_value = "15m",
        value_name = "TIME",
        value_parser = duration,
        help_heading = "Dispatch",
        hide_short_help = true
    )]
    pub overdue_grace: Duration,
    /// Treatment of orders whose delivery is released: keep or requeue.
    ///
    /// keep: the order is listed as released until it is assigned manually. requeue: it waits for
    /// another courier at its old place in the queue, at most twice; after that it is kept.
    #[arg(
        long,
        env = "RELEASED_ORDERS",
        default_value = "keep",
        value_name = "keep|requeue",
        help_heading = "Dispatch",
        hide_short_help = true
    )]
    pub released_orders: ReleasedOrders,
    /// Interval at which dispatch looks for waiting orders and free couriers, from 10ms to 1h.
    ///
    /// Dispatch also runs at once when an order or a courier changes. The sweep finds the orders
    /// that a replica stored and did not dispatch before it crashed, and the deliveries that are
    /// overdue. Each replica sweeps.
    #[arg(
        long,
        env = "DISPATCH_SWEEP",
        default_value = "1s",
        value_name = "TIME",
        value_parser = sweep_interval,
        help_heading = "Dispatch",
        hide_short_help = true
    )]
    pub dispatch_sweep: Duration,
}

impl Options {
    #[must_use]
    pub fn delivery_times(&self) -> DeliveryTimes {
        DeliveryTimes {
            on_foot: self.delivery_time_on_foot,
            scooter: self.delivery_time_scooter,
            car: self.delivery_time_car,
        }
    }
}

/// The names of the topics.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Kafka")]
pub struct TopicConfig {
    /// Topic of the status events [default: order.status.changed].
    ///
    /// Rejected records are copied to the topic with the same name and the suffix .dlq, the
    /// dead-letter topic. KAFKA_ORDER_TOPIC and KAFKA_TOPIC are accepted as well.
    #[arg(
        long,
        env = "KAFKA_STATUS_TOPIC",
        value_name = "TOPIC",
        value_parser = topic,
        hide_short_help = true
    )]
    kafka_status_topic: Option<String>,
    #[arg(long, env = "KAFKA_ORDER_TOPIC", value_parser = topic, hide = true)]
    kafka_order_topic: Option<String>,
    #[arg(long, env = "KAFKA_TOPIC", value_parser = topic, hide = true)]
    kafka_topic: Option<String>,
    /// Topic of the delivery events.
    ///
    /// It must differ from the status topic, and neither may be the dead-letter topic of the other.
    #[arg(
        long,
        env = "KAFKA_DELIVERIES_TOPIC",
        default_value = events::topics::DELIVERY_STATUS_CHANGED,
        value_name = "TOPIC",
        value_parser = topic,
        hide_short_help = true
    )]
    pub kafka_deliveries_topic: String,
}

impl TopicConfig {
    #[must_use]
    pub fn status(&self) -> &str {
        [&self.kafka_status_topic, &self.kafka_order_topic, &self.kafka_topic]
            .into_iter()
            .find_map(Option::as_deref)
            .unwrap_or(events::topics::ORDER_STATUS_CHANGED)
    }

    #[must_use]
    pub fn named(status: String, deliveries: String) -> Self {
        Self {
            kafka_status_topic: Some(status),
            kafka_order_topic: None,
            kafka_topic: None,
            kafka_deliveries_topic: deliveries,
        }
    }

    /// Returns an error if two of the topics, including the dead-letter topics, have the same name:
    /// the service would then consume its own events or dead letters.
    pub fn check(&self) -> anyhow::Result<()> {
        let status = ("KAFKA_STATUS_TOPIC", self.status());
        let deliveries = ("KAFKA_DELIVERIES_TOPIC", self.kafka_deliveries_topic.as_str());
        check_topics_differ(&[status, deliveries], dead_letters)
    }
}

/// The database of the courier service.
#[derive(Clone, Args)]
#[command(next_help_heading = "PostgreSQL")]
#[group(id = "couriers-database")]
pub struct DatabaseConfig {
    /// PostgreSQL address of the courier service.
    ///
    /// Without it, the service uses DATABASE_URL, or else POSTGRES_HOST and the other parts. The
    /// form is explained at --database-url.
    #[arg(
        long,
        env = "COURIERS_DATABASE_URL",
        value_name = "URL",
        value_parser = NonEmptyStringValueParser::new(),
        hide_env_values = true,
        display_order = 2
    )]
    couriers_database_url: Option<String>,
    /// File that contains COURIERS_DATABASE_URL; overrides the variable.
    #[arg(
        long,
        env = "COURIERS_DATABASE_URL_FILE",
        value_name = "FILE",
        display_order = 3,
        hide_short_help = true
    )]
    couriers_database_url_file: Option<PathBuf>,
    /// The address in a local server, which `waybill up` sets if the user gave none.
    #[arg(skip)]
    pub local: Option<String>,
}

impl std::fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseConfig").finish_non_exhaustive()
    }
}

impl DatabaseConfig {
    /// Returns the address: the service's own if given, else the shared one.
    pub fn address(&self, postgres: &PostgresConfig) -> anyhow::Result<Address> {
        match &self.local {
            Some(local) => Address::parse_local(local),
            None => postgres.address(self.own()?.as_deref(), OWN_DATABASE),
        }
    }

    fn own(&self) -> anyhow::Result<Option<String>> {
        let file = self.couriers_database_url_file.as_deref();
        secret::read(OWN_DATABASE, self.couriers_database_url.as_deref(), file)
    }

    /// Returns true if the user gave an address of PostgreSQL.
    #[must_use]
    pub fn is_given(&self, postgres: &PostgresConfig) -> bool {
        self.couriers_database_url.is_some()
            || self.couriers_database_url_file.is_some()
            || postgres.is_given()
    }
}

/// Parses a time such as `30m`, `15s`, `500ms` or `2h`; at most a year.
fn duration(text: &str) -> Result<Duration, String> {
    duration_within(text, Duration::ZERO, Duration::from_secs(365 * 86_400)).ok_or_else(|| {
        "must be from 0s to 8760h (a year): a whole number with ms, s, m or h, such as 30m"
            .to_owned()
    })
}

/// Parses the interval of the sweep. A longer one would leave overdue deliveries unnoticed.
fn sweep_interval(text: &str) -> Result<Duration, String> {
    duration_within(text, Duration::from_millis(10), Duration::from_secs(3_600)).ok_or_else(|| {
        "must be from 10ms to 1h: a whole number with ms, s, m or h, such as 1s".to_owned()
    })
}

fn duration_within(text: &str, min: Duration, max: Duration) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|char: char| !char.is_ascii_digit())?);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let time = Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(milliseconds)?);
    (min..=max).contains(&time).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        for (text, seconds) in
            [("30m", 1_800.0), ("15s", 15.0), ("500ms", 0.5), ("2h", 7_200.0), ("0s", 0.0)]
        {
            assert_eq!(duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for wrong in ["", "5", "m", "-1s", "1.5h", "1d", "1 s", "9999999h", "99999999999999999999s"]
        {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for (text, is_valid) in
            [("0s", false), ("9ms", false), ("10ms", true), ("60m", true), ("61m", false)]
        {
            assert_eq!(sweep_interval(text).is_ok(), is_valid, "{text}");
        }
    }
}
