//! The Kafka settings that all clients share (address, security, group prefix), and the wait of
//! a tool for Kafka. The settings of one kind of client are with it:
//! [`consumer`](super::consumer), [`producer`](super::producer), [`tail`](super::tail).

use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use rdkafka::{
    ClientConfig,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _},
    error::RDKafkaErrorCode,
};
use tokio_util::sync::CancellationToken;

use crate::process::{exit::ExitReason, secret};

/// The time for which a tool waits for Kafka.
const REACH_TIMEOUT: Duration = Duration::from_secs(10);
/// The time for one request for metadata.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// The largest record that Waybill sends: a 1 MiB value, its key and its dead-letter headers fit.
pub const MAX_RECORD_BYTES: usize = 4 << 20;

/// The address and the security settings of Kafka.
#[derive(Clone, Args)]
pub struct KafkaConfig {
    /// Brokers to ask first: host:port, separated by commas.
    #[arg(long = "kafka-brokers", env = "KAFKA_BROKERS", value_name = "HOST:PORT,…")]
    brokers: Option<String>,
    #[arg(long = "kafka-broker", env = "KAFKA_BROKER", hide = true)]
    broker: Option<String>,
    /// What the consumer groups' names start with.
    #[arg(long = "kafka-group-id", env = "KAFKA_GROUP_ID", value_name = "PREFIX")]
    group_id: Option<String>,
    #[arg(long = "kafka-consumer-group", env = "KAFKA_CONSUMER_GROUP", hide = true)]
    consumer_group: Option<String>,
    /// plaintext, ssl, sasl_plaintext or sasl_ssl.
    #[arg(long, env = "KAFKA_SECURITY_PROTOCOL", value_name = "PROTOCOL")]
    kafka_security_protocol: Option<String>,
    /// PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
    #[arg(long, env = "KAFKA_SASL_MECHANISM", value_name = "MECHANISM")]
    kafka_sasl_mechanism: Option<String>,
    /// The user's name.
    #[arg(long, env = "KAFKA_SASL_USERNAME", value_name = "NAME")]
    kafka_sasl_username: Option<String>,
    /// The user's password.
    #[arg(long, env = "KAFKA_SASL_PASSWORD", value_name = "SECRET", hide_env_values = true)]
    kafka_sasl_password: Option<String>,
    /// A file that holds the user's password.
    #[arg(long, env = "KAFKA_SASL_PASSWORD_FILE", value_name = "FILE")]
    kafka_sasl_password_file: Option<std::path::PathBuf>,
    /// The certificate authority's file, PEM.
    #[arg(long, env = "KAFKA_SSL_CA_LOCATION", value_name = "FILE")]
    kafka_ssl_ca_location: Option<String>,
    /// The client certificate's file, PEM.
    #[arg(long, env = "KAFKA_SSL_CERTIFICATE_LOCATION", value_name = "FILE")]
    kafka_ssl_certificate_location: Option<String>,
    /// The client key's file, PEM.
    #[arg(long, env = "KAFKA_SSL_KEY_LOCATION", value_name = "FILE")]
    kafka_ssl_key_location: Option<String>,
    /// Whether missing topics are made at the start.
    #[arg(long, env = "KAFKA_CREATE_TOPICS", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub kafka_create_topics: bool,
}

impl std::fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaConfig").field("brokers", &self.brokers()).finish_non_exhaustive()
    }
}

impl KafkaConfig {
    #[must_use]
    pub fn brokers(&self) -> &str {
        self.brokers.as_deref().or(self.broker.as_deref()).unwrap_or("127.0.0.1:9092")
    }

    /// Returns true if the address of Kafka is configured.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.brokers.is_some() || self.broker.is_some()
    }

    #[must_use]
    pub fn with_brokers(mut self, brokers: String) -> Self {
        self.brokers = Some(brokers);
        self
    }

    #[must_use]
    pub fn with_group_prefix(mut self, prefix: String) -> Self {
        self.group_id = Some(prefix);
        self
    }

    /// Returns the consumer group of one part of Waybill.
    #[must_use]
    pub fn group(&self, part: &str) -> String {
        format!("{}.{part}", self.group_prefix())
    }

    /// Returns the `ce_source` of the events of a service: each installation has its own.
    #[must_use]
    pub fn event_source(&self, service: &str) -> String {
        format!("waybill/{}/{service}", self.group_prefix())
    }

    fn group_prefix(&self) -> &str {
        self.group_id.as_deref().or(self.consumer_group.as_deref()).unwrap_or("waybill")
    }

    /// Returns the settings that all clients share.
    pub(crate) fn client(&self) -> anyhow::Result<ClientConfig> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.brokers())
            .set("client.id", "waybill")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.max.ms", "2000");
        let password = secret::read(
            "KAFKA_SASL_PASSWORD",
            self.kafka_sasl_password.as_deref(),
            self.kafka_sasl_password_file.as_deref(),
        )
        .context(ExitReason::Configuration)?;
        for (name, value) in [
            ("security.protocol", &self.kafka_security_protocol),
            ("sasl.mechanism", &self.kafka_sasl_mechanism),
            ("sasl.username", &self.kafka_sasl_username),
            ("sasl.password", &password),
            ("ssl.ca.location", &self.kafka_ssl_ca_location),
            ("ssl.certificate.location", &self.kafka_ssl_certificate_location),
            ("ssl.key.location", &self.kafka_ssl_key_location),
        ] {
            if let Some(value) = value {
                config.set(name, value);
            }
        }
        Ok(config)
    }

    /// Waits until Kafka answers, without a limit, and logs once that it waits. Returns true if
    /// Kafka has the topic. Credentials that Kafka refuses are an error.
    async fn reach(&self, topic: &str) -> anyhow::Result<bool> {
        let client: BaseConsumer = self
            .client()?
            .set("group.id", "unused")
            .create()
            .context("configuring the Kafka client")
            .context(ExitReason::Configuration)?;
        let (brokers, topic) = (self.brokers().to_owned(), topic.to_owned());
        let stop = CancellationToken::new();
        // The thread also ends when this future is dropped; otherwise the runtime could not end.
        let _stop_when_dropped = stop.clone().drop_guard();
        let asking = tokio::task::spawn_blocking(move || {
            let mut logged = false;
            while !stop.is_cancelled() {
                let error = match client.fetch_metadata(Some(&topic), METADATA_TIMEOUT) {
                    Ok(metadata) => {
                        return Ok(metadata.topics().iter().any(|topic| topic.error().is_none()));
                    }
                    Err(error) => error,
                };
                check_credentials(&client, &brokers)?;
                if !logged {
                    tracing::warn!("waiting for Kafka at {brokers}: {error}");
                    logged = true;
                }
            }
            Ok(false)
        });
        asking.await.context("asking Kafka ended")?
    }

    /// For tools: waits until Kafka answers, for 10 seconds at most. A missing topic is an error.
    pub async fn reach_topic(&self, topic: &str) -> anyhow::Result<()> {
        let Ok(answer) = tokio::time::timeout(REACH_TIMEOUT, self.reach(topic)).await else {
            return Err(ExitReason::Unreachable(format!(
                "Kafka at {} was silent for 10 seconds; start it, or give --kafka-brokers",
                self.brokers()
            ))
            .into());
        };
        if answer? {
            return Ok(());
        }
        Err(anyhow!("Kafka at {} has no topic {topic}; `waybill orders` makes it", self.brokers())
            .context(ExitReason::Configuration))
    }
}

/// Returns an error if Kafka refused the credentials of `client` since the last call.
pub(crate) fn check_credentials(client: &BaseConsumer, brokers: &str) -> anyhow::Result<()> {
    while let Some(Err(error)) = client.poll(Duration::ZERO) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Authentication) {
            return Err(anyhow!(
                "Kafka at {brokers} refuses the user or the password: check \
                 KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM"
            )
            .context(ExitReason::Configuration));
        }
    }
    Ok(())
}

/// Passes a line of the Kafka client's log on to ours, at levels that only `RUST_LOG` turns on.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Debug => tracing::trace!(target: "librdkafka", "{facility}: {line}"),
        _ => tracing::debug!(target: "librdkafka", "{facility}: {line}"),
    }
}
