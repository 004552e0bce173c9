//! The membership in a consumer group: gives assigned partitions to lanes, takes revoked ones back,
//! and decides whether an error ends the consumer.
//!
//! It runs in librdkafka's callbacks, on the poll thread, and sends [`Command`]s to the lanes. It
//! reads no records; [`lane`](super::lane) does that.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock, Weak, mpsc as blocking},
    time::{Duration, Instant},
};

use anyhow::anyhow;
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

use super::{errors, metrics::ConsumerMetrics, statistics::Statistics, topic_id::TopicIds};
use crate::{
    kafka::{config, offsets::NextOffset},
    process::{
        blocked::{Blocked, Report},
        failpoint,
    },
};

/// The timeout of one request for committed offsets; after it the request is repeated.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(1);
/// The time without another error after which a partition is no longer reported as blocked.
const TROUBLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time that a revocation waits for batches in flight. Correctness does not depend on
/// it.
const REVOCATION_TIMEOUT: Duration = Duration::from_secs(2);

/// A partition that is assigned to this member.
pub(super) struct Partition {
    pub(super) number: i32,
    pub(super) queue: PartitionQueue<Group>,
    /// The next offset to read; `None` at the beginning of the partition.
    pub(super) next: Option<i64>,
    /// `None` unless the client fails to read the next record.
    pub(super) trouble: Option<Trouble>,
}

/// The errors of the client since it last read a record.
pub(super) struct Trouble {
    report: Option<Report>,
    last_error: Instant,
}

impl Trouble {
    /// Returns true if the errors are over. The client fetches several times a second, so a longer
    /// time without an error means that it succeeds, even if there is no new record.
    pub(super) fn is_over(&self) -> bool {
        self.last_error.elapsed() > TROUBLE_TIMEOUT
    }
}

impl Partition {
    /// Names the partition and the next offset, for an error text.
    fn position(&self, topic: &str) -> String {
        match self.next {
            None => format!("partition {} of {topic}, at its beginning", self.number),
            Some(offset) => format!("partition {} of {topic}, at offset {offset}", self.number),
        }
    }
}

/// A message from the group to a lane.
pub(super) enum Command {
    Assigned(Partition),
    /// The lane removes these partitions, and drops the sender once it has no batch in flight.
    Revoked(Vec<i32>, blocking::Sender<()>),
}

/// The context of the consumer: receives the callbacks of librdkafka.
pub(super) struct Group {
    topic: String,
    lanes: Vec<mpsc::UnboundedSender<Command>>,
    /// The consumer that owns this context; a callback needs it to split its queues. It is weak
    /// because the consumer and the context would otherwise keep each other alive.
    itself: OnceLock<Weak<BaseConsumer<Group>>>,
    metrics: ConsumerMetrics,
    blocked: Blocked,
    ids: TopicIds,
    shutdown: CancellationToken,
}

impl Group {
    /// Joins the group with `config`, and adds the assignment strategy and the log level at which
    /// the client reports a topic's id.
    pub(super) fn join(
        config: &mut ClientConfig,
        topic: &str,
        lanes: Vec<mpsc::UnboundedSender<Command>>,
        metrics: &ConsumerMetrics,
        blocked: Blocked,
        shutdown: CancellationToken,
    ) -> KafkaResult<Arc<BaseConsumer<Self>>> {
        // A fenced member that joins again has lost all partitions.
        metrics.partitions.set(0);
        let group = Self {
            topic: topic.to_owned(),
            lanes,
            itself: OnceLock::new(),
            metrics: metrics.clone(),
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
        // Set before `subscribe`: callbacks run only in `poll`, so none can run before it is set.
        let _ = consumer.context().itself.set(Arc::downgrade(&consumer));
        consumer.subscribe(&[topic])?;
        Ok(consumer)
    }

    /// Returns an error once the topic is known to have been re-created. A lane calls this after it
    /// takes a record and before it parses it. The client logs the new id before it fetches by it,
    /// and the poll thread reads that line before the fetch can be answered, unless it is in a
    /// rebalance callback at that moment.
    pub(super) fn check_topic_id(&self) -> anyhow::Result<()> {
        let Some((first, other)) = self.ids.two() else { return Ok(()) };
        Err(anyhow!(
            "the topic {} was deleted and created again (its ids were {first} and {other}): the \
             committed offsets belong to the old topic and are not valid for the new one. No record \
             of the new topic was read or skipped. To read it from its beginning, use Kafka's own \
             tool: kafka-consumer-groups --reset-offsets --to-earliest, then start again",
            self.topic
        ))
    }

    /// Counts and logs a transient error. Returns any other error, which ends the consumer.
    pub(super) fn check(&self, error: &KafkaError) -> anyhow::Result<()> {
        if !errors::is_transient(error) {
            return Err(self.permanent(error, &format!("the topic {}", self.topic)));
        }
        self.metrics.errors.inc();
        tracing::warn!("Kafka: {error}");
        Ok(())
    }

    /// Counts a transient error of a partition, and reports the partition as blocked until its next
    /// record or its end is read, or the errors are over. Returns any other error, which ends the
    /// consumer.
    pub(super) fn check_partition(
        &self,
        error: &KafkaError,
        partition: &mut Partition,
    ) -> anyhow::Result<()> {
        let position = partition.position(&format!("the topic {}", self.topic));
        if !errors::is_transient(error) {
            return Err(self.permanent(error, &position));
        }
        self.metrics.errors.inc();
        let last_error = Instant::now();
        let trouble = partition.trouble.get_or_insert(Trouble { report: None, last_error });
        trouble.last_error = last_error;
        let reason = format!("{position}: the next record cannot be read: {error}");
        Report::set(&mut trouble.report, &self.blocked, reason);
        Ok(())
    }

    fn permanent(&self, error: &KafkaError, position: &str) -> anyhow::Error {
        // Checked first: in a re-created topic an old offset may be out of range, and then the new
        // id is the cause that the operator needs to know.
        self.check_topic_id().err().unwrap_or_else(|| errors::permanent(error, position))
    }

    /// Leaves the group and joins it again, so that partitions that no member has are assigned.
    pub(super) fn join_again(
        &self,
        consumer: &BaseConsumer<Self>,
        unread: &BTreeSet<i32>,
    ) -> KafkaResult<()> {
        tracing::warn!(
            "joining the group again, because no member has the partitions {unread:?} of {}",
            self.topic
        );
        // The client leaves, and takes the new subscription once it has given its partitions up.
        consumer.unsubscribe();
        consumer.subscribe(&[&self.topic])
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
        // The consumer is being dropped: its client only needs an answer to the rebalance.
        let Some(itself) = self.itself.get().and_then(Weak::upgrade) else {
            return consumer.incremental_assign(&nothing);
        };
        failpoint::point("assign");
        // This blocks the poll thread. Heartbeats continue, because librdkafka sends them from its
        // own thread, and no partition is read before it is known where to start.
        let request = || consumer.committed_offsets(partitions.clone(), COMMITTED_TIMEOUT);
        let Some(committed) = until_answered(request, &self.shutdown) else {
            // The service is stopping, so it takes no partitions.
            return consumer.incremental_assign(&nothing);
        };
        // The topic ids in the committed offsets are read here, before the assignment: a lane that
        // takes the first record already knows them.
        let starts = self.start_offsets(&committed, partitions)?;
        // The queues are split before the assignment, so librdkafka never forwards records of these
        // partitions to the consumer's main queue.
        for (number, next) in starts {
            if let Some(queue) = itself.split_partition_queue(&self.topic, number) {
                let partition = Partition { number, queue, next, trouble: None };
                // Sending fails only if the lane has ended; then the whole consumer is stopping.
                let _ = self.lane_of(number).send(Command::Assigned(partition));
                self.metrics.partitions.inc();
            }
        }
        self.metrics.rebalances.inc_by(partitions.count() as u64);
        tracing::info!(
            partitions = partitions.count(),
            "partitions assigned: {}",
            partitions.count()
        );
        consumer.incremental_assign(partitions)
    }

    /// Returns the next offset of each partition. A partition without a committed offset is set to
    /// start at its beginning. `auto.offset.reset=error` then applies only to committed offsets
    /// whose records Kafka no longer has.
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
                "partitions read from their beginning: {new} (the group has no committed offset for \
                 them in the topic {})",
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
        failpoint::point("revoke");
        let revoked: Vec<i32> =
            partitions.elements().iter().map(|element| element.partition()).collect();
        let (sender, receiver) = blocking::channel();
        for lane in &self.lanes {
            let _ = lane.send(Command::Revoked(revoked.clone(), sender.clone()));
        }
        // Otherwise the receiver would wait for this sender, too.
        drop(sender);
        // No value is ever sent: receiving ends when the last sender is dropped. A lane that had
        // one of these partitions drops its sender when it has no batch in flight, any other lane
        // at once. The wait avoids redeliveries: the next owner then starts after the batches in
        // flight. After the timeout the next owner reads their records again, which changes nothing
        // in the database.
        let _ = receiver.recv_timeout(REVOCATION_TIMEOUT);
        // Committed before the partitions are given up, because the next owner starts at the
        // committed offsets. A lost assignment may already belong to another member; then the
        // broker would refuse the commit.
        if !consumer.assignment_lost() {
            commit_stored(consumer);
        }
        self.metrics.partitions.dec_by(i64::try_from(revoked.len()).unwrap_or(0));
        self.metrics.rebalances.inc_by(revoked.len() as u64);
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

    fn stats_raw(&self, statistics: &[u8]) {
        match Statistics::read(statistics) {
            Ok(statistics) => {
                let metrics = &self.metrics;
                metrics.unreachable.set(i64::from(!statistics.is_connected()));
                metrics.lag_records.set(statistics.lag(&self.topic));
            }
            Err(error) => tracing::debug!("reading the statistics of the client: {error}"),
        }
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
            // The offsets stay stored, so the next automatic commit includes them.
            tracing::warn!("committing offsets: {error}; they will be committed again");
        }
    }
}

/// Repeats `request` until Kafka answers; returns `None` on `shutdown`.
fn until_answered<T>(
    request: impl Fn() -> KafkaResult<T>,
    shutdown: &CancellationToken,
) -> Option<T> {
    let mut logged = false;
    while !shutdown.is_cancelled() {
        match request() {
            Ok(answer) => return Some(answer),
            Err(error) if !logged => {
                tracing::warn!("requesting committed offsets until Kafka answers: {error}");
                logged = true;
            }
            Err(_) => {}
        }
    }
    None
}

/// Commits the stored offsets and waits for the answer. Called before partitions are given up: the
/// next owner starts at the committed offsets.
pub(super) fn commit_stored(consumer: &BaseConsumer<Group>) {
    match consumer.commit_consumer_state(CommitMode::Sync) {
        Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
        Err(error) => {
            tracing::warn!("committing offsets: {error}; their records will be delivered again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unanswered_request_ends_at_the_shutdown() {
        let shutdown = CancellationToken::new();
        let requests = std::cell::Cell::new(0);
        let no_answer = || {
            requests.set(requests.get() + 1);
            if requests.get() == 3 {
                shutdown.cancel();
            }
            Err::<(), _>(KafkaError::OffsetFetch(RDKafkaErrorCode::OperationTimedOut))
        };
        assert_eq!(until_answered(no_answer, &shutdown), None);
        assert_eq!(requests.get(), 3);
        assert_eq!(until_answered(|| Ok(7), &CancellationToken::new()), Some(7));
    }
}
