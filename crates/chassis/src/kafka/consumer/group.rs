//! The membership in a consumer group: gives assigned partitions to lanes, takes revoked ones back,
//! and decides whether an error ends the consumer.
//!
//! It runs in librdkafka's callbacks on the poll thread. It reads no records; that is done by
//! [`lane`](super::lane).

use std::{
    sync::{Arc, OnceLock, Weak, mpsc as blocking},
    time::{Duration, Instant},
};

use anyhow::anyhow;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
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

use super::{errors, metrics::ConsumerMetrics, topic_id::TopicIds};
use crate::{
    kafka::{config, offsets::NextOffset},
    process::blocked::{Blocked, Report},
};

/// The time for one request for committed offsets; after it the request is repeated.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(1);
/// The time without another error after which a partition is no longer reported as blocked.
const TROUBLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time for which a revocation waits for batches in flight. Correctness does not depend
/// on it.
const REVOCATION_TIMEOUT: Duration = Duration::from_secs(2);

/// A partition that is assigned to this member.
pub(super) struct Partition {
    pub(super) number: i32,
    pub(super) queue: PartitionQueue<Group>,
    /// The next offset to read; `None` at the beginning of the partition.
    pub(super) next: Option<i64>,
    /// Set while the client cannot read the next record.
    pub(super) trouble: Option<Trouble>,
}

/// Errors of the client in a row.
pub(super) struct Trouble {
    report: Option<Report>,
    last_error: Instant,
}

impl Trouble {
    /// Returns whether the errors have ended. The client tries several times a second.
    pub(super) fn is_over(&self) -> bool {
        self.last_error.elapsed() > TROUBLE_TIMEOUT
    }
}

impl Partition {
    fn place(&self, topic: &str) -> String {
        match self.next {
            None => format!("partition {} of {topic}, at its beginning", self.number),
            Some(offset) => format!("partition {} of {topic}, at offset {offset}", self.number),
        }
    }
}

/// A message from the group to a lane.
pub(super) enum Command {
    Assigned(Partition),
    /// Give the partitions up, and drop the sender once the lane has no batch in flight.
    Revoked(Vec<i32>, blocking::Sender<()>),
}

/// The context of the consumer.
pub(super) struct Group {
    topic: String,
    lanes: Vec<mpsc::UnboundedSender<Command>>,
    /// The consumer that owns this context, for splitting its queues in a callback. Weak, because
    /// the two would otherwise keep each other alive.
    itself: OnceLock<Weak<BaseConsumer<Group>>>,
    assigned: Gauge,
    errors: Counter,
    blocked: Blocked,
    ids: TopicIds,
    shutdown: CancellationToken,
}

impl Group {
    /// Joins the group with `config`, to which it adds the assignment strategy and what reports a topic's id.
    pub(super) fn join(
        config: &mut ClientConfig,
        topic: &str,
        lanes: Vec<mpsc::UnboundedSender<Command>>,
        metrics: &ConsumerMetrics,
        blocked: Blocked,
        shutdown: CancellationToken,
    ) -> KafkaResult<Arc<BaseConsumer<Self>>> {
        let group = Self {
            topic: topic.to_owned(),
            lanes,
            itself: OnceLock::new(),
            assigned: metrics.partitions.clone(),
            errors: metrics.errors.clone(),
            blocked,
            ids: TopicIds::default(),
            shutdown,
        };
        let consumer = config
            .set("partition.assignment.strategy", "cooperative-sticky")
            // At this level the client logs the topic's id.
            .set("debug", "metadata")
            .set_log_level(RDKafkaLogLevel::Debug)
            .create_with_context::<_, BaseConsumer<_>>(group)?;
        let consumer = Arc::new(consumer);
        let _ = consumer.context().itself.set(Arc::downgrade(&consumer));
        consumer.subscribe(&[topic])?;
        Ok(consumer)
    }

    /// Returns an error once the topic is known to have been re-created. A lane calls this after it
    /// takes a record and before it parses it. The client logs the new id before it fetches by it,
    /// so no record of the new topic gets through.
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

    /// Returns an error that ends the consumer. Counts and logs one from which the client recovers.
    pub(super) fn check(&self, error: &KafkaError) -> anyhow::Result<()> {
        if !errors::is_transient(error) {
            return Err(self.permanent(error, &format!("the topic {}", self.topic)));
        }
        self.errors.inc();
        tracing::warn!("Kafka: {error}");
        Ok(())
    }

    /// Returns an error of this partition that ends the consumer. Counts one from which the client may
    /// recover, and reports the partition as blocked until its next record.
    pub(super) fn check_partition(
        &self,
        error: &KafkaError,
        partition: &mut Partition,
    ) -> anyhow::Result<()> {
        let place = partition.place(&format!("the topic {}", self.topic));
        if !errors::is_transient(error) {
            return Err(self.permanent(error, &place));
        }
        self.errors.inc();
        let last_error = Instant::now();
        let trouble = partition.trouble.get_or_insert(Trouble { report: None, last_error });
        trouble.last_error = last_error;
        let reason = format!("{place}: the next record cannot be read: {error}");
        Report::set(&mut trouble.report, &self.blocked, reason);
        Ok(())
    }

    fn permanent(&self, error: &KafkaError, place: &str) -> anyhow::Error {
        // In a re-created topic, old offsets may be out of range: then that is the cause.
        self.topic_is_the_same().err().unwrap_or_else(|| errors::permanent(error, place))
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
        if let Some(metadata) = self.ids.metadata() {
            element.set_metadata(metadata);
        }
        consumer.store_offsets(&list)
    }

    /// Returns the next offset to read of a partition, after the records and the markers of
    /// transactions that the client has taken; `None` if it has taken nothing yet.
    pub(super) fn position(
        &self,
        consumer: &BaseConsumer<Self>,
        partition: i32,
    ) -> KafkaResult<Option<NextOffset>> {
        let positions = consumer.position()?;
        let element = positions.find_partition(&self.topic, partition);
        Ok(element.and_then(|element| match element.offset() {
            Offset::Offset(next) => Some(NextOffset::at(next)),
            _ => None,
        }))
    }

    fn assign(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &mut TopicPartitionList,
    ) -> KafkaResult<()> {
        let nothing = TopicPartitionList::new();
        // The consumer is being dropped: its client only waits for an answer.
        let Some(itself) = self.itself.get().and_then(Weak::upgrade) else {
            return consumer.incremental_assign(&nothing);
        };
        let ask = || consumer.committed_offsets(partitions.clone(), COMMITTED_TIMEOUT);
        // Without an answer the service is stopping, and takes nothing any more.
        let Some(committed) = until_answered(ask, &self.shutdown) else {
            return consumer.incremental_assign(&nothing);
        };
        let starts = self.start_offsets(&committed, partitions)?;
        // The queues are split before the assignment: librdkafka then never forwards records of
        // these partitions to the consumer's main queue.
        for (number, next) in starts {
            if let Some(queue) = itself.split_partition_queue(&self.topic, number) {
                let partition = Partition { number, queue, next, trouble: None };
                let _ = self.lane_of(number).send(Command::Assigned(partition));
                self.assigned.inc();
            }
        }
        tracing::info!(
            partitions = partitions.count(),
            "partitions assigned: {}",
            partitions.count()
        );
        consumer.incremental_assign(partitions)
    }

    /// Returns the next offset of each partition. One without a committed offset is set to start at
    /// the beginning: `auto.offset.reset=error` is for offsets that were committed and are gone.
    fn start_offsets(
        &self,
        committed: &TopicPartitionList,
        partitions: &mut TopicPartitionList,
    ) -> KafkaResult<Vec<(i32, Option<i64>)>> {
        let mut starts = Vec::new();
        for element in committed.elements() {
            let number = element.partition();
            if element.offset() == Offset::Invalid {
                partitions.set_partition_offset(&self.topic, number, Offset::Beginning)?;
            } else {
                self.ids.see_metadata(element.metadata());
            }
            starts.push((number, element.offset().to_raw().filter(|offset| *offset >= 0)));
        }
        let new = starts.iter().filter(|(_, next)| next.is_none()).count();
        if new > 0 {
            tracing::info!(
                partitions = new,
                "partitions read from their beginning, for nothing was committed for them since \
                 the topic {} was made: {new}",
                self.topic
            );
        }
        Ok(starts)
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
        // Nothing is ever sent. A lane that had one of these partitions drops its sender when it has
        // no batch in flight, any other lane at once; after the last one, receiving fails at once. The wait saves redeliveries: the
        // next owner then starts after the batches in flight. After the timeout it reads their
        // records again, which changes nothing.
        let _ = receiver.recv_timeout(REVOCATION_TIMEOUT);
        // A lost assignment may already belong to another member: the broker would refuse the commit.
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
        self.ids.see_log_line(line, &self.topic);
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

/// Repeats `ask` until Kafka answers, or until `shutdown`.
fn until_answered<T>(ask: impl Fn() -> KafkaResult<T>, shutdown: &CancellationToken) -> Option<T> {
    let mut logged = false;
    while !shutdown.is_cancelled() {
        match ask() {
            Ok(answer) => return Some(answer),
            Err(error) if !logged => {
                tracing::warn!("asking for committed offsets, again and again: {error}");
                logged = true;
            }
            Err(_) => {}
        }
    }
    None
}

/// Commits the stored offsets and waits for the answer, before partitions are given up.
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
    fn an_unanswered_request_ends_with_the_service() {
        let shutdown = CancellationToken::new();
        let asked = std::cell::Cell::new(0);
        let no_answer = || {
            asked.set(asked.get() + 1);
            if asked.get() == 3 {
                shutdown.cancel();
            }
            Err::<(), _>(KafkaError::OffsetFetch(RDKafkaErrorCode::OperationTimedOut))
        };
        assert_eq!(until_answered(no_answer, &shutdown), None);
        assert_eq!(asked.get(), 3);
        assert_eq!(until_answered(|| Ok(7), &CancellationToken::new()), Some(7));
    }
}
