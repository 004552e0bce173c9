//! The courier service's configuration.
//!
//! The options that it shares with other services ([`KafkaConfig`], [`PostgresConfig`], the batches)
//! are beside its own, [`Options`], so that `waybill up` can pass the same ones to both services.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use chassis::{
    http::web_address,
    kafka::{batch::BatchPolicy, config::KafkaConfig},
    postgres::pool::{Login, PostgresConfig},
    process::secret,
};
use clap::Args;
use sqlx::postgres::PgConnectOptions;
use url::Url;

use crate::delivery::DeliveryTimes;

const OWN_DATABASE: &str = "COURIERS_DATABASE_URL";

/// What the courier service needs to know.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// The topic.
    #[command(flatten)]
    pub topics: TopicConfig,
    /// The database of every service that has none of its own.
    #[command(flatten)]
    pub postgres: PostgresConfig,
    /// When a batch ends.
    #[command(flatten)]
    pub batch: BatchPolicy,
    /// How many batches may be written at once.
    #[arg(long, env = "LANES", default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub lanes: u16,
    /// The most open HTTP connections.
    #[arg(long, env = "HTTP_CONNECTIONS", default_value_t = 10_000, value_name = "N")]
    pub http_connections: usize,
    /// The order service as browsers reach it: its pages, and no others, may ask here who delivers.
    #[arg(long, env = "ORDERS_URL", default_value = "http://127.0.0.1:8081", value_name = "URL", value_parser = web_address)]
    pub orders_url: Url,
    /// What is the courier service's alone.
    #[command(flatten)]
    pub own: Options,
}

/// What no other service has.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where deliveries are kept.
    #[command(flatten)]
    pub database: DatabaseConfig,
    /// Where to listen for HTTP.
    #[arg(
        long,
        env = "COURIERS_HTTP_ADDR",
        default_value = "127.0.0.1:8082",
        value_name = "HOST:PORT"
    )]
    pub couriers_http_addr: SocketAddr,
    /// How long a delivery on foot may take.
    #[arg(long, env = "DELIVERY_TIME_ON_FOOT", default_value = "30m", value_name = "TIME", value_parser = duration)]
    pub delivery_time_on_foot: Duration,
    /// How long a delivery by scooter may take.
    #[arg(long, env = "DELIVERY_TIME_SCOOTER", default_value = "15m", value_name = "TIME", value_parser = duration)]
    pub delivery_time_scooter: Duration,
    /// How long a delivery by car may take.
    #[arg(long, env = "DELIVERY_TIME_CAR", default_value = "5m", value_name = "TIME", value_parser = duration)]
    pub delivery_time_car: Duration,
    /// So long after its deadline a delivery that nobody completed no longer binds its courier.
    #[arg(long, env = "OVERDUE_GRACE", default_value = "15m", value_name = "TIME", value_parser = duration)]
    pub overdue_grace: Duration,
    /// How often couriers are sought for waiting orders though nothing has happened.
    #[arg(long, env = "DISPATCH_SWEEP", default_value = "1s", value_name = "TIME", value_parser = interval)]
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

/// Where status events come from.
#[derive(Debug, Clone, Args)]
pub struct TopicConfig {
    /// Status events; their dead letters go to the same name with .dlq.
    #[arg(long, env = "KAFKA_STATUS_TOPIC", value_name = "TOPIC")]
    kafka_status_topic: Option<String>,
    #[arg(long, env = "KAFKA_ORDER_TOPIC", hide = true)]
    kafka_order_topic: Option<String>,
    #[arg(long, env = "KAFKA_TOPIC", hide = true)]
    kafka_topic: Option<String>,
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
    pub fn named(status: String) -> Self {
        Self { kafka_status_topic: Some(status), kafka_order_topic: None, kafka_topic: None }
    }
}

/// Where the deliveries are kept.
#[derive(Clone, Args)]
#[group(id = "couriers-database")]
pub struct DatabaseConfig {
    /// The courier service's database; without it DATABASE_URL, then POSTGRES_HOST and its kin.
    #[arg(long, env = "COURIERS_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub couriers_database_url: Option<String>,
    /// A file that holds COURIERS_DATABASE_URL.
    #[arg(long, env = "COURIERS_DATABASE_URL_FILE", value_name = "FILE")]
    couriers_database_url_file: Option<PathBuf>,
}

impl std::fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseConfig").finish_non_exhaustive()
    }
}

impl DatabaseConfig {
    pub fn options(&self, postgres: &PostgresConfig) -> anyhow::Result<PgConnectOptions> {
        postgres.options(self.own()?.as_deref(), OWN_DATABASE)
    }

    /// Returns the user that the service logs in as.
    pub fn login(&self, postgres: &PostgresConfig) -> anyhow::Result<Login> {
        postgres.login(self.own()?.as_deref(), OWN_DATABASE)
    }

    fn own(&self) -> anyhow::Result<Option<String>> {
        let file = self.couriers_database_url_file.as_deref();
        secret::read(OWN_DATABASE, self.couriers_database_url.as_deref(), file)
    }

    /// Returns whether an address of PostgreSQL is configured.
    #[must_use]
    pub fn is_given(&self, postgres: &PostgresConfig) -> bool {
        self.couriers_database_url.is_some()
            || self.couriers_database_url_file.is_some()
            || postgres.is_given()
    }
}

/// Parses a time such as `30m`, `15s`, `500ms` or `2h`; at most a year.
fn duration(text: &str) -> Result<Duration, &'static str> {
    let wrong = "a time is a whole number and ms, s, m or h, such as 30m, and at most a year";
    let unit = text.find(|char: char| !char.is_ascii_digit()).ok_or(wrong)?;
    let milliseconds: u64 = match &text[unit..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong),
    };
    let number: u64 = text[..unit].parse().map_err(|_| wrong)?;
    let time = number.checked_mul(milliseconds).map(Duration::from_millis).ok_or(wrong)?;
    if time <= Duration::from_secs(365 * 86_400) { Ok(time) } else { Err(wrong) }
}

/// Parses a time above zero.
fn interval(text: &str) -> Result<Duration, &'static str> {
    duration(text)
        .and_then(|time| if time.is_zero() { Err("must be longer than nothing") } else { Ok(time) })
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
        assert!(interval("0s").is_err() && interval("1ms").is_ok());
    }
}
