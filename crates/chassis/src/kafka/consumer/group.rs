//! The consumer's side of its group: hands partitions to lanes and takes them back, and notices a
//! topic that was made anew.
//!
//! Kafka gives each topic an id when it is made. A topic that is deleted and made again keeps its
//! name and loses its records, so an offset of the old one means nothing in the new one: going on
//! from it would skip records in silence. The id is stored with each committed offset, as its
//! metadata. The client tells the id of the present topic in its log only; there it stands before
//! the first record of that topic can be fetched, for records are fetched by id.

use std::{
    sync::{Arc, OnceLock, Weak, mpsc as blocking},
    time::Duration,
};

use anyhow::anyhow;
use prometheus_client::metrics::gauge::Gauge;
use rdkafka::{
    ClientConfig, ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{
        BaseConsumer, CommitMode, Consumer as _, ConsumerContext, base_consumer::PartitionQueue,
    },
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    kafka::{config, offsets::NextOffset},
    process::exit::ExitReason,
};

/// How long Kafka may take to tell the committed offsets; then it is asked again.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a revocation waits for work in flight. Correctness does not depend on it.
const REVOCATION_WAIT: Duration = Duration::from_secs(2);
/// What an offset's metadata starts with; the topic's id follows.
const METADATA: &str = "topic-id=";

/// What a lane is told by the group.
pub(super) enum Command {
    /// Take this partition.
    Assigned(PartitionQueue<Group>, i32),
    /// Give the partitions up; drop the sender once nothing of them is in flight.
    Revoked(Vec<i32>, blocking::Sender<()>),
}

/// The context of the consumer.
pub(super) struct Group {
    topic: String,
    lanes: Vec<mpsc::UnboundedSender<Command>>,
    itself: OnceLock<Weak<BaseConsumer<Group>>>,
    assigned: Gauge,
    ids: TopicIds,
    shutdown: CancellationToken,
}

impl Group {
    /// Joins the group with what `config` says and this file needs.
    pub(super) fn join(
        config: &mut ClientConfig,
        topic: &str,
        lanes: Vec<mpsc::UnboundedSender<Command>>,
        assigned: Gauge,
        shutdown: CancellationToken,
    ) -> KafkaResult<Arc<BaseConsumer<Self>>> {
        let itself = OnceLock::new();
        let ids = TopicIds::default();
        let group = Self { topic: topic.to_owned(), lanes, itself, assigned, ids, shutdown };
        let consumer = config
            .set("partition.assignment.strategy", "cooperative-sticky")
            // The log tells the topic's id at this level.
            .set("debug", "metadata")
            .set_log_level(RDKafkaLogLevel::Debug)
            .create_with_context::<_, BaseConsumer<_>>(group)?;
        let consumer = Arc::new(consumer);
        let _ = consumer.context().itself.set(Arc::downgrade(&consumer));
        consumer.subscribe(&[topic])?;
        Ok(consumer)
    }

    /// An error once the topic is known to have been made anew. Asked after a record was taken and
    /// before it is looked at, it lets no record of the new topic pass.
    pub(super) fn topic_is_the_same(&self) -> anyhow::Result<()> {
        let Some((first, other)) = self.ids.two() else { return Ok(()) };
        Err(anyhow!(
            "the topic {} was made anew (seen with the ids {first} and {other}): offsets of the \
             old one mean nothing in the new one. None of its records was taken or skipped. Have \
             the new one read from its beginning with Kafka's own tool: kafka-consumer-groups \
             --reset-offsets --to-earliest, then start again",
            self.topic
        ))
    }

    /// An error that the weather explains is waited out; an offset that Kafka no longer has and a
    /// right that is missing are not.
    pub(super) fn check(&self, error: &KafkaError) -> anyhow::Result<()> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                // In a topic made anew old offsets may be out of range: then that is what happened.
                self.topic_is_the_same()?;
                Err(anyhow!(
                    "Kafka no longer has the records after the committed offset: they were \
                     deleted, or the topic was made anew ({error}). Nothing was skipped. Decide \
                     where to go on with Kafka's own tool: kafka-consumer-groups --reset-offsets, \
                     then start again"
                ))
            }
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed,
            ) => Err(anyhow!(
                "{error}: the user of KAFKA_SASL_USERNAME needs the rights to read and describe \
                 the topic and to read the group"
            )
            .context(ExitReason::Configuration)),
            Some(RDKafkaErrorCode::Fatal) => {
                Err(anyhow!("the Kafka consumer failed for good: {error}"))
            }
            _ => {
                tracing::warn!("Kafka: {error}");
                Ok(())
            }
        }
    }

    /// Stores the next offset to read of a partition; it is committed in the background.
    pub(super) fn store(
        &self,
        consumer: &BaseConsumer<Self>,
        partition: i32,
        next: NextOffset,
    ) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition(&self.topic, partition);
        element.set_offset(Offset::Offset(next.get()))?;
        if let Some(id) = self.ids.only() {
            element.set_metadata(format!("{METADATA}{id}"));
        }
        consumer.store_offsets(&list)
    }

    fn assign(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &mut TopicPartitionList,
    ) -> KafkaResult<()> {
        let Some(itself) = self.itself.get().and_then(Weak::upgrade) else {
            // The consumer is dropped, and takes nothing; its client waits for the answer.
            return consumer.incremental_assign(&TopicPartitionList::new());
        };
        // A partition without a committed offset starts at the beginning; `auto.offset.reset=error`
        // is for offsets that were committed and are gone.
        let ask = || consumer.committed_offsets(partitions.clone(), PATIENCE);
        let Some(committed) = until_answered(ask, &self.shutdown) else {
            // Nothing is taken any more: the group is told so, and left.
            return consumer.incremental_assign(&TopicPartitionList::new());
        };
        let mut new = 0;
        for element in committed.elements() {
            if element.offset() == Offset::Invalid {
                new += 1;
                partitions.set_partition_offset(
                    element.topic(),
                    element.partition(),
                    Offset::Beginning,
                )?;
            } else if let Some(id) = element.metadata().strip_prefix(METADATA) {
                self.ids.see(id);
            }
        }
        // The queue is split before the assignment: librdkafka then never forwards the partition's
        // records to the consumer's main queue.
        for element in partitions.elements() {
            let partition = element.partition();
            if let Some(queue) = itself.split_partition_queue(element.topic(), partition) {
                let _ = self.lane_of(partition).send(Command::Assigned(queue, partition));
                self.assigned.inc();
            }
        }
        tracing::info!(
            partitions = partitions.count(),
            "partitions assigned: {}",
            partitions.count()
        );
        if new > 0 {
            tracing::info!(
                partitions = new,
                "partitions read from their beginning, for nothing was committed for them since \
                 the topic {} was made: {new}",
                self.topic
            );
        }
        consumer.incremental_assign(partitions)
    }

    fn revoke(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
    ) -> KafkaResult<()> {
        let revoked: Vec<i32> =
            partitions.elements().iter().map(|element| element.partition()).collect();
        let (sender, receiver) = blocking::channel();
        for lane in &self.lanes {
            let _ = lane.send(Command::Revoked(revoked.clone(), sender.clone()));
        }
        drop(sender);
        // Every lane drops its sender when it is done: then receiving fails at once.
        let _ = receiver.recv_timeout(REVOCATION_WAIT);
        if !consumer.assignment_lost() {
            commit_stored(consumer);
        }
        self.assigned.dec_by(i64::try_from(revoked.len()).unwrap_or(0));
        tracing::info!(partitions = revoked.len(), "partitions revoked: {}", revoked.len());
        consumer.incremental_unassign(partitions)
    }

    fn lane_of(&self, partition: i32) -> &mpsc::UnboundedSender<Command> {
        &self.lanes[partition.unsigned_abs() as usize % self.lanes.len()]
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if let Some(id) = new_id(line, &self.topic) {
            self.ids.see(id);
        }
        config::log(level, facility, line);
    }
}

impl ConsumerContext for Group {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        err: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let outcome = if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assign(consumer, partitions)
        } else {
            self.revoke(consumer, partitions)
        };
        if let Err(error) = outcome {
            tracing::warn!("rebalancing: {error}");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result
            && error.rdkafka_error_code() != Some(RDKafkaErrorCode::NoOffset)
        {
            tracing::warn!("committing offsets: {error}; they will be committed again");
        }
    }
}

/// Asks for committed offsets until Kafka tells them, or until `shutdown`.
fn until_answered<T>(ask: impl Fn() -> KafkaResult<T>, shutdown: &CancellationToken) -> Option<T> {
    let mut told = false;
    while !shutdown.is_cancelled() {
        match ask() {
            Ok(answer) => return Some(answer),
            Err(error) if !told => {
                tracing::warn!("asking for committed offsets, again and again: {error}");
                told = true;
            }
            Err(_) => {}
        }
    }
    None
}

/// The ids that the topic was seen to have, by the client and with committed offsets.
#[derive(Default)]
struct TopicIds {
    first: OnceLock<String>,
    /// One that differs from the first.
    other: OnceLock<String>,
}

impl TopicIds {
    fn see(&self, id: &str) {
        if self.first.get_or_init(|| id.to_owned()) != id {
            let _ = self.other.set(id.to_owned());
        }
    }

    /// The one id that was seen.
    fn only(&self) -> Option<&str> {
        if self.other.get().is_none() { self.first.get().map(String::as_str) } else { None }
    }

    /// Two that differ.
    fn two(&self) -> Option<(&str, &str)> {
        let other = self.other.get()?;
        self.first.get().map(|first| (first.as_str(), other.as_str()))
    }
}

/// The id that a line of the client's log tells of `topic`:
/// `… Topic orders changed id from AAAAAAAAAAAAAAAAAAAAAA to 3kSkm0cQTXKzIC4SGU4x3A`.
fn new_id<'a>(line: &'a str, topic: &str) -> Option<&'a str> {
    let (before, id) = line.rsplit_once(" to ")?;
    let (before, _) = before.split_once(" changed id from ")?;
    let (_, name) = before.rsplit_once("Topic ")?;
    (name == topic).then_some(id)
}

/// Commits what is stored and waits for it: before partitions are given up.
pub(super) fn commit_stored(consumer: &BaseConsumer<Group>) {
    match consumer.commit_consumer_state(CommitMode::Sync) {
        Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
        Err(error) => {
            tracing::warn!("committing offsets: {error}; their records will come again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_nobody_answers_ends_with_the_service() {
        let shutdown = CancellationToken::new();
        let asked = std::cell::Cell::new(0);
        let silence = || {
            asked.set(asked.get() + 1);
            if asked.get() == 3 {
                shutdown.cancel();
            }
            Err::<(), _>(KafkaError::OffsetFetch(RDKafkaErrorCode::OperationTimedOut))
        };
        assert_eq!(until_answered(silence, &shutdown), None);
        assert_eq!(asked.get(), 3);
        assert_eq!(until_answered(|| Ok(7), &CancellationToken::new()), Some(7));
    }

    #[test]
    fn the_log_tells_the_id_of_our_topic_only() {
        let line = "[thrd:main]: Topic orders changed id from AAAAAAAAAAAAAAAAAAAAAA to \
                    3kSkm0cQTXKzIC4SGU4x3A";
        assert_eq!(new_id(line, "orders"), Some("3kSkm0cQTXKzIC4SGU4x3A"));
        assert_eq!(new_id(line, "orders.dlq"), None);
        assert_eq!(new_id("[thrd:main]: Topic orders [0] Leader 1 Epoch 0", "orders"), None);
    }

    #[test]
    fn one_id_is_the_same_topic_and_two_are_not() {
        let ids = TopicIds::default();
        assert_eq!((ids.only(), ids.two()), (None, None));
        ids.see("a");
        ids.see("a");
        assert_eq!((ids.only(), ids.two()), (Some("a"), None));
        ids.see("b");
        assert_eq!((ids.only(), ids.two()), (None, Some(("a", "b"))));
    }
}
