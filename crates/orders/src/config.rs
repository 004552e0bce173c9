//! The order service's configuration.

use std::{net::SocketAddr, time::Duration};

use chassis::{
    batch::BatchPolicy,
    kafka::KafkaConfig,
    postgres::{Login, PostgresConfig},
};
use clap::Args;
use sqlx::postgres::PgConnectOptions;

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

    /// Two equal names would make the service eat its own events.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.orders() != self.kafka_status_topic,
            "KAFKA_ORDERS_TOPIC and KAFKA_STATUS_TOPIC are both {}: they must differ",
            self.orders()
        );
        Ok(())
    }
}

/// Where the orders are kept.
#[derive(Clone, Args)]
pub struct DatabaseConfig {
    /// The order service's database; without it DATABASE_URL, then POSTGRES_HOST and its kin.
    #[arg(long, env = "ORDERS_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub orders_database_url: Option<String>,
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
        self.postgres.options(self.orders_database_url.as_deref(), "ORDERS_DATABASE_URL")
    }

    /// Whom the service logs in as.
    pub fn login(&self) -> anyhow::Result<Login> {
        self.postgres.login(self.orders_database_url.as_deref(), "ORDERS_DATABASE_URL")
    }

    /// Has anybody said where PostgreSQL is?
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.orders_database_url.is_some() || self.postgres.is_given()
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
    pub redis_url: Option<String>,
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
