//! Refusals of Kafka at the start that only an operator can change: wrong credentials, and a
//! certificate that the client or the broker does not accept. A request only times out then, and the
//! events of the client tell the reason.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use rdkafka::{
    ClientConfig, ClientContext,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::process::exit::ExitReason;

/// The time in which the client hands over the events that it has.
const EVENTS_TIMEOUT: Duration = Duration::from_millis(20);

/// A client that asks for metadata, and keeps its first refusal.
pub(super) type Probe = BaseConsumer<Refusal>;

#[derive(Default)]
pub(super) struct Refusal(Mutex<Option<String>>);

/// Creates a client; `config` has the address and the security settings.
pub(super) fn probe(mut config: ClientConfig) -> anyhow::Result<Probe> {
    config
        .set("group.id", "unused")
        .create_with_context(Refusal::default())
        .context("configuring the Kafka client")
        .context(ExitReason::Configuration)
}

/// Returns an error if Kafka has refused the client.
pub(super) fn check(client: &Probe, brokers: &str) -> anyhow::Result<()> {
    // The client hands over its events while it is polled. A poll without a timeout would end at the
    // first line of its log, which comes before the error.
    while client.poll(EVENTS_TIMEOUT).is_some() {}
    let mut refusal = client.context().0.lock().unwrap_or_else(PoisonError::into_inner);
    match refusal.take() {
        Some(text) => Err(anyhow!("Kafka at {brokers} {text}").context(ExitReason::Configuration)),
        None => Ok(()),
    }
}

impl ClientContext for Refusal {
    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(text) = advice(error.rdkafka_error_code(), reason) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
        }
    }
}

impl ConsumerContext for Refusal {}

/// Describes a refusal; `None` for an error that may disappear.
fn advice(code: Option<RDKafkaErrorCode>, reason: &str) -> Option<String> {
    match code {
        Some(RDKafkaErrorCode::Authentication) => Some(
            "refuses the user name or the password; check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD \
             and KAFKA_SASL_MECHANISM"
                .to_owned(),
        ),
        // With TLS 1.3, the broker reads the certificate of the client after the handshake: this is
        // an error of the connection then, and is lost if the broker closes it faster.
        _ if reason.contains(":SSL alert number ") => Some(format!(
            "does not accept the certificate of the client; check KAFKA_SSL_CERTIFICATE_LOCATION and \
             KAFKA_SSL_KEY_LOCATION ({reason})"
        )),
        Some(RDKafkaErrorCode::SSL) => Some(format!(
            "cannot be used with TLS: its certificate is not trusted, has expired or is for another \
             name; check the names in KAFKA_BROKERS and KAFKA_SSL_CA_LOCATION; `openssl s_client` \
             shows the certificate ({reason})"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_get_an_advice() {
        let handshake = "SSL handshake failed: error:0A000086: certificate verify failed";
        let alert = "Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate \
                     required:SSL alert number 116";
        for (code, reason, expected) in [
            (RDKafkaErrorCode::Authentication, "SASL", Some("KAFKA_SASL_PASSWORD")),
            (RDKafkaErrorCode::SSL, handshake, Some("certificate verify failed")),
            (RDKafkaErrorCode::SSL, alert, Some("certificate of the client")),
            (RDKafkaErrorCode::BrokerTransportFailure, alert, Some("certificate of the client")),
            (RDKafkaErrorCode::BrokerTransportFailure, "Connection refused", None),
            (RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down", None),
        ] {
            let advice = advice(Some(code), reason);
            assert_eq!(advice.is_some(), expected.is_some(), "{reason}");
            assert!(advice.unwrap_or_default().contains(expected.unwrap_or_default()), "{reason}");
        }
    }
}
