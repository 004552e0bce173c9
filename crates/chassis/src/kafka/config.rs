//! The Kafka settings that all clients share (address, security, group prefix), and the wait of
//! a tool for Kafka. The settings of one kind of client are with it:
//! [`consumer`](super::consumer), [`producer`](super::producer), [`tail`](super::tail).

use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use clap::{
    Args,
    builder::{NonEmptyStringValueParser, PossibleValuesParser},
};
use rdkafka::{
    ClientConfig,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _},
};
use tokio_util::sync::CancellationToken;

use crate::{
    kafka::{names, refusal},
    process::{exit::ExitReason, network::warn_of_unverified, secret},
};

/// Bounds the time for which a tool waits for Kafka.
const REACH_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait for the answer to a request, in milliseconds. After it the client closes the
/// connection and connects again, so that a connection that never answers delays the service for
/// seconds. The client's default is a minute.
const ANSWER_TIMEOUT_MS: &str = "10000";
/// Bounds one request for metadata.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// The largest record that Waybill sends: a 1 MiB value, its key and its dead-letter headers fit.
pub const MAX_RECORD_BYTES: usize = 4 << 20;

/// The security protocols that the SASL settings and the TLS settings require.
const SASL: &str = "sasl_plaintext or sasl_ssl";
const TLS: &str = "ssl or sasl_ssl";

/// The address of Kafka, the security settings, and the prefix of the consumer groups.
#[derive(Clone, Args)]
#[command(next_help_heading = "Kafka")]
pub struct KafkaConfig {
    /// Kafka brokers to connect to first: host:port, separated by commas.
    ///
    /// The client learns the other brokers of the cluster from the first one that answers.
    /// The default is 127.0.0.1:9092; `waybill up` has no default: without this option it starts a
    /// local Kafka. KAFKA_BROKER is accepted as well.
    #[arg(
        long = "kafka-brokers",
        env = "KAFKA_BROKERS",
        value_name = "HOST:PORT,…",
        value_parser = names::brokers
    )]
    brokers: Option<String>,
    #[arg(
        long = "kafka-broker",
        env = "KAFKA_BROKER",
        value_parser = names::brokers,
        hide = true
    )]
    broker: Option<String>,
    /// Prefix of the names of the consumer groups [default: waybill].
    ///
    /// The groups of the order service are `<prefix>.orders`, `<prefix>.status` and
    /// `<prefix>.deliveries`; the group of the courier service is `<prefix>.couriers`. All replicas of
    /// a service need the same prefix. A new prefix reads the topics from their beginning.
    /// KAFKA_CONSUMER_GROUP is accepted as well.
    #[arg(
        long = "kafka-group-id",
        env = "KAFKA_GROUP_ID",
        value_name = "PREFIX",
        value_parser = names::group_prefix,
        hide_short_help = true
    )]
    group_id: Option<String>,
    #[arg(
        long = "kafka-consumer-group",
        env = "KAFKA_CONSUMER_GROUP",
        value_parser = names::group_prefix,
        hide = true
    )]
    consumer_group: Option<String>,
    /// Identity of this replica in the consumer groups, for a fast restart.
    ///
    /// With it, a replica that is restarted within 30 seconds, also after it was killed, gets its
    /// partitions back at once, and the other replicas keep theirs. Each replica of a service needs
    /// an id of its own that stays the same, such as the name of its pod in a StatefulSet: of two
    /// processes with the same id, one ends. The partitions of a replica that is stopped and
    /// not restarted are read by the others after 30 seconds.
    #[arg(
        long,
        env = "KAFKA_INSTANCE_ID",
        value_name = "ID",
        value_parser = names::instance_id,
        hide_short_help = true
    )]
    kafka_instance_id: Option<String>,
    /// Security protocol: plaintext, ssl, sasl_plaintext or sasl_ssl [default: plaintext].
    #[arg(
        long,
        env = "KAFKA_SECURITY_PROTOCOL",
        value_name = "PROTOCOL",
        value_parser = PossibleValuesParser::new(["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]),
        ignore_case = true,
        hide_possible_values = true,
        hide_short_help = true
    )]
    kafka_security_protocol: Option<String>,
    /// SASL mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
    ///
    /// It, the user name and the password are required if the security protocol is sasl_plaintext
    /// or sasl_ssl, and refused otherwise.
    #[arg(
        long,
        env = "KAFKA_SASL_MECHANISM",
        value_name = "MECHANISM",
        value_parser = PossibleValuesParser::new(["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
        hide_possible_values = true,
        hide_short_help = true
    )]
    kafka_sasl_mechanism: Option<String>,
    /// SASL user name.
    #[arg(
        long,
        env = "KAFKA_SASL_USERNAME",
        value_name = "NAME",
        value_parser = NonEmptyStringValueParser::new(),
        hide_short_help = true
    )]
    kafka_sasl_username: Option<String>,
    /// SASL password.
    ///
    /// Prefer the file or the environment variable: other users of the machine can read the command
    /// line of a process.
    #[arg(
        long,
        env = "KAFKA_SASL_PASSWORD",
        value_name = "SECRET",
        value_parser = NonEmptyStringValueParser::new(),
        hide_env_values = true,
        hide_short_help = true
    )]
    kafka_sasl_password: Option<String>,
    /// File that contains the SASL password; overrides KAFKA_SASL_PASSWORD.
    #[arg(long, env = "KAFKA_SASL_PASSWORD_FILE", value_name = "FILE", hide_short_help = true)]
    kafka_sasl_password_file: Option<std::path::PathBuf>,
    /// PEM file of the certificate authority that signed the brokers' certificates.
    ///
    /// Without it, the certificate authorities of the operating system are trusted. This option and
    /// the next two require the security protocol ssl or sasl_ssl.
    #[arg(
        long,
        env = "KAFKA_SSL_CA_LOCATION",
        value_name = "FILE",
        value_parser = NonEmptyStringValueParser::new(),
        hide_short_help = true
    )]
    kafka_ssl_ca_location: Option<String>,
    /// PEM file of the client certificate, if the brokers require one (mutual TLS).
    #[arg(
        long,
        env = "KAFKA_SSL_CERTIFICATE_LOCATION",
        value_name = "FILE",
        value_parser = NonEmptyStringValueParser::new(),
        hide_short_help = true
    )]
    kafka_ssl_certificate_location: Option<String>,
    /// PEM file of the private key of the client certificate.
    #[arg(
        long,
        env = "KAFKA_SSL_KEY_LOCATION",
        value_name = "FILE",
        value_parser = NonEmptyStringValueParser::new(),
        hide_short_help = true
    )]
    kafka_ssl_key_location: Option<String>,
    /// Password of the private key, if its file is encrypted.
    ///
    /// Prefer the file or the environment variable: other users of the machine can read the command
    /// line of a process.
    #[arg(
        long,
        env = "KAFKA_SSL_KEY_PASSWORD",
        value_name = "SECRET",
        value_parser = NonEmptyStringValueParser::new(),
        hide_env_values = true,
        hide_short_help = true
    )]
    kafka_ssl_key_password: Option<String>,
    /// File that contains the password of the private key; overrides KAFKA_SSL_KEY_PASSWORD.
    #[arg(long, env = "KAFKA_SSL_KEY_PASSWORD_FILE", value_name = "FILE", hide_short_help = true)]
    kafka_ssl_key_password_file: Option<std::path::PathBuf>,
    /// Create missing topics at the start: true or false.
    ///
    /// They get 8 partitions, the replication factor that the brokers have as default, and the
    /// timestamp type LogAppendTime; dead-letter topics accept records of up to 4 MiB. Set it to
    /// false if the user of the service may not create topics, and create them yourself.
    #[arg(
        long,
        env = "KAFKA_CREATE_TOPICS",
        default_value_t = true,
        action = clap::ArgAction::Set,
        value_name = "BOOL",
        hide_short_help = true
    )]
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

    /// Returns true if the user gave an address of Kafka.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.brokers.is_some() || self.broker.is_some()
    }

    #[must_use]
    pub fn with_brokers(mut self, brokers: String) -> Self {
        self.brokers = Some(brokers);
        self
    }

    /// Removes the security settings: a Kafka that `waybill up` starts itself has none.
    #[must_use]
    pub fn without_security(self) -> Self {
        Self {
            kafka_security_protocol: None,
            kafka_sasl_mechanism: None,
            kafka_sasl_username: None,
            kafka_sasl_password: None,
            kafka_sasl_password_file: None,
            kafka_ssl_ca_location: None,
            kafka_ssl_certificate_location: None,
            kafka_ssl_key_location: None,
            kafka_ssl_key_password: None,
            kafka_ssl_key_password_file: None,
            ..self
        }
    }

    /// Sets the instance id, unless the user gave one.
    #[must_use]
    pub fn with_default_instance(mut self, id: &str) -> Self {
        self.kafka_instance_id.get_or_insert_with(|| id.to_owned());
        self
    }

    /// Returns the identity of this replica in the consumer groups.
    #[must_use]
    pub(crate) fn instance_id(&self) -> Option<&str> {
        self.kafka_instance_id.as_deref()
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

    /// Returns the prefix of the consumer groups, which names the installation.
    #[must_use]
    pub fn group_prefix(&self) -> &str {
        self.group_id.as_deref().or(self.consumer_group.as_deref()).unwrap_or("waybill")
    }

    /// Returns an error if the Kafka client cannot be configured, or if a security setting has no
    /// effect with the security protocol: the user would believe that the connection is secure.
    pub fn check(&self) -> anyhow::Result<()> {
        let protocol = self.protocol();
        let (sasl, tls) = (protocol.starts_with("sasl"), protocol.ends_with("ssl"));
        let password = self.kafka_sasl_password.is_some();
        let password_file = self.kafka_sasl_password_file.is_some();
        let certificate = self.kafka_ssl_certificate_location.is_some();
        let key = self.kafka_ssl_key_location.is_some();
        let key_password = self.kafka_ssl_key_password.is_some();
        let key_password_file = self.kafka_ssl_key_password_file.is_some();
        for (name, is_given, is_used, others) in [
            ("KAFKA_SASL_MECHANISM", self.kafka_sasl_mechanism.is_some(), sasl, SASL),
            ("KAFKA_SASL_USERNAME", self.kafka_sasl_username.is_some(), sasl, SASL),
            ("KAFKA_SASL_PASSWORD", password, sasl, SASL),
            ("KAFKA_SASL_PASSWORD_FILE", password_file, sasl, SASL),
            ("KAFKA_SSL_CA_LOCATION", self.kafka_ssl_ca_location.is_some(), tls, TLS),
            ("KAFKA_SSL_CERTIFICATE_LOCATION", certificate, tls, TLS),
            ("KAFKA_SSL_KEY_LOCATION", key, tls, TLS),
            ("KAFKA_SSL_KEY_PASSWORD", key_password, tls, TLS),
            ("KAFKA_SSL_KEY_PASSWORD_FILE", key_password_file, tls, TLS),
        ] {
            let is_only_unused = name == "KAFKA_SSL_CA_LOCATION" && self.has_unused_authority();
            ensure!(
                is_used || !is_given || is_only_unused,
                "{name} has no effect while KAFKA_SECURITY_PROTOCOL is {protocol}; set it to \
                 {others}, or remove {name}"
            );
        }
        for (name, is_given) in [
            ("KAFKA_SASL_MECHANISM", self.kafka_sasl_mechanism.is_some()),
            ("KAFKA_SASL_USERNAME", self.kafka_sasl_username.is_some()),
            ("KAFKA_SASL_PASSWORD", password || password_file),
        ] {
            ensure!(
                is_given || !sasl,
                "KAFKA_SECURITY_PROTOCOL is {protocol}, which requires {name}"
            );
        }
        ensure!(
            certificate == key,
            "KAFKA_SSL_CERTIFICATE_LOCATION and KAFKA_SSL_KEY_LOCATION require each other"
        );
        for (name, is_given) in [
            ("KAFKA_SSL_KEY_PASSWORD", key_password),
            ("KAFKA_SSL_KEY_PASSWORD_FILE", key_password_file),
        ] {
            ensure!(key || !is_given, "{name} has no effect without KAFKA_SSL_KEY_LOCATION");
        }
        // The client itself checks the rest, such as the PEM files.
        self.client()?.create::<BaseConsumer>().context(if key {
            "configuring the Kafka client; check KAFKA_SSL_CERTIFICATE_LOCATION, \
             KAFKA_SSL_KEY_LOCATION and KAFKA_SSL_KEY_PASSWORD"
        } else {
            "configuring the Kafka client"
        })?;
        Ok(())
    }

    /// Logs what the user may not expect: a certificate authority without effect, and brokers on
    /// other machines without verified TLS.
    pub fn warn(&self) {
        if self.has_unused_authority() {
            tracing::warn!(
                "KAFKA_SSL_CA_LOCATION has no effect, because KAFKA_SECURITY_PROTOCOL is plaintext"
            );
        }
        if !self.protocol().ends_with("ssl") {
            let hosts = self.brokers().split(',').map(|broker| {
                let broker = broker.trim();
                let broker = broker.split_once("://").map_or(broker, |(_, broker)| broker);
                broker.rsplit_once(':').map_or(broker, |(host, _)| host)
            });
            warn_of_unverified("Kafka", hosts, "set KAFKA_SECURITY_PROTOCOL to ssl or sasl_ssl");
        }
    }

    /// Returns the security protocol, in lower case.
    fn protocol(&self) -> String {
        self.kafka_security_protocol.as_deref().unwrap_or("plaintext").to_ascii_lowercase()
    }

    /// Returns true if the user wants no TLS, says so, and only has a certificate authority besides:
    /// it is often a setting of all programs of a machine.
    fn has_unused_authority(&self) -> bool {
        let protocol = self.kafka_security_protocol.as_deref();
        protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case("plaintext"))
            && self.kafka_ssl_ca_location.is_some()
    }

    /// Returns the settings that all clients share.
    pub(crate) fn client(&self) -> anyhow::Result<ClientConfig> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.brokers())
            .set("client.id", "waybill")
            .set("socket.keepalive.enable", "true")
            .set("socket.timeout.ms", ANSWER_TIMEOUT_MS)
            .set("reconnect.backoff.max.ms", "2000");
        let password = secret::read(
            "KAFKA_SASL_PASSWORD",
            self.kafka_sasl_password.as_deref(),
            self.kafka_sasl_password_file.as_deref(),
        )
        .context(ExitReason::Configuration)?;
        let key_password = secret::read(
            "KAFKA_SSL_KEY_PASSWORD",
            self.kafka_ssl_key_password.as_deref(),
            self.kafka_ssl_key_password_file.as_deref(),
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
            ("ssl.key.password", &key_password),
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
        let client = refusal::probe(self.client()?)?;
        let (brokers, topic) = (self.brokers().to_owned(), topic.to_owned());
        let stop = CancellationToken::new();
        // The request for metadata blocks, so it runs on a thread. When this future is dropped, the
        // guard stops the thread; otherwise the runtime would wait for it at its end.
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
                // A timeout looks the same as refused credentials, which waiting cannot change. Only
                // the client's own events tell them apart.
                refusal::check(&client, &brokers)?;
                if !logged {
                    tracing::warn!("waiting for Kafka at {brokers}: {error}");
                    logged = true;
                }
            }
            Ok(false)
        });
        asking.await.context("the thread that requests metadata from Kafka ended")?
    }

    /// For tools: waits until Kafka answers, for 10 seconds at most. A missing topic is an error.
    pub async fn reach_topic(&self, topic: &str) -> anyhow::Result<()> {
        let Ok(answer) = tokio::time::timeout(REACH_TIMEOUT, self.reach(topic)).await else {
            return Err(ExitReason::Unreachable(format!(
                "Kafka at {} did not answer for 10 seconds; start it, or set --kafka-brokers",
                self.brokers()
            ))
            .into());
        };
        if answer? {
            return Ok(());
        }
        Err(anyhow!(
            "Kafka at {} has no topic {topic}; start `waybill orders`, which creates it, or set \
             --kafka-orders-topic",
            self.brokers()
        )
        .context(ExitReason::Configuration))
    }
}

/// Writes a line of the Kafka client's log to our log, at a level that only `RUST_LOG` enables.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Debug => tracing::trace!(target: "librdkafka", "{facility}: {line}"),
        _ => tracing::debug!(target: "librdkafka", "{facility}: {line}"),
    }
}
