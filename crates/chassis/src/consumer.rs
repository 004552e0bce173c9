//! Consuming a topic as one member of a group.
//!
//! ```text
//! poll thread: heartbeats, rebalances ─▶ partition queues ─▶ lane (partition modulo lanes)
//! lane: record ─parse─▶ batch N+1 fills │ batch N: write ─▶ receipt ─▶ store its offsets
//! ```
//!
//! Each partition has a queue of its own, so a lane that waits for the database holds up only its
//! own partitions and never the heartbeats. Offsets are stored once `write` has given its
//! [`Receipt`], and committed in the background. Only this file and its neighbours
//! `follower`, `kafka` and `producer` know rdkafka.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, OnceLock, Weak, mpsc as blocking},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use prometheus_client::{
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use rdkafka::{
    ClientContext, Message as _, Offset, TopicPartitionList,
    consumer::{
        BaseConsumer, CommitMode, Consumer as _, ConsumerContext, base_consumer::PartitionQueue,
    },
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::{BorrowedHeaders, BorrowedMessage, Headers as _},
    types::RDKafkaRespErr,
};
use tokio::{
    sync::{Notify, mpsc},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    batch::{Batch, BatchPolicy},
    kafka::KafkaConfig,
    offsets::Offsets,
};

/// How long a revocation waits for work in flight. Correctness does not depend on it.
const REVOCATION_WAIT: Duration = Duration::from_secs(2);
/// After so many records a lane lets others run.
const RECORDS_A_TURN: usize = 128;

/// Where a record stands, and when Kafka took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

/// A record as it came.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// Where it stands.
    pub position: Position,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a null value.
    pub value: Option<&'a [u8]>,
    headers: Option<&'a BorrowedHeaders>,
}

impl<'a> Record<'a> {
    pub(crate) fn of(message: &'a BorrowedMessage<'_>) -> Self {
        let position = Position {
            timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
            partition: message.partition(),
            offset: message.offset(),
        };
        let (key, value, headers) = (message.key(), message.payload(), message.headers());
        Self { position, key, value, headers }
    }

    /// The last header of this name, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let header = self.headers?.iter().filter(|header| header.key == name).last()?;
        std::str::from_utf8(header.value?).ok()
    }
}

/// The proof that a batch is settled, so that its offsets may be stored. Each service implements it
/// for the one type that only the last step of its flow can make.
pub trait Receipt: Send + 'static {}

/// What to consume, and how.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The topic.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// How many batches may be written at once.
    pub lanes: usize,
    /// When a batch ends.
    pub policy: BatchPolicy,
}

/// What the consumer counts.
#[derive(Debug, Clone)]
pub struct Metrics {
    records: Counter,
    bytes: Counter,
    batch_records: Histogram,
    write_seconds: Histogram,
    lag_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
    partitions: Gauge,
}

impl Metrics {
    /// Makes them known to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            records: Counter::default(),
            bytes: Counter::default(),
            batch_records: Histogram::new(exponential_buckets(1.0, 2.0, 14)),
            write_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
            lag_seconds: Gauge::default(),
            partitions: Gauge::default(),
        };
        registry.register(
            "messaging_client_consumed_messages",
            "Records taken from Kafka",
            metrics.records.clone(),
        );
        registry.register(
            "messaging_client_consumed_bytes",
            "Bytes of their values",
            metrics.bytes.clone(),
        );
        registry.register(
            "waybill_batch_records",
            "Records in a batch",
            metrics.batch_records.clone(),
        );
        registry.register(
            "messaging_process_duration_seconds",
            "From the end of a batch to its offsets, seconds",
            metrics.write_seconds.clone(),
        );
        registry.register(
            "waybill_consumer_lag_seconds",
            "Age of the newest record when its batch was settled, seconds",
            metrics.lag_seconds.clone(),
        );
        registry.register(
            "waybill_consumer_partitions",
            "Partitions assigned to this replica",
            metrics.partitions.clone(),
        );
        metrics
    }

    /// Records taken since the start.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records.get()
    }

    /// Age of the newest record when its batch was settled, seconds.
    #[must_use]
    pub fn lag_seconds(&self) -> f64 {
        self.lag_seconds.get()
    }
}

/// Consumes until `shutdown`, then writes what was taken, stores its offsets and leaves the group.
///
/// `parse` turns a record into an item and its size in bytes; it may not fail, for bad data is a
/// value. `write` settles a batch; it retries by itself whatever can be retried, and its error ends
/// the consumer, as does an offset that Kafka no longer has.
pub async fn consume<T, R, P, W, F>(
    kafka: &KafkaConfig,
    subscription: Subscription,
    metrics: Metrics,
    parse: P,
    write: W,
    shutdown: CancellationToken,
) -> anyhow::Result<()>
where
    T: Send + 'static,
    R: Receipt,
    P: Fn(Record<'_>) -> (T, usize) + Clone + Send + Sync + 'static,
    W: Fn(Vec<T>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = anyhow::Result<R>> + Send + 'static,
{
    let mut senders = Vec::new();
    let mut receivers = Vec::new();
    for _ in 0..subscription.lanes {
        let (sender, receiver) = mpsc::unbounded_channel();
        senders.push(sender);
        receivers.push(receiver);
    }
    let context =
        Group { lanes: senders, itself: OnceLock::new(), assigned: metrics.partitions.clone() };
    let consumer: BaseConsumer<Group> = kafka
        .client()?
        .set("group.id", &subscription.group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        // After a kill nobody reads until the broker gives the dead member up: 45 s by default.
        .set("session.timeout.ms", "10000")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "1000")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("heartbeat.interval.ms", "2000")
        .set("queued.min.messages", "5000")
        .set("queued.max.messages.kbytes", "2048")
        .set("fetch.message.max.bytes", "1048576")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.error.backoff.ms", "100")
        .set("receive.message.max.bytes", "100000000")
        .create_with_context(context)
        .context("configuring the Kafka consumer")?;
    let consumer = Arc::new(consumer);
    let _ = consumer.context().itself.set(Arc::downgrade(&consumer));
    consumer
        .subscribe(&[&subscription.topic])
        .with_context(|| format!("subscribing to the topic {}", subscription.topic))?;

    // Lanes end first, then the poll thread: until then heartbeats go on.
    let stop_polling = CancellationToken::new();
    // The thread also ends when this future is dropped, or it would keep the runtime from ending.
    let _stopped_when_dropped = stop_polling.clone().drop_guard();
    let lanes_stop = shutdown.child_token();
    let mut poller = spawn_poller(consumer.clone(), stop_polling.clone());
    let mut lanes = JoinSet::new();
    for commands in receivers {
        let lane = Lane {
            consumer: consumer.clone(),
            topic: subscription.topic.clone(),
            policy: subscription.policy,
            metrics: metrics.clone(),
            queues: BTreeMap::new(),
            batch: Batch::default(),
            newest_ms: 0,
            waiting: Vec::new(),
        };
        lanes.spawn(lane.run(commands, parse.clone(), write.clone(), lanes_stop.clone()));
    }
    let mut outcome = Ok(());
    let mut polling = true;
    loop {
        tokio::select! {
            ended = lanes.join_next() => match ended {
                None => break,
                Some(ended) => {
                    if let Err(error) = ended.unwrap_or_else(|panic| Err(anyhow!("a lane ended: {panic}"))) {
                        outcome = outcome.and(Err(error));
                    }
                    lanes_stop.cancel();
                }
            },
            ended = &mut poller, if polling => {
                polling = false;
                outcome = outcome.and(ended.unwrap_or_else(|panic| Err(anyhow!("polling Kafka ended: {panic}"))));
                lanes_stop.cancel();
            }
        }
    }
    stop_polling.cancel();
    if polling {
        outcome = outcome
            .and(poller.await.unwrap_or_else(|panic| Err(anyhow!("polling Kafka ended: {panic}"))));
    }
    outcome
}

/// Serves rebalances and errors; commits what is stored before it ends.
fn spawn_poller(
    consumer: Arc<BaseConsumer<Group>>,
    stop: CancellationToken,
) -> JoinHandle<anyhow::Result<()>> {
    tokio::task::spawn_blocking(move || {
        while !stop.is_cancelled() {
            match consumer.poll(Duration::from_millis(100)) {
                None => {}
                Some(Err(error)) => check(&error)?,
                Some(Ok(record)) => {
                    return Err(anyhow!(
                        "a record of partition {} came outside its lane",
                        record.partition()
                    ));
                }
            }
        }
        commit_stored(&consumer);
        consumer.unsubscribe();
        Ok(())
    })
}

/// Commits what is stored and waits for it: before partitions are given up.
fn commit_stored(consumer: &BaseConsumer<Group>) {
    match consumer.commit_consumer_state(CommitMode::Sync) {
        Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
        Err(error) => {
            tracing::warn!("committing offsets: {error}; their records will come again");
        }
    }
}

/// An error that the weather explains is waited out; an offset that Kafka no longer has is not.
fn check(error: &KafkaError) -> anyhow::Result<()> {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
            Err(anyhow!(
                "Kafka no longer has the records after the committed offset: they were deleted, or the topic was made \
             anew ({error}). Nothing was skipped. Decide where to go on with Kafka's own tool: kafka-consumer-groups \
             --reset-offsets, then start again"
            ))
        }
        Some(RDKafkaErrorCode::Fatal) => {
            Err(anyhow!("the Kafka consumer failed for good: {error}"))
        }
        _ => {
            tracing::warn!("Kafka: {error}");
            Ok(())
        }
    }
}

enum Command {
    Assigned(PartitionQueue<Group>, i32),
    /// Give the partitions up; drop the sender once nothing of them is in flight.
    Revoked(Vec<i32>, blocking::Sender<()>),
}

/// The consumer's side of rebalances: hands partitions to lanes and takes them back.
struct Group {
    lanes: Vec<mpsc::UnboundedSender<Command>>,
    itself: OnceLock<Weak<BaseConsumer<Group>>>,
    assigned: Gauge,
}

impl ClientContext for Group {}

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

impl Group {
    fn assign(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &mut TopicPartitionList,
    ) -> KafkaResult<()> {
        let Some(itself) = self.itself.get().and_then(Weak::upgrade) else { return Ok(()) };
        // A partition without a committed offset starts at the beginning; `auto.offset.reset=error`
        // is for offsets that were committed and are gone.
        let committed = loop {
            match consumer.committed_offsets(partitions.clone(), Duration::from_secs(5)) {
                Ok(committed) => break committed,
                Err(error) => tracing::warn!("asking for committed offsets: {error}"),
            }
        };
        for element in committed.elements() {
            if element.offset() == Offset::Invalid {
                partitions.set_partition_offset(
                    element.topic(),
                    element.partition(),
                    Offset::Beginning,
                )?;
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

/// Fills batches from its partitions and has them written, one at a time.
struct Lane<T> {
    consumer: Arc<BaseConsumer<Group>>,
    topic: String,
    policy: BatchPolicy,
    metrics: Metrics,
    queues: BTreeMap<i32, PartitionQueue<Group>>,
    batch: Batch<T>,
    newest_ms: i64,
    /// Revocations that wait until nothing is in flight.
    waiting: Vec<blocking::Sender<()>>,
}

impl<T: Send + 'static> Lane<T> {
    async fn run<R, P, W, F>(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        parse: P,
        write: W,
        stop: CancellationToken,
    ) -> anyhow::Result<()>
    where
        R: Receipt,
        P: Fn(Record<'_>) -> (T, usize),
        W: Fn(Vec<T>) -> F,
        F: Future<Output = anyhow::Result<R>> + Send + 'static,
    {
        let wake = Arc::new(Notify::new());
        let mut in_flight: Option<InFlight<R>> = None;
        loop {
            let stopping = stop.is_cancelled();
            if stopping {
                self.queues.clear();
            }
            let more = self.fill(&parse)?;
            let hurry = stopping || !self.waiting.is_empty();
            if in_flight.is_none()
                && !self.batch.is_empty()
                && (hurry || self.batch.is_due(&self.policy, Instant::now()))
            {
                let batch = std::mem::take(&mut self.batch);
                self.metrics.batch_records.observe(batch.items.len() as f64);
                in_flight = Some(InFlight {
                    offsets: batch.offsets,
                    newest_ms: self.newest_ms,
                    started: Instant::now(),
                    task: tokio::spawn(write(batch.items)),
                });
            }
            if in_flight.is_none() && self.batch.is_empty() {
                self.waiting.clear();
                if stopping {
                    return Ok(());
                }
            }
            if more {
                tokio::task::yield_now().await;
            }
            let idle = if more { Duration::ZERO } else { Duration::from_millis(100) };
            let due = self.batch.due_at(&self.policy).filter(|_| in_flight.is_none());
            let wait =
                due.map_or(idle, |due| due.saturating_duration_since(Instant::now()).min(idle));
            tokio::select! {
                biased;
                settled = settled(&mut in_flight), if in_flight.is_some() => {
                    let _receipt: R = settled?;
                    if let Some(done) = in_flight.take() {
                        self.store(&done)?;
                    }
                }
                Some(command) = commands.recv() => self.obey(command, &wake),
                () = wake.notified(), if !self.batch.is_full(&self.policy) => {}
                () = stop.cancelled(), if !stopping => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Takes what is there until the batch is full; true if it stopped with records left.
    fn fill(&mut self, parse: &impl Fn(Record<'_>) -> (T, usize)) -> anyhow::Result<bool> {
        let mut taken = 0;
        let mut empty_in_a_row = 0;
        if self.queues.is_empty() {
            return Ok(false);
        }
        loop {
            for queue in self.queues.values() {
                if self.batch.is_full(&self.policy) {
                    return Ok(false);
                }
                match queue.poll(Duration::ZERO) {
                    None => empty_in_a_row += 1,
                    Some(Err(error)) => check(&error)?,
                    Some(Ok(message)) => {
                        empty_in_a_row = 0;
                        taken += 1;
                        let record = Record::of(&message);
                        let position = record.position;
                        self.metrics.records.inc();
                        self.metrics.bytes.inc_by(record.value.map_or(0, <[u8]>::len) as u64);
                        self.newest_ms = self.newest_ms.max(position.timestamp_ms);
                        let (item, bytes) = parse(record);
                        self.batch.push(
                            item,
                            bytes,
                            position.partition,
                            position.offset,
                            Instant::now(),
                        );
                    }
                }
                if empty_in_a_row >= self.queues.len() {
                    return Ok(false);
                }
            }
            if taken >= RECORDS_A_TURN {
                return Ok(true);
            }
        }
    }

    fn obey(&mut self, command: Command, wake: &Arc<Notify>) {
        match command {
            Command::Assigned(mut queue, partition) => {
                let wake = wake.clone();
                queue.set_nonempty_callback(move || wake.notify_one());
                self.queues.insert(partition, queue);
            }
            Command::Revoked(partitions, done) => {
                let before = self.queues.len();
                for partition in partitions {
                    self.queues.remove(&partition);
                }
                // A lane that had none of them has nothing to finish: its sender drops here.
                if self.queues.len() != before {
                    self.waiting.push(done);
                }
            }
        }
    }

    fn store(&self, done: &InFlight<impl Receipt>) -> anyhow::Result<()> {
        self.metrics.write_seconds.observe(done.started.elapsed().as_secs_f64());
        let now_ms = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        self.metrics.lag_seconds.set((now_ms - done.newest_ms).max(0) as f64 / 1_000.0);
        for (partition, next) in done.offsets.iter() {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&self.topic, partition, Offset::Offset(next.get()))?;
            // A partition that was taken away meanwhile keeps its old offset: its records come
            // again elsewhere, harmlessly.
            if let Err(error) = self.consumer.store_offsets(&list) {
                tracing::debug!(partition, "offset not stored: {error}");
            }
        }
        Ok(())
    }
}

struct InFlight<R> {
    offsets: Offsets,
    newest_ms: i64,
    started: Instant,
    task: JoinHandle<anyhow::Result<R>>,
}

/// Waits for the batch in flight.
async fn settled<R>(in_flight: &mut Option<InFlight<R>>) -> anyhow::Result<R> {
    match in_flight {
        Some(batch) => (&mut batch.task).await.context("writing a batch ended")?,
        None => std::future::pending().await,
    }
}
