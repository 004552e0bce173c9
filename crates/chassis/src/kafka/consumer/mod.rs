//! Consuming a topic as one member of a consumer group, through a service's [`Pipeline`].
//!
//! ```text
//! poll thread: heartbeats, rebalances ─▶ partition queues ─▶ lane (partition modulo lanes)
//! lane: record ─parse─▶ N+2: fill │ N+1: commit │ N: settle ─▶ receipt ─▶ store its offsets
//! ```
//!
//! Each partition has its own queue, so a lane that waits for the database delays only its own
//! partitions and never the heartbeats. Offsets are stored once `settle` has returned its
//! [`Receipt`], and committed in the background.
//!
//! - [`group`] gives partitions to lanes and takes them back.
//! - [`lane`] fills batches, taking [`turns`] among its partitions, and passes them through the
//!   pipeline.
//! - [`errors`] decides after which errors the consumer continues.
//! - [`topic_id`] detects a re-created topic.
//! - [`statistics`] takes the state of the connections and the lag from the client.
//! - [`unread`] finds partitions that no member has after the restart of a static member.
//!
//! Readers outside a group use [`tail`](crate::kafka::tail) or
//! [`topic_scan`](crate::kafka::topic_scan).

mod errors;
mod group;
mod lane;
mod metrics;
mod statistics;
mod topic_id;
mod turns;
mod unread;

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use rdkafka::{
    ClientConfig, Message as _,
    consumer::{BaseConsumer, Consumer as _},
};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

pub use self::metrics::ConsumerMetrics;
use self::{
    errors::Fenced,
    group::{Group, commit_stored},
    lane::{Lane, Shared},
    unread::{Found, Search},
};
use crate::{
    kafka::{batch::BatchPolicy, config::KafkaConfig, record::Record},
    process::{blocked::Blocked, exit::ExitReason, failpoint},
};

/// The longest time that the lanes have to finish their batches after a lane or the poll thread has
/// failed.
const FAILURE_TIMEOUT: Duration = Duration::from_secs(10);
/// The time after a fenced member has joined again in which another fence is an error. An outage of
/// Kafka fences only after a session, which is longer.
const FENCED_AGAIN: Duration = Duration::from_secs(10);

/// The proof that a batch is settled, so that its offsets may be stored. Each pipeline has its own
/// type of receipt, which only the last step of its flow can create.
pub trait Receipt: Send + 'static {}

/// The flow of a service, from a record to the receipt of its batch.
pub trait Pipeline: Send + Sync + 'static {
    /// A parsed record, valid or not.
    type Item: Send + 'static;
    /// A batch that is in the database.
    type Committed: Send + 'static;
    type Receipt: Receipt;

    /// Returns true for a record that needs no item: only its offset advances, after everything
    /// before it in its partition is settled.
    fn skips(&self, _record: Record<'_>) -> bool {
        false
    }

    /// Returns the item and its size in bytes. It cannot fail: bad data becomes an item, too.
    fn parse(&self, record: Record<'_>) -> (Self::Item, usize);

    /// Returns the rejection of a record for which [`parse`](Self::parse) panicked, and its size.
    fn reject_panicked(&self, record: Record<'_>) -> (Self::Item, usize);

    /// Writes a batch, and retries until it is written. The next batch may be written while this
    /// one is settled. An error that it returns ends the consumer.
    fn commit(
        &self,
        batch: Vec<Self::Item>,
    ) -> impl Future<Output = anyhow::Result<Self::Committed>> + Send;

    /// Performs the steps that follow a commit, such as publishing. It retries transient errors
    /// itself; an error that it returns ends the consumer. A lane settles its batches in the order
    /// in which they were committed.
    fn settle(
        &self,
        committed: Self::Committed,
    ) -> impl Future<Output = anyhow::Result<Self::Receipt>> + Send;
}

/// A topic to consume, and the settings for it.
#[derive(Debug, Clone)]
pub struct Subscription {
    pub topic: String,
    pub group: String,
    /// The number of batches that may be committed at the same time.
    pub lanes: usize,
    pub policy: BatchPolicy,
    pub pace: Pace,
}

/// The time for which Kafka may collect records before it answers a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// No time: Kafka answers as soon as there is a record.
    Prompt,
    /// Until there are 64 KiB, at most 20 ms. Fewer, larger answers cost Kafka and its reader less.
    Gathered,
}

impl Pace {
    pub(crate) fn set(self, config: &mut ClientConfig) {
        // After a queue was full, the client by default waits a second before it fetches again.
        config.set("fetch.queue.backoff.ms", "10");
        match self {
            Self::Prompt => config.set("fetch.wait.max.ms", "100"),
            Self::Gathered => config.set("fetch.min.bytes", "65536").set("fetch.wait.max.ms", "20"),
        };
    }
}

/// Consumes until `shutdown`; then commits and settles the records that were taken, stores their
/// offsets and leaves the group. An error of `commit` or `settle`, or a permanent error of Kafka,
/// ends it.
pub async fn consume<P: Pipeline>(
    kafka: KafkaConfig,
    subscription: Subscription,
    metrics: ConsumerMetrics,
    blocked: Blocked,
    pipeline: P,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let pipeline = Arc::new(pipeline);
    let mut joined_again: Option<Instant> = None;
    loop {
        let (metrics, blocked) = (metrics.clone(), blocked.clone());
        let member =
            consume_as_member(&kafka, &subscription, metrics, blocked, pipeline.clone(), &shutdown);
        // Kafka fences a member not only if another process joins with its instance id. If Kafka
        // was unreachable for longer than the session, the client joins with a new identity and
        // still sends a commit of the old one. So a fenced member joins again; if it is then fenced
        // soon again, there is another process.
        let ended = member.await;
        let is_fenced = ended.as_ref().is_err_and(|error| error.is::<Fenced>());
        let is_again = joined_again.is_some_and(|at| at.elapsed() < FENCED_AGAIN);
        if !is_fenced || is_again || shutdown.is_cancelled() {
            return ended;
        }
        tracing::warn!("joining the group again, because Kafka has fenced the KAFKA_INSTANCE_ID");
        joined_again = Some(Instant::now());
    }
}

async fn consume_as_member<P: Pipeline>(
    kafka: &KafkaConfig,
    subscription: &Subscription,
    metrics: ConsumerMetrics,
    blocked: Blocked,
    pipeline: Arc<P>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    // Unbounded, because the sender is a callback that must not wait for a lane. There are only a
    // few commands in each rebalance, so the channels stay short.
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..subscription.lanes).map(|_| mpsc::unbounded_channel()).unzip();
    let Subscription { topic, policy, .. } = subscription;
    let mut config = client_config(kafka, subscription)?;
    let consumer = Group::join(&mut config, topic, senders, &metrics, blocked, shutdown.clone())
        .with_context(|| format!("subscribing to the topic {topic}"))
        .context(ExitReason::Configuration)?;

    let stop_polling = CancellationToken::new();
    // The guard ends the poll thread also when this future is dropped: a runtime cannot end while a
    // blocking thread runs.
    let _stop_when_dropped = stop_polling.clone().drop_guard();
    let search = kafka.instance_id().map(|_| Search::new(&subscription.group, topic));
    let poller = spawn_poller(consumer.clone(), search, stop_polling.clone());
    // A child token: an error here stops the lanes of this consumer only. The supervisor stops the
    // rest of the service.
    let stop = shutdown.child_token();
    let in_flight = AtomicUsize::new(0);
    let shared = Shared { pipeline, consumer, policy: *policy, in_flight, metrics, stop };
    let shared = Arc::new(shared);
    let mut lanes = JoinSet::new();
    for (number, commands) in receivers.into_iter().enumerate() {
        lanes.spawn(Lane::new(number, commands, shared.clone()).run());
    }
    // The lanes end first, then the poll thread. Until then the heartbeats continue, so a lane that
    // finishes its batches keeps its partitions and can commit their offsets. If the thread ends
    // first, it has failed, and then it stops the lanes.
    let lanes = async {
        let ended = join_lanes(lanes, &shared.stop).await;
        stop_polling.cancel();
        ended
    };
    let failed = CancellationToken::new();
    let poller = async {
        let ended =
            poller.await.unwrap_or_else(|panic| Err(anyhow!("polling Kafka ended: {panic}")));
        shared.stop.cancel();
        if let Err(error) = &ended {
            if !error.is::<Fenced>() {
                tracing::error!("the consumer failed; stopping its lanes: {error:#}");
            }
            failed.cancel();
        }
        ended
    };
    // When the poll thread fails, a lane may be waiting without a limit for PostgreSQL or Kafka, so
    // the wait for the lanes gets a limit. Their unfinished batches are read again after the next
    // start.
    let lanes = async {
        tokio::select! {
            ended = lanes => ended,
            () = async { failed.cancelled().await; tokio::time::sleep(FAILURE_TIMEOUT).await } => Ok(()),
        }
    };
    let (lanes, poller) = tokio::join!(lanes, poller);
    lanes.and(poller)
}

fn client_config(kafka: &KafkaConfig, subscription: &Subscription) -> anyhow::Result<ClientConfig> {
    let mut config = kafka.client()?;
    config
        .set("group.id", &subscription.group)
        // The partitions of a killed member are not read before this timeout; the default is 45 s.
        .set("session.timeout.ms", "10000")
        // Automatic commits include only stored offsets, and only a lane stores offsets.
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "250")
        .set("enable.auto.offset.store", "false")
        // An offset that is gone ends the consumer: the default would skip records.
        .set("auto.offset.reset", "error")
        // The end may lie after the last record: the markers of transactions have offsets, too.
        .set("enable.partition.eof", "true")
        // Added partitions are read within seconds, not after the default of five minutes.
        .set("topic.metadata.refresh.interval.ms", "5000")
        // The interval at which the client reports its connections and its lag.
        .set("statistics.interval.ms", "1000")
        .set("heartbeat.interval.ms", "2000")
        // Also the wait for the answer to a request to join, which comes when all members have
        // joined: longer than the session, after which Kafka no longer waits for a member.
        .set("max.poll.interval.ms", "15000")
        .set("queued.min.messages", "5000")
        .set("queued.max.messages.kbytes", "2048")
        .set("fetch.message.max.bytes", "1048576")
        .set("fetch.error.backoff.ms", "100")
        .set("receive.message.max.bytes", "100000000");
    if let Some(id) = kafka.instance_id() {
        // Its replica is restarted at once, so the other members need not hurry, and an outage of
        // Kafka for this time needs no rebalance.
        config
            .set("group.instance.id", id)
            .set("session.timeout.ms", "30000")
            .set("max.poll.interval.ms", "35000");
    }
    subscription.pace.set(&mut config);
    Ok(config)
}

/// Waits until all lanes have ended. When one ends, the others finish their batches and end, too.
/// An error is logged at once, and after it the others have [`FAILURE_TIMEOUT`] to end. Returns the
/// first error.
async fn join_lanes(
    mut lanes: JoinSet<anyhow::Result<()>>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    let mut give_up_at = None;
    loop {
        // A lane may wait without a limit for PostgreSQL or for Kafka's acknowledgements. After an
        // error its unfinished batch is dropped: the next start reads the records again.
        let next = async {
            match give_up_at {
                None => Ok(lanes.join_next().await),
                Some(at) => tokio::time::timeout_at(at, lanes.join_next()).await,
            }
        };
        let Ok(Some(ended)) = next.await else { return outcome };
        stop.cancel();
        let ended = ended.unwrap_or_else(|panic| Err(anyhow!("a lane ended: {panic}")));
        let Err(error) = ended else { continue };
        if outcome.is_ok() {
            tracing::error!("a lane failed; stopping the others: {error:#}");
            give_up_at = Some(tokio::time::Instant::now() + FAILURE_TIMEOUT);
            outcome = Err(error);
        }
    }
}

/// Starts the poll thread. It serves rebalances and errors until `stop`, then commits the stored
/// offsets and leaves the group. Meanwhile it runs the search of a static member to its end.
fn spawn_poller(
    consumer: Arc<BaseConsumer<Group>>,
    mut search: Option<Search>,
    stop: CancellationToken,
) -> JoinHandle<anyhow::Result<()>> {
    tokio::task::spawn_blocking(move || {
        while !stop.is_cancelled() {
            consumer.context().check_topic_id()?;
            match search.as_mut().map(|search| search.run(&consumer)) {
                Some(Found::Nothing) => search = None,
                Some(Found::Unread(partitions)) => {
                    consumer.context().join_again(&consumer, &partitions)?;
                }
                Some(Found::Unknown) | None => {}
            }
            match consumer.poll(Duration::from_millis(100)) {
                None => {}
                Some(Err(error)) => consumer.context().check(&error)?,
                Some(Ok(record)) => {
                    return Err(anyhow!(
                        "a record of partition {} was not delivered to the queue of its lane",
                        record.partition()
                    ));
                }
            }
        }
        failpoint::point("drain");
        // All lanes have ended, so no more offsets are stored. The commit comes before leaving the
        // group, because the next owners start at the committed offsets.
        commit_stored(&consumer);
        consumer.unsubscribe();
        Ok(())
    })
}
