//! Decides which errors of the Kafka client a consumer waits out.
//!
//! An error is waited out only if it is on the list [`TRANSIENT`]. After each of these, librdkafka
//! itself fetches the same offset again, or joins the group again and goes on from the committed
//! offset, so no record is skipped. Every other error ends the consumer: no offset is stored past
//! the record at fault, and the next start reads it again. The list was checked against the source
//! of librdkafka 2.12.1 (`rdkafka_fetcher.c`, `rdkafka_msgset_reader.c`, `rdkafka_cgrp.c`).

use anyhow::anyhow;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::process::exit::ExitReason;

/// The errors after which the client continues by itself without skipping a record.
const TRANSIENT: &[Code] = &[
    // The connection is lost, or not yet made: the client connects again. `reach` has checked the
    // credentials at the start; a broker that restarts may refuse valid ones for a moment.
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
    // The broker could not read its log: the fetch position stays, and the fetch is repeated after
    // a pause, perhaps from another leader.
    Code::Unknown,
    Code::InvalidMessage,
    // Records that cannot be decompressed: the reader stops before them, so the next fetch begins
    // with them again. `BadMessage` is not on the list: after a wrong checksum the reader goes on
    // with the records that follow. Neither is `NotImplemented`: after an unknown magic byte it
    // moves the fetch position past the record.
    Code::BadCompression,
    // The group rebalances, or its coordinator moves: the member joins again and goes on from the
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
    // Nothing was polled for five minutes, as in a suspended machine: the client has left the group
    // and joins again.
    Code::PollExceeded,
];

pub(super) fn is_transient(error: &KafkaError) -> bool {
    match error {
        KafkaError::MessageConsumption(code) => TRANSIENT.contains(code),
        KafkaError::PartitionEOF(_) => true,
        _ => false,
    }
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
        // An unknown magic byte or an unknown compression.
        Some(Code::NotImplemented) => anyhow!(
            "{place}: the next record is in a format that this version of the Kafka client cannot \
             read ({error}). It was not skipped. Upgrade Waybill, or decide where to go on with \
             Kafka's own tool: kafka-consumer-groups --reset-offsets, then start again"
        ),
        _ => anyhow!("{place}: the Kafka consumer cannot go on: {error}. Nothing was skipped"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::exit;

    const PLACE: &str = "partition 3 of the topic orders, at offset 17";

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
        assert!(!is_transient(&fatal), "a fatal error is permanent, whatever caused it");
        assert!(!is_transient(&KafkaError::Canceled));
    }

    #[test]
    fn an_unknown_format_is_reported_with_its_place() {
        let error = permanent(&of(Code::NotImplemented), PLACE);
        assert!(error.to_string().starts_with(PLACE), "{error}");
        assert_eq!(exit::code(&error), 1);
        let denied = permanent(&of(Code::TopicAuthorizationFailed), PLACE);
        assert_eq!(exit::code(&denied), 78);
    }
}
