//! Decides which errors of the Kafka client are transient for a consumer.
//!
//! An error is transient only if it is on the list [`TRANSIENT`]. After each of these, librdkafka
//! itself fetches the same offset again, or joins the group again and continues from the committed
//! offset, so no record is skipped. Any other error ends the consumer: no offset past the record at
//! fault is stored, and the next start reads that record again. The list was checked against the
//! source of librdkafka 2.12.1 (`rdkafka_fetcher.c`, `rdkafka_msgset_reader.c`, `rdkafka_cgrp.c`).
//!
//! Errors of the producer are not decided here: see [`producer`](crate::kafka::producer).

use anyhow::anyhow;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::process::exit::ExitReason;

/// The errors after which the client continues by itself without skipping a record.
const TRANSIENT: &[Code] = &[
    // The connection is lost, or not established yet: the client connects again. The credentials
    // were checked at the start; a broker that restarts may briefly refuse valid ones.
    Code::BrokerTransportFailure,
    Code::AllBrokersDown,
    Code::DestroyBroker,
    Code::Resolve,
    Code::SSL,
    Code::Authentication,
    Code::SaslAuthenticationFailed,
    Code::OperationTimedOut,
    Code::MessageTimedOut,
    Code::TimedOutQueue,
    Code::RequestTimedOut,
    Code::NetworkException,
    Code::ThrottlingQuotaExceeded,
    Code::RebootstrapRequired,
    // The partition has another leader, or metadata is stale: the client updates the metadata and
    // repeats the fetch.
    Code::LeaderNotAvailable,
    Code::NotLeaderForPartition,
    Code::BrokerNotAvailable,
    Code::ReplicaNotAvailable,
    Code::KafkaStorageError,
    Code::UnknownLeaderEpoch,
    Code::FencedLeaderEpoch,
    Code::OffsetNotAvailable,
    // The topic is being created, or this broker does not know it yet. A re-created topic is
    // detected by its id.
    Code::UnknownTopicOrPartition,
    Code::UnknownTopic,
    Code::UnknownPartition,
    Code::UnknownTopicId,
    // The broker could not read its log: the fetch position does not change, and the client repeats
    // the fetch after a pause, perhaps from another leader.
    Code::Unknown,
    Code::InvalidMessage,
    // Records that cannot be decompressed: the reader stops before them, so the next fetch begins
    // with them again. `BadMessage` is not on the list, because after a wrong checksum the reader
    // continues with the following records. `NotImplemented` is not either, because after an
    // unknown magic byte the fetch position moves past the record.
    Code::BadCompression,
    // The group rebalances, or its coordinator moves: the member joins again and continues from the
    // committed offsets.
    Code::WaitingForCoordinator,
    Code::CoordinatorLoadInProgress,
    Code::CoordinatorNotAvailable,
    Code::NotCoordinator,
    Code::RebalanceInProgress,
    Code::IllegalGeneration,
    Code::UnknownMemberId,
    Code::MemberIdRequired,
    Code::StaleMemberEpoch,
    Code::FencedMemberEpoch,
    Code::AssignmentLost,
    Code::UnstableOffsetCommit,
    // The client was not polled for longer than `max.poll.interval.ms`, for example because the machine
    // was suspended: it has left the group and joins again.
    Code::PollExceeded,
];

/// The error of a member whose instance id the group has given to another member.
#[derive(Debug, thiserror::Error)]
#[error(
    "another process has joined the group with the same KAFKA_INSTANCE_ID: each replica needs an id \
     of its own. Nothing was skipped"
)]
pub(super) struct Fenced;

pub(super) fn is_transient(error: &KafkaError) -> bool {
    match error {
        KafkaError::MessageConsumption(code) => TRANSIENT.contains(code),
        KafkaError::PartitionEOF(_) => true,
        _ => false,
    }
}

/// Explains an error that ends the consumer. `position` names the topic and, if known, the
/// partition and the offset.
pub(super) fn permanent(error: &KafkaError, position: &str) -> anyhow::Error {
    match error.rdkafka_error_code() {
        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => anyhow!(
            "Kafka no longer has the records after the committed offset: they were deleted, or the \
             topic was deleted and created again ({error}). Nothing was skipped. Choose the offset \
             to continue from with Kafka's own tool: kafka-consumer-groups --reset-offsets, then \
             start again"
        ),
        Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed) => anyhow!(
            "{error}: the user of KAFKA_SASL_USERNAME needs permission to read and describe the \
             topic and to read the group"
        )
        .context(ExitReason::Configuration),
        Some(Code::FencedInstanceId) => anyhow::Error::new(Fenced),
        Some(Code::Fatal) => anyhow!("the Kafka consumer failed permanently: {error}"),
        // An unknown magic byte or an unknown compression.
        Some(Code::NotImplemented) => anyhow!(
            "{position}: the next record is in a format that this version of the Kafka client \
             cannot read ({error}). It was not skipped. Upgrade Waybill, or choose the offset to \
             continue from with Kafka's own tool: kafka-consumer-groups --reset-offsets, then start \
             again"
        ),
        _ => {
            anyhow!("{position}: the Kafka consumer cannot continue: {error}. Nothing was skipped")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::exit;

    const POSITION: &str = "partition 3 of the topic orders, at offset 17";

    fn of(code: Code) -> KafkaError {
        KafkaError::MessageConsumption(code)
    }

    #[test]
    fn errors_after_which_the_same_offset_is_fetched_are_transient() {
        for code in [
            Code::BrokerTransportFailure,
            Code::AllBrokersDown,
            Code::Resolve,
            Code::OperationTimedOut,
            Code::RequestTimedOut,
            Code::NetworkException,
            Code::ThrottlingQuotaExceeded,
            Code::NotLeaderForPartition,
            Code::LeaderNotAvailable,
            Code::UnknownTopicOrPartition,
            Code::BadCompression,
            Code::NotCoordinator,
            Code::RebalanceInProgress,
            Code::PollExceeded,
        ] {
            assert!(is_transient(&of(code)), "{code}");
        }
        assert!(is_transient(&KafkaError::PartitionEOF(0)));
    }

    #[test]
    fn every_other_error_ends_the_consumer() {
        for code in [
            Code::NotImplemented,
            Code::BadMessage,
            Code::MessageSizeTooLarge,
            Code::AutoOffsetReset,
            Code::OffsetOutOfRange,
            Code::LogTruncation,
            Code::TopicAuthorizationFailed,
            Code::GroupAuthorizationFailed,
            Code::InvalidTopic,
            Code::InconsistentGroupProtocol,
            Code::UnsupportedVersion,
            Code::Fenced,
            Code::FencedInstanceId,
            Code::Fatal,
        ] {
            assert!(!is_transient(&of(code)), "{code}");
        }
        let fatal = KafkaError::MessageConsumptionFatal(Code::UnknownMemberId);
        assert!(!is_transient(&fatal), "a fatal error is permanent, whatever its cause");
        assert!(!is_transient(&KafkaError::Canceled));
    }

    #[test]
    fn an_unknown_format_is_reported_with_its_position() {
        let error = permanent(&of(Code::NotImplemented), POSITION);
        assert!(error.to_string().starts_with(POSITION), "{error}");
        assert_eq!(exit::code(&error), 1);
        let denied = permanent(&of(Code::TopicAuthorizationFailed), POSITION);
        assert_eq!(exit::code(&denied), 78);
    }
}
