//! A lane: takes records from its partitions in batches, and passes each batch through the
//! pipeline.
//!
//! ```text
//!             fill            start_commit          start_settle           store_offsets
//! partitions ─────▶ filling ─────────────▶ committing ─────────▶ settling ──────────────▶ done
//! ```
//!
//! A lane has at most one batch in each of these states, so it needs three slots and no queue. All
//! lanes together have at most [`MAX_FULL_BATCHES`] times the bytes of a full batch in their slots. A
//! lane with empty slots takes a record all the same, so that none of them waits for another.
//!
//! - *filling*: takes records until the batch is full. This slot always has a batch, perhaps empty.
//! - *committing*: a batch enters when it is due (full, or its first record is old enough) and the
//!   slot is free.
//! - *settling*: a batch enters when its commit has ended and the batch before it is settled. A
//!   finished commit waits in its slot until then, so batches are settled in the order of commits.
//! - *done*: `settle` has returned the receipt, which permits storing the offsets.
//!
//! A revocation removes the queues of its partitions at once, makes the filling batch due, and ends
//! its wait when all three slots are empty. The stop signal does the same for all partitions; when
//! the slots are empty, the lane ends. Nothing cancels a batch that is committing or settling: the
//! lane waits until its offsets are stored. An error ends the lane without storing them, and the
//! records are delivered again. The other lanes are then stopped, and are dropped if they have not
//! finished after a timeout.
//!
//! A record whose parsing panics enters the batch as a rejection. If this happens to all records of
//! a batch of several, the code is at fault and not the records: the lane ends with an error.
//!
//! This is not where partitions are assigned: see [`group`](super::group).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc as blocking,
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use rdkafka::{
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    Pipeline,
    group::{Command, Group, Partition},
    metrics::ConsumerMetrics,
    turns::Turns,
};
use crate::{
    kafka::{
        batch::{Batch, BatchPolicy},
        offsets::{NextOffset, Offsets},
        record::Record,
    },
    process::failpoint,
};

/// The most records that one fill takes before the lane lets other tasks run.
const MAX_RECORDS_PER_FILL: u64 = 128;
/// The limit of the bytes in the slots of all lanes together, as a number of batches of `batch-bytes`.
/// Usual batches end by their rows and are much smaller, so the limit delays only large records.
const MAX_FULL_BATCHES: usize = 4;
/// The pause of a lane before it tries again to take records, while the limit of all lanes is reached.
const LIMIT_PAUSE: Duration = Duration::from_millis(5);
/// The longest wait for an event before the lane polls its queues again.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// The parts that all lanes of a consumer share.
pub(super) struct Shared<P> {
    pub(super) pipeline: Arc<P>,
    pub(super) consumer: Arc<BaseConsumer<Group>>,
    pub(super) policy: BatchPolicy,
    /// Bytes of the items that all lanes have in their slots.
    pub(super) in_flight: AtomicUsize,
    pub(super) metrics: ConsumerMetrics,
    pub(super) stop: CancellationToken,
}

pub(super) struct Lane<P: Pipeline> {
    number: usize,
    commands: mpsc::UnboundedReceiver<Command>,
    shared: Arc<Shared<P>>,
    /// Notified when an empty partition queue gets a record.
    records_came: Arc<Notify>,
    partitions: Vec<Partition>,
    turns: Turns,
    filling: Batch<P::Item>,
    /// The number of records in `filling` for which `parse` panicked.
    panicked: usize,
    committing: Option<InFlight<anyhow::Result<P::Committed>>>,
    settling: Option<InFlight<anyhow::Result<P::Receipt>>>,
    /// One sender for each revocation that waits until all three slots are empty.
    revocations: Vec<blocking::Sender<()>>,
    stopping: bool,
}

/// A batch in the committing or the settling slot.
struct InFlight<T> {
    offsets: Offsets,
    bytes: usize,
    oldest_ms: Option<i64>,
    /// The start of its commit.
    started: Instant,
    task: JoinHandle<T>,
}

/// The event that ends a wait.
enum Event<P: Pipeline> {
    Committed(P::Committed),
    Settled(P::Receipt),
    Command(Command),
    /// There may be new records, the batch may be due, or the lane has to stop.
    Woken,
}

impl<P: Pipeline> Lane<P> {
    pub(super) fn new(
        number: usize,
        commands: mpsc::UnboundedReceiver<Command>,
        shared: Arc<Shared<P>>,
    ) -> Self {
        Self {
            number,
            commands,
            shared,
            records_came: Arc::default(),
            partitions: Vec::new(),
            turns: Turns::default(),
            filling: Batch::default(),
            panicked: 0,
            committing: None,
            settling: None,
            revocations: Vec::new(),
            stopping: false,
        }
    }

    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        loop {
            self.stopping = self.shared.stop.is_cancelled();
            if self.stopping {
                // Repeated in each round, because a rebalance may still assign partitions.
                self.partitions.clear();
            }
            let max_wait = self.fill()?;
            self.start_commit()?;
            // A batch that stays full takes no records until the commit before it has ended.
            let max_wait = if self.filling.is_full(&self.shared.policy) {
                MAX_WAIT
            } else if self.is_limited() {
                LIMIT_PAUSE
            } else {
                max_wait
            };
            self.report_lag();
            if self.is_idle() {
                // No batch is left, so these offsets are from `PartitionEOF` and from skipped
                // records. Each record before them is settled, because all slots are empty, so they
                // may be stored without a batch.
                let ends = std::mem::take(&mut self.filling.offsets);
                self.store(&ends);
                self.release_revoked();
                // The partitions were removed above, so no record can enter a batch any more, and
                // the offsets of all records that were taken are stored.
                if self.stopping {
                    return Ok(());
                }
            }
            match self.wait(max_wait).await? {
                Event::Committed(committed) => self.start_settle(committed),
                Event::Settled(receipt) => {
                    failpoint::async_point("store-offsets").await;
                    self.store_offsets(receipt);
                }
                Event::Command(command) => self.apply(command),
                Event::Woken => {}
            }
        }
    }

    /// Takes records from the partitions in turn, until the batch is full, the partitions are empty
    /// or it is time to let other tasks run. Returns the longest time to wait before the next fill.
    fn fill(&mut self) -> anyhow::Result<Duration> {
        let Shared { pipeline, consumer, policy, metrics, .. } = &*self.shared;
        let now = Instant::now();
        let (mut records, mut bytes, mut empty_in_a_row) = (0, 0, 0);
        while empty_in_a_row < self.partitions.len()
            && records < MAX_RECORDS_PER_FILL
            && !self.filling.is_full(policy)
            && !self.is_limited()
        {
            let turn = self.turns.next(self.partitions.len());
            let partition = &mut self.partitions[turn];
            partition.trouble.take_if(|trouble| trouble.is_over());
            match partition.queue.poll(Duration::ZERO) {
                None => empty_in_a_row += 1,
                Some(Err(KafkaError::PartitionEOF(number))) => {
                    partition.trouble = None;
                    // The end may be after the last record, because the markers of transactions
                    // have offsets, too. It is stored with the batch that has the records before
                    // it, or without a batch if all of them are settled.
                    if let Some(end) = consumer.context().position(consumer, number)? {
                        self.filling.offsets.reach(number, end);
                    }
                }
                Some(Err(error)) => consumer.context().check_partition(&error, partition)?,
                Some(Ok(message)) => {
                    // Checked after the record is taken and before it is parsed: a check before
                    // the poll would miss an id that is seen between the check and the poll.
                    consumer.context().check_topic_id()?;
                    let record = Record::of(&message);
                    let position = record.position;
                    bytes += record.value.map_or(0, <[u8]>::len) as u64;
                    records += 1;
                    empty_in_a_row = 0;
                    partition.trouble = None;
                    partition.next = Some(NextOffset::after(position.offset).get());
                    if pipeline.skips(record) {
                        // Like the end of a partition: stored with the batch that has the records
                        // before it, or without a batch if all of them are settled.
                        self.filling.offsets.add(position.partition, position.offset);
                        continue;
                    }
                    // A panic is treated like bad data, so that one record cannot stop its
                    // partition.
                    let parsed = catch_unwind(AssertUnwindSafe(|| {
                        failpoint::point("parse");
                        pipeline.parse(record)
                    }));
                    let (item, size) = parsed.unwrap_or_else(|_| {
                        self.panicked += 1;
                        tracing::error!(
                            partition = position.partition,
                            offset = position.offset,
                            "parsing a record panicked"
                        );
                        pipeline.reject_panicked(record)
                    });
                    // An item and its offset enter the batch in one call, so the batch never
                    // covers an offset whose item it does not have.
                    self.filling.push(item, size, position, now);
                    self.shared.in_flight.fetch_add(size, Ordering::Relaxed);
                }
            }
        }
        metrics.records.inc_by(records);
        metrics.bytes.inc_by(bytes);
        // If the fill ended at a limit, the queues may still have records. librdkafka notifies only
        // when an empty queue gets a record, so the next fill must not wait for a notification.
        let drained = empty_in_a_row >= self.partitions.len();
        Ok(if drained { MAX_WAIT } else { Duration::ZERO })
    }

    fn start_commit(&mut self) -> anyhow::Result<()> {
        let Shared { policy, metrics, .. } = &*self.shared;
        if self.committing.is_some() || self.filling.is_empty() {
            return Ok(());
        }
        // A revocation or the stop waits for this batch, so it is committed now.
        let must_end = self.stopping || !self.revocations.is_empty();
        if !must_end && !self.filling.is_due(policy, Instant::now()) {
            return Ok(());
        }
        let panicked = std::mem::take(&mut self.panicked);
        ensure!(
            panicked < 2 || panicked < self.filling.items.len(),
            "parsing panicked for all {panicked} records of a batch, so no record is at fault, but \
             probably Waybill"
        );
        let next = Batch::as_large_as(&self.filling);
        let Batch { items, offsets, oldest_ms, bytes, .. } =
            std::mem::replace(&mut self.filling, next);
        metrics.batch_records.observe(items.len() as f64);
        if failpoint::is_skipped("guard.commit-before-offsets") {
            self.store(&offsets);
        }
        // A task of its own, so that the commit goes on while the lane fills the next batch. If the
        // lane ends with an error meanwhile, the task may still commit. That is harmless: the
        // offsets are not stored, and the batch is read again.
        let shared = self.shared.clone();
        let task = tokio::spawn(async move { shared.pipeline.commit(items).await });
        let started = Instant::now();
        self.committing = Some(InFlight { offsets, bytes, oldest_ms, started, task });
        Ok(())
    }

    /// Moves the committed batch to the settling slot, which is free: [`wait`](Self::wait) takes
    /// the outcome of a commit only then.
    fn start_settle(&mut self, committed: P::Committed) {
        let Some(InFlight { offsets, bytes, oldest_ms, started, .. }) = self.committing.take()
        else {
            return;
        };
        if failpoint::is_skipped("guard.publish-before-offsets") {
            self.store(&offsets);
        }
        let shared = self.shared.clone();
        let task = tokio::spawn(async move { shared.pipeline.settle(committed).await });
        self.settling = Some(InFlight { offsets, bytes, oldest_ms, started, task });
    }

    /// Stores the offsets of the settled batch. Only a settled batch has a receipt, so offsets
    /// cannot be stored earlier.
    fn store_offsets(&mut self, _receipt: P::Receipt) {
        let Some(batch) = self.settling.take() else { return };
        self.shared.metrics.write_seconds.observe(batch.started.elapsed().as_secs_f64());
        self.shared.in_flight.fetch_sub(batch.bytes, Ordering::Relaxed);
        self.store(&batch.offsets);
    }

    fn store(&self, offsets: &Offsets) {
        let consumer = &self.shared.consumer;
        for (partition, next) in offsets.iter() {
            // The client refuses the offset of a partition that this member no longer has: the
            // revocation did not wait until this batch was settled. The committed offset stays, and
            // the new owner reads the records again, which changes nothing in the database.
            if let Err(error) = consumer.context().store(consumer, partition, next) {
                tracing::debug!(partition, "offset not stored: {error}");
            }
        }
    }

    /// Returns true if this lane must take no records, because the lanes have reached their limit.
    fn is_limited(&self) -> bool {
        let limit = MAX_FULL_BATCHES * self.shared.policy.bytes as usize;
        self.shared.in_flight.load(Ordering::Relaxed) >= limit && !self.is_idle()
    }

    fn is_idle(&self) -> bool {
        self.filling.is_empty() && self.committing.is_none() && self.settling.is_none()
    }

    /// Drops the senders, which ends the wait in the group's callback. Called only when all slots
    /// are empty: then the offsets of all records taken are stored, and the group commits them
    /// before it gives the partitions up.
    fn release_revoked(&mut self) {
        self.revocations.clear();
    }

    fn apply(&mut self, command: Command) {
        match command {
            Command::Assigned(mut partition) => {
                // The notification is kept if no one waits yet, so a record that comes between a
                // fill and the next wait is not missed. Records that came before this call are
                // found by the next fill.
                let records_came = self.records_came.clone();
                partition.queue.set_nonempty_callback(move || records_came.notify_one());
                self.partitions.retain(|known| known.number != partition.number);
                self.partitions.push(partition);
            }
            Command::Revoked(numbers, released) => {
                let before = self.partitions.len();
                // The queues go first: from here on, no record of these partitions enters a batch,
                // so the batches to wait for are known.
                self.partitions.retain(|partition| !numbers.contains(&partition.number));
                // If the lane had none of them, it has nothing to finish: its sender drops here.
                if self.partitions.len() != before {
                    self.revocations.push(released);
                }
            }
        }
    }

    fn report_lag(&self) {
        // All three slots count: a record counts as lag until its offset is stored, and not only
        // until it is committed.
        let committing = self.committing.as_ref().and_then(|batch| batch.oldest_ms);
        let settling = self.settling.as_ref().and_then(|batch| batch.oldest_ms);
        let oldest_ms = [self.filling.oldest_ms, committing, settling].into_iter().flatten().min();
        self.shared.metrics.lag.set(self.number, oldest_ms);
    }

    /// Waits for the next event, `max_wait` at most.
    async fn wait(&mut self, max_wait: Duration) -> anyhow::Result<Event<P>> {
        if max_wait.is_zero() {
            tokio::task::yield_now().await;
        }
        let Shared { policy, stop, .. } = &*self.shared;
        let due = self.filling.due_at(policy).filter(|_| self.committing.is_none());
        let wait =
            due.map_or(max_wait, |due| due.saturating_duration_since(Instant::now()).min(max_wait));
        // The order matters: a batch leaves the settling slot before the next one enters it, and
        // both come before commands, so that a revocation finds as few batches in flight as
        // possible. Dropping an unfinished branch loses nothing: a task continues, a channel keeps
        // its commands, and a notification is kept for the next wait.
        tokio::select! {
            biased;
            receipt = InFlight::outcome(&mut self.settling), if self.settling.is_some() => {
                Ok(Event::Settled(receipt?.context("settling a batch")?))
            }
            committed = InFlight::outcome(&mut self.committing),
                if self.committing.is_some() && self.settling.is_none() =>
            {
                Ok(Event::Committed(committed?.context("committing a batch")?))
            }
            Some(command) = self.commands.recv() => Ok(Event::Command(command)),
            // A full batch takes no records, so new ones need not wake the lane.
            () = self.records_came.notified(), if !self.filling.is_full(policy) => Ok(Event::Woken),
            () = stop.cancelled(), if !self.stopping => Ok(Event::Woken),
            () = tokio::time::sleep(wait) => Ok(Event::Woken),
        }
    }
}

impl<T> InFlight<T> {
    /// Waits for the task of the batch in `slot`; forever if the slot is empty.
    async fn outcome(slot: &mut Option<Self>) -> anyhow::Result<T> {
        match slot {
            Some(batch) => (&mut batch.task).await.context("a batch's task ended"),
            None => std::future::pending().await,
        }
    }
}
