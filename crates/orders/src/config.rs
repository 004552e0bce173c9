//! The order service's configuration.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use chassis::{
    http::{HttpConfig, web_address},
    kafka::{
        batch::BatchPolicy,
        config::KafkaConfig,
        names::{check_topics_differ, topic},
    },
    postgres::{address::Address, pool::PostgresConfig},
    process::{network::warn_of_unverified, number::within, secret},
};
use clap::{Args, builder::NonEmptyStringValueParser};
use events::topics::dead_letters;
use redis::{ConnectionAddr, IntoConnectionInfo as _, TlsCertificates};
use url::Url;

const OWN_DATABASE: &str = "ORDERS_DATABASE_URL";

/// The options of the order service.
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(flatten)]
    pub kafka: KafkaConfig,
    #[command(flatten)]
    pub topics: TopicConfig,
    #[command(flatten)]
    pub database: DatabaseConfig,
    #[command(flatten)]
    pub batch: BatchPolicy,
    /// Number of batches that are written at the same time, from 1 to 64.
    ///
    /// Each partition of the orders topic belongs to one lane, which keeps its records in order.
    /// More lanes than partitions have no effect. The order service writes status events in two
    /// further lanes. `waybill up` gives both services the same number.
    #[arg(
        long,
        env = "LANES",
        default_value_t = 4,
        value_name = "N",
        value_parser = within::<u16>(1..=64),
        help_heading = "Batches",
        hide_short_help = true
    )]
    pub lanes: u16,
    #[command(flatten)]
    pub cache: CacheConfig,
    /// IP address and port on which the order service listens.
    ///
    /// The address 0.0.0.0 listens on all interfaces.
    #[arg(
        long,
        env = "ORDERS_HTTP_ADDR",
        default_value = "127.0.0.1:8081",
        value_name = "IP:PORT",
        help_heading = "HTTP",
        display_order = 0
    )]
    pub orders_http_addr: SocketAddr,
    /// URL of the courier service, as browsers reach it.
    ///
    /// An order's page asks this address which courier has the order. Without this option, pages of
    /// `waybill orders` do not ask; in `waybill up` it is the address on which the courier service
    /// listens, and the courier service answers requests that are addressed to its host.
    #[arg(
        long,
        env = "COURIERS_URL",
        value_name = "URL",
        value_parser = web_address,
        help_heading = "HTTP"
    )]
    pub couriers_url: Option<Url>,
    /// URL of the order service, as browsers reach it.
    ///
    /// The order service answers requests that are addressed to the host of this URL, and accepts
    /// requests of pages of its origin. It is needed if a proxy in front of the service changes the
    /// header Host. In `waybill up`, the board links to this URL, only its pages may read answers of
    /// the courier service in a browser (CORS), and the default is the address on which the order
    /// service listens.
    #[arg(
        long,
        env = "ORDERS_URL",
        value_name = "URL",
        value_parser = web_address,
        help_heading = "HTTP",
        hide_short_help = true
    )]
    pub orders_url: Option<Url>,
    /// Hosts and connections.
    #[command(flatten)]
    pub http: HttpConfig,
}

impl Config {
    /// Returns an error for a setting that the service could use only later, or never.
    pub fn check(&self) -> anyhow::Result<()> {
        self.topics.check()?;
        self.kafka.check()?;
        self.kafka.warn();
        self.database.address()?.warn();
        self.cache.check()
    }
}

/// The names of the topics.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Kafka")]
pub struct TopicConfig {
    /// Topic of the orders, as JSON [default: orders].
    ///
    /// Rejected records are copied to the topic with the same name and the suffix .dlq, the
    /// dead-letter topic. KAFKA_TOPIC is accepted as well.
    #[arg(
        long,
        env = "KAFKA_ORDERS_TOPIC",
        value_name = "TOPIC",
        value_parser = topic,
        hide_short_help = true
    )]
    kafka_orders_topic: Option<String>,
    #[arg(long, env = "KAFKA_TOPIC", value_parser = topic, hide = true)]
    kafka_topic: Option<String>,
    /// Topic of the status events.
    ///
    /// All topics must differ, and none may be the dead-letter topic of another.
    #[arg(
        long,
        env = "KAFKA_STATUS_TOPIC",
        default_value = events::topics::ORDER_STATUS_CHANGED,
        value_name = "TOPIC",
        value_parser = topic,
        hide_short_help = true
    )]
    pub kafka_status_topic: String,
    /// Topic of the delivery events, which the courier service publishes.
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
    /// Returns the topic of orders.
    #[must_use]
    pub fn orders(&self) -> &str {
        self.kafka_orders_topic
            .as_deref()
            .or(self.kafka_topic.as_deref())
            .unwrap_or(events::topics::ORDERS)
    }

    /// Returns an error if two of the topics, including the dead-letter topics, have the same name:
    /// a service would then consume its own events or dead letters.
    pub fn check(&self) -> anyhow::Result<()> {
        check_topics_differ(
            &[
                ("KAFKA_ORDERS_TOPIC", self.orders()),
                ("KAFKA_STATUS_TOPIC", &self.kafka_status_topic),
                ("KAFKA_DELIVERIES_TOPIC", &self.kafka_deliveries_topic),
            ],
            dead_letters,
        )
    }
}

/// The database of the order service.
#[derive(Clone, Args)]
#[command(next_help_heading = "PostgreSQL")]
#[group(id = "orders-database")]
pub struct DatabaseConfig {
    /// PostgreSQL address of the order service.
    ///
    /// Without it, the service uses DATABASE_URL, or else POSTGRES_HOST and the other parts. The
    /// form is explained at --database-url.
    #[arg(
        long,
        env = "ORDERS_DATABASE_URL",
        value_name = "URL",
        value_parser = NonEmptyStringValueParser::new(),
        hide_env_values = true,
        display_order = 0
    )]
    orders_database_url: Option<String>,
    /// File that contains ORDERS_DATABASE_URL; overrides the variable.
    #[arg(
        long,
        env = "ORDERS_DATABASE_URL_FILE",
        value_name = "FILE",
        display_order = 1,
        hide_short_help = true
    )]
    orders_database_url_file: Option<PathBuf>,
    /// The address for each service that has no address of its own.
    #[command(flatten)]
    pub postgres: PostgresConfig,
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
    pub fn address(&self) -> anyhow::Result<Address> {
        match &self.local {
            Some(local) => Address::parse_local(local),
            None => self.postgres.address(self.own()?.as_deref(), OWN_DATABASE),
        }
    }

    fn own(&self) -> anyhow::Result<Option<String>> {
        let file = self.orders_database_url_file.as_deref();
        secret::read(OWN_DATABASE, self.orders_database_url.as_deref(), file)
    }

    /// Returns true if the user gave an address of PostgreSQL.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.orders_database_url.is_some()
            || self.orders_database_url_file.is_some()
            || self.postgres.is_given()
    }
}

/// The size and the age limit of the cache, and the address of Redis.
#[derive(Clone, Args)]
#[command(next_help_heading = "Cache")]
pub struct CacheConfig {
    /// Maximum size of the orders in memory, in bytes, from 0 to 274877906944 (256 GiB).
    ///
    /// The default is 256 MiB. After a start, the cache contains the newest orders.
    #[arg(
        long,
        env = "CACHE_BYTES",
        default_value_t = 256 << 20,
        value_name = "BYTES",
        value_parser = within::<u64>(0..=(256 << 30)),
        hide_short_help = true
    )]
    pub cache_bytes: u64,
    /// Age at which a cached order is stale and is read from PostgreSQL again, in seconds, from 0 to
    /// 31536000 (a year).
    ///
    /// Redis keeps an order for the same time. Give all replicas the same value. While PostgreSQL is
    /// unreachable, stale orders are still served.
    #[arg(
        long,
        env = "CACHE_MAX_AGE",
        default_value = "300",
        value_name = "SECONDS",
        value_parser = seconds,
        hide_short_help = true
    )]
    pub cache_max_age: Duration,
    /// Redis address of a second cache level, which all replicas share.
    ///
    /// It has the form `redis://host:port`, or `rediss://host:port` for TLS, which always verifies
    /// the certificate of the server. Without it, each replica has only its memory. The content of
    /// Redis may be deleted at any time. Redis Cluster is not supported.
    #[arg(
        long,
        env = "REDIS_URL",
        value_name = "URL",
        value_parser = NonEmptyStringValueParser::new(),
        hide_env_values = true
    )]
    redis_url: Option<String>,
    /// File that contains REDIS_URL; overrides the variable.
    #[arg(long, env = "REDIS_URL_FILE", value_name = "FILE", hide_short_help = true)]
    redis_url_file: Option<PathBuf>,
    /// PEM file of the certificate authority that signed the certificate of Redis.
    ///
    /// With it, only this authority is trusted; without it, those of the operating system. It
    /// requires a rediss:// address.
    #[arg(long, env = "REDIS_CA_FILE", value_name = "FILE", hide_short_help = true)]
    redis_ca_file: Option<PathBuf>,
    /// Secret of the checksums of the orders in Redis.
    ///
    /// A program that can write to Redis but does not know the secret cannot forge an order; it can
    /// still delete orders or write old ones back until they expire. If no secret is set, the key of
    /// the checksums is derived from KAFKA_GROUP_ID: the checksums then detect only damaged orders
    /// and those of other installations. Give all replicas the same value.
    #[arg(
        long,
        env = "REDIS_VALUE_KEY",
        value_name = "SECRET",
        hide_env_values = true,
        hide_short_help = true
    )]
    redis_value_key: Option<String>,
    /// File that contains REDIS_VALUE_KEY; overrides the variable.
    #[arg(long, env = "REDIS_VALUE_KEY_FILE", value_name = "FILE", hide_short_help = true)]
    redis_value_key_file: Option<PathBuf>,
}

impl CacheConfig {
    /// Returns an error for a setting of Redis that cannot be used or has no effect.
    pub fn check(&self) -> anyhow::Result<()> {
        self.redis_client()?;
        self.redis_value_key()?;
        Ok(())
    }

    /// Returns a client of Redis that has not connected yet, if the user gave an address.
    pub(crate) fn redis_client(&self) -> anyhow::Result<Option<redis::Client>> {
        let given = self.redis_url.as_deref();
        let Some(url) = secret::read("REDIS_URL", given, self.redis_url_file.as_deref())? else {
            ensure!(self.redis_ca_file.is_none(), "REDIS_CA_FILE has no effect without REDIS_URL");
            return Ok(None);
        };
        let address = url.as_str().into_connection_info();
        let address = address.context("REDIS_URL is not a Redis address")?;
        let is_tls = match address.addr() {
            ConnectionAddr::TcpTls { insecure, .. } => {
                ensure!(
                    !insecure,
                    "REDIS_URL ends with #insecure, which turns the verification of the certificate \
                     off; remove it, and set REDIS_CA_FILE to the authority that signed the \
                     certificate"
                );
                true
            }
            _ => false,
        };
        let Some(path) = &self.redis_ca_file else {
            return Ok(Some(redis::Client::open(address)?));
        };
        ensure!(
            is_tls,
            "REDIS_CA_FILE has no effect while REDIS_URL does not begin with rediss://; change the \
             address, or remove REDIS_CA_FILE"
        );
        let pem = std::fs::read(path);
        let pem = pem.with_context(|| format!("reading REDIS_CA_FILE {}", path.display()))?;
        let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
        let client = redis::Client::build_with_tls(address, certificates);
        client.map(Some).with_context(|| {
            format!("REDIS_CA_FILE {} is not a PEM file of certificates", path.display())
        })
    }

    /// Logs a warning if Redis is on another machine and its address does not require TLS.
    pub(crate) fn warn_of_unverified_redis(client: &redis::Client) {
        if let ConnectionAddr::Tcp(host, _) = client.get_connection_info().addr() {
            warn_of_unverified("Redis", [host.as_str()], "use a rediss:// address in REDIS_URL");
        }
    }

    /// Returns the secret of the values in Redis, if the user gave one.
    pub(crate) fn redis_value_key(&self) -> anyhow::Result<Option<String>> {
        let (given, file) = (self.redis_value_key.as_deref(), self.redis_value_key_file.as_deref());
        secret::read("REDIS_VALUE_KEY", given, file)
    }
}

impl std::fmt::Debug for CacheConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheConfig")
            .field("cache_bytes", &self.cache_bytes)
            .finish_non_exhaustive()
    }
}

/// Parses a number of seconds, at most a year.
fn seconds(text: &str) -> Result<Duration, &'static str> {
    match text.parse() {
        Ok(seconds @ 0..=31_536_000) => Ok(Duration::from_secs(seconds)),
        _ => Err("must be a whole number from 0 to 31536000 (a year)"),
    }
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
    fn the_address_in_the_file_overrides_all_others() {
        let file = file("database", "postgres://ada:open%20sesame@there/orders_of_ada\n");
        let database =
            config(&["--orders-database-url-file", &file, "--database-url", "postgres://b@c/d"])
                .database;
        assert!(database.is_given());
        let address = database.address().unwrap();
        let (login, options) = (address.login(), address.options());
        std::fs::remove_file(&file).unwrap();
        assert_eq!((login.user.as_str(), login.database.as_str()), ("ada", "orders_of_ada"));
        assert_eq!(login.password.as_deref(), Some("open sesame"));
        assert_eq!(options.get_host(), "there");
    }

    #[test]
    fn a_file_alone_gives_the_address() {
        assert!(config(&["--orders-database-url-file", "/nowhere"]).database.is_given());
    }

    #[test]
    fn the_address_of_redis_may_be_in_a_file() {
        let file = file("redis", "redis://there\n");
        let cache = config(&["--redis-url-file", &file, "--redis-url", "redis://here"]).cache;
        let given = address_of_redis(&cache);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(given, "there:6379");
        assert_eq!(address_of_redis(&config(&["--redis-url", "redis://here"]).cache), "here:6379");
    }

    fn address_of_redis(cache: &CacheConfig) -> String {
        cache.redis_client().unwrap().unwrap().get_connection_info().addr().to_string()
    }

    #[test]
    fn a_setting_of_redis_without_effect_is_an_error() {
        let file = file("no-certificate", "no certificate\n");
        for (options, expected) in [
            (&["--redis-ca-file", "x"][..], "REDIS_CA_FILE has no effect without REDIS_URL"),
            (&["--redis-url", "redis://a", "--redis-ca-file", "x"], "REDIS_CA_FILE has no effect"),
            (
                &["--redis-url", "rediss://a", "--redis-ca-file", "/no/x"],
                "reading REDIS_CA_FILE /no",
            ),
            (&["--redis-url", "rediss://a", "--redis-ca-file", &file], "is not a PEM file"),
            (&["--redis-url", "rediss://a/#insecure"], "REDIS_URL ends with #insecure"),
            (&["--redis-url", "http://a"], "REDIS_URL is not a Redis address"),
        ] {
            let error = config(options).cache.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{options:?}: {error}");
        }
        std::fs::remove_file(&file).unwrap();
        assert!(config(&["--redis-url", "rediss://a"]).cache.check().is_ok());
    }

    #[test]
    fn the_key_of_values_in_redis_may_be_in_a_file_and_is_never_shown() {
        let file = file("value-key", "from the file\n");
        let cache = config(&["--redis-value-key", "given"]).cache;
        assert!(!format!("{cache:?}").contains("given"));
        assert_eq!(cache.redis_value_key().unwrap().as_deref(), Some("given"));
        let key = config(&["--redis-value-key-file", &file]).cache.redis_value_key().unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(key.as_deref(), Some("from the file"));
        assert_eq!(config(&[]).cache.redis_value_key().unwrap(), None);
    }
}
