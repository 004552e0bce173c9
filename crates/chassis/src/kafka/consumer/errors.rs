//! Decides which errors of the Kafka client a consumer waits out.

use anyhow::anyhow;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::process::exit::ExitReason;

pub(super) fn is_transient(error: &KafkaError) -> bool {
    !matches!(
        error.rdkafka_error_code(),
        Some(
            Code::AutoOffsetReset
                | Code::OffsetOutOfRange
                | Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::Fatal
        )
    )
}

/// Explains an error that ends the consumer. `place` names the topic and, if known, the partition
/// and the offset.
pub(super) fn permanent(error: &KafkaError, place: &str) -> anyhow::Error {
    match error.rdkafka_error_code() {
        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => anyhow!(
            "Kafka no longer has the records after the committed offset: they were deleted, or the \
             topic was made anew ({error}). Nothing was skipped. Decide where to go on with \
             Kafka's own tool: kafka-consumer-groups --reset-offsets, then start again"
        ),
        Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed) => anyhow!(
            "{error}: the user of KAFKA_SASL_USERNAME needs the rights to read and describe the \
             topic and to read the group"
        )
        .context(ExitReason::Configuration),
        Some(Code::Fatal) => anyhow!("the Kafka consumer failed for good: {error}"),
        _ => anyhow!("{place}: the Kafka consumer cannot go on: {error}. Nothing was skipped"),
    }
}
