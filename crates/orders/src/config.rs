//! The order service's configuration.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use chassis::{
    http::web_address,
    kafka::{batch::BatchPolicy, config::KafkaConfig},
    postgres::pool::{Login, PostgresConfig},
    process::secret,
};
use clap::Args;
use events::topics::dead_letters;
use sqlx::postgres::PgConnectOptions;
use url::Url;

const OWN_DATABASE: &str = "ORDERS_DATABASE_URL";

/// What the order service needs to know.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// The topics.
    #[command(flatten)]
    pub topics: TopicConfig,
    /// The database.
    #[command(flatten)]
    pub database: DatabaseConfig,
    /// When a batch ends.
    #[command(flatten)]
    pub batch: BatchPolicy,
    /// How many batches may be written at once.
    #[arg(long, env = "LANES", default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub lanes: u16,
    /// The cache.
    #[command(flatten)]
    pub cache: CacheConfig,
    /// Where to listen for HTTP.
    #[arg(
        long,
        env = "ORDERS_HTTP_ADDR",
        default_value = "127.0.0.1:8081",
        value_name = "HOST:PORT"
    )]
    pub orders_http_addr: SocketAddr,
    /// The courier service as browsers reach it: order pages ask there who delivers an order.
    #[arg(long, env = "COURIERS_URL", value_name = "URL", value_parser = web_address)]
    pub couriers_url: Option<Url>,
    /// The most open HTTP connections.
    #[arg(long, env = "HTTP_CONNECTIONS", default_value_t = 10_000, value_name = "N")]
    pub http_connections: usize,
}

/// Names of topics.
#[derive(Debug, Clone, Args)]
pub struct TopicConfig {
    /// Orders as JSON; its dead letters go to the same name with .dlq.
    #[arg(long, env = "KAFKA_ORDERS_TOPIC", value_name = "TOPIC")]
    kafka_orders_topic: Option<String>,
    #[arg(long, env = "KAFKA_TOPIC", hide = true)]
    kafka_topic: Option<String>,
    /// Status events.
    #[arg(long, env = "KAFKA_STATUS_TOPIC", default_value = events::topics::ORDER_STATUS_CHANGED, value_name = "TOPIC")]
    pub kafka_status_topic: String,
}

impl TopicConfig {
    /// The topic of orders.
    #[must_use]
    pub fn orders(&self) -> &str {
        self.kafka_orders_topic
            .as_deref()
            .or(self.kafka_topic.as_deref())
            .unwrap_or(events::topics::ORDERS)
    }

    /// Names for a test or a bench of its own.
    #[must_use]
    pub fn named(orders: String, status: String) -> Self {
        Self { kafka_orders_topic: Some(orders), kafka_topic: None, kafka_status_topic: status }
    }

    /// With two equal names, those of the dead letters included, a service would eat its own events
    /// or dead letters.
    pub fn check(&self) -> anyhow::Result<()> {
        let (orders, status) = (self.orders(), self.kafka_status_topic.as_str());
        anyhow::ensure!(
            orders != status,
            "KAFKA_ORDERS_TOPIC and KAFKA_STATUS_TOPIC are both {orders}: they must differ"
        );
        for (one, other) in [(orders, status), (status, orders)] {
            anyhow::ensure!(
                *one != dead_letters(other),
                "KAFKA_ORDERS_TOPIC is {orders} and KAFKA_STATUS_TOPIC is {status}: they must \
                 differ, and from {one} too, where the dead letters of {other} go"
            );
        }
        Ok(())
    }
}

/// Where the orders are kept.
#[derive(Clone, Args)]
#[group(id = "orders-database")]
pub struct DatabaseConfig {
    /// The order service's database; without it DATABASE_URL, then POSTGRES_HOST and its kin.
    #[arg(long, env = "ORDERS_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub orders_database_url: Option<String>,
    /// A file that holds ORDERS_DATABASE_URL.
    #[arg(long, env = "ORDERS_DATABASE_URL_FILE", value_name = "FILE")]
    orders_database_url_file: Option<PathBuf>,
    /// The database of every service that has none of its own.
    #[command(flatten)]
    pub postgres: PostgresConfig,
}

impl std::fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseConfig").finish_non_exhaustive()
    }
}

impl DatabaseConfig {
    /// How to connect.
    pub fn options(&self) -> anyhow::Result<PgConnectOptions> {
        self.postgres.options(self.own()?.as_deref(), OWN_DATABASE)
    }

    /// Whom the service logs in as.
    pub fn login(&self) -> anyhow::Result<Login> {
        self.postgres.login(self.own()?.as_deref(), OWN_DATABASE)
    }

    fn own(&self) -> anyhow::Result<Option<String>> {
        let file = self.orders_database_url_file.as_deref();
        secret::read(OWN_DATABASE, self.orders_database_url.as_deref(), file)
    }

    /// Has anybody said where PostgreSQL is?
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.orders_database_url.is_some()
            || self.orders_database_url_file.is_some()
            || self.postgres.is_given()
    }
}

/// The cache.
#[derive(Clone, Args)]
pub struct CacheConfig {
    /// The most bytes of orders in memory.
    #[arg(long, env = "CACHE_BYTES", default_value_t = 256 << 20, value_name = "BYTES")]
    pub cache_bytes: u64,
    /// A cached order older than this many seconds is asked about again.
    #[arg(long, env = "CACHE_MAX_AGE", default_value = "300", value_name = "SECONDS", value_parser = seconds)]
    pub cache_max_age: Duration,
    /// A second level shared by replicas.
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    redis_url: Option<String>,
    /// A file that holds REDIS_URL.
    #[arg(long, env = "REDIS_URL_FILE", value_name = "FILE")]
    redis_url_file: Option<PathBuf>,
}

impl CacheConfig {
    /// Where Redis is, if there is one.
    pub fn redis_url(&self) -> anyhow::Result<Option<String>> {
        secret::read("REDIS_URL", self.redis_url.as_deref(), self.redis_url_file.as_deref())
    }
}

impl std::fmt::Debug for CacheConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheConfig")
            .field("cache_bytes", &self.cache_bytes)
            .finish_non_exhaustive()
    }
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }

    fn config(options: &[&str]) -> Config {
        Cli::try_parse_from([&["test"], options].concat()).unwrap().config
    }

    fn file(name: &str, text: &str) -> String {
        let path = std::env::temp_dir().join(format!("waybill-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn the_database_of_the_file_beats_all_others() {
        let file = file("database", "postgres://ada:open%20sesame@there/orders_of_ada\n");
        let database =
            config(&["--orders-database-url-file", &file, "--database-url", "postgres://b@c/d"])
                .database;
        assert!(database.is_given());
        let login = database.login().unwrap();
        let options = database.options().unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!((login.user.as_str(), login.database.as_str()), ("ada", "orders_of_ada"));
        assert_eq!(login.password.as_deref(), Some("open sesame"));
        assert_eq!(options.get_host(), "there");
    }

    #[test]
    fn a_file_alone_says_where_the_database_is() {
        assert!(config(&["--orders-database-url-file", "/nowhere"]).database.is_given());
    }

    #[test]
    fn the_address_of_redis_may_be_in_a_file() {
        let file = file("redis", "redis://there\n");
        let cache = config(&["--redis-url-file", &file, "--redis-url", "redis://here"]).cache;
        let url = cache.redis_url().unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(url.as_deref(), Some("redis://there"));
        assert_eq!(
            config(&["--redis-url", "redis://here"]).cache.redis_url().unwrap().as_deref(),
            Some("redis://here")
        );
    }
}
