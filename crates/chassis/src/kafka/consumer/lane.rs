//! A lane: takes records from its partitions in batches, and passes each batch through the pipeline.
//!
//! ```text
//!             fill            start_commit          start_settle           store_offsets
//! partitions ─────▶ filling ─────────────▶ committing ─────────▶ settling ──────────────▶ done
//! ```
//!
//! A lane has at most one batch in each of the three states, so it is three slots and no queue.
//!
//! - *filling*: takes records until the batch is full. It is always there, and may be empty.
//! - *committing*: the batch is due (full, or its first record is old enough) and the slot is free.
//! - *settling*: the commit has ended and the batch before is settled. A finished commit waits in its
//!   slot until then, so batches are settled in the order in which they were committed.
//! - *done*: `settle` has returned the receipt, the proof that lets the offsets be stored.
//!
//! Two things change the pace. A revocation takes the queues of its partitions away at once, makes
//! the filling batch due, and is released when all three slots are empty. The stop signal does the
//! same for all partitions; when the slots are empty, the lane ends. Nothing cancels a batch in
//! flight: between commit and offsets a lane only waits.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc as blocking},
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
use crate::kafka::{
    batch::{Batch, BatchPolicy},
    offsets::{NextOffset, Offsets},
    record::Record,
};

/// The most records of one fill; after them the lane lets other tasks run.
const MAX_RECORDS_PER_FILL: u64 = 128;
/// The longest time that a lane waits for an event before it looks at its queues again.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// The parts that all lanes of a consumer share.
pub(super) struct Shared<P> {
    pub(super) pipeline: P,
    pub(super) consumer: Arc<BaseConsumer<Group>>,
    pub(super) policy: BatchPolicy,
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
    /// The records in `filling` for which `parse` panicked.
    panicked: usize,
    committing: Option<InFlight<anyhow::Result<P::Committed>>>,
    settling: Option<InFlight<anyhow::Result<P::Receipt>>>,
    /// Revocations that wait until nothing is in flight.
    revocations: Vec<blocking::Sender<()>>,
    stopping: bool,
}

/// A batch in the committing or the settling slot.
struct InFlight<T> {
    offsets: Offsets,
    oldest_ms: Option<i64>,
    /// The begin of its commit.
    started: Instant,
    task: JoinHandle<T>,
}

/// The end of a wait.
enum Event<P: Pipeline> {
    Committed(P::Committed),
    Settled(P::Receipt),
    Command(Command),
    /// Records may have come, the batch may be due, or the lane has to stop.
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
                // Again in each round: a rebalance may assign partitions meanwhile.
                self.partitions.clear();
            }
            let max_wait = self.fill()?;
            self.start_commit()?;
            self.report_lag();
            if self.is_idle() {
                // Ends of partitions: every record before them is settled.
                let ends = std::mem::take(&mut self.filling.offsets);
                self.store(&ends);
                self.release_revoked();
                if self.stopping {
                    return Ok(());
                }
            }
            match self.wait(max_wait).await? {
                Event::Committed(committed) => self.start_settle(committed),
                Event::Settled(receipt) => self.store_offsets(receipt),
                Event::Command(command) => self.obey(command),
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
        {
            let turn = self.turns.next(self.partitions.len());
            let partition = &mut self.partitions[turn];
            partition.trouble.take_if(|trouble| trouble.is_over());
            match partition.queue.poll(Duration::ZERO) {
                None => empty_in_a_row += 1,
                Some(Err(KafkaError::PartitionEOF(number))) => {
                    partition.trouble = None;
                    // Stored with the records before it, or at once if these are settled.
                    if let Some(end) = consumer.context().position(consumer, number)? {
                        self.filling.offsets.reach(number, end);
                    }
                }
                Some(Err(error)) => consumer.context().check_partition(&error, partition)?,
                Some(Ok(message)) => {
                    // Checked between taking and parsing: no record of a re-created topic passes.
                    consumer.context().topic_is_the_same()?;
                    let record = Record::of(&message);
                    let position = record.position;
                    bytes += record.value.map_or(0, <[u8]>::len) as u64;
                    // A panic is treated like bad data, so that one record cannot stop its partition.
                    let parsed = catch_unwind(AssertUnwindSafe(|| pipeline.parse(record)));
                    let (item, size) = parsed.unwrap_or_else(|_| {
                        self.panicked += 1;
                        tracing::error!(
                            partition = position.partition,
                            offset = position.offset,
                            "parsing a record panicked"
                        );
                        pipeline.reject_panicked(record)
                    });
                    self.filling.push(item, size, position, now);
                    partition.trouble = None;
                    partition.next = Some(NextOffset::after(position.offset).get());
                    records += 1;
                    empty_in_a_row = 0;
                }
            }
        }
        metrics.records.inc_by(records);
        metrics.bytes.inc_by(bytes);
        Ok(if records < MAX_RECORDS_PER_FILL { MAX_WAIT } else { Duration::ZERO })
    }

    fn start_commit(&mut self) -> anyhow::Result<()> {
        let Shared { policy, metrics, .. } = &*self.shared;
        if self.committing.is_some() || self.filling.is_empty() {
            return Ok(());
        }
        // A revocation and a stop wait for this batch, so it does not wait for more records.
        let in_a_hurry = self.stopping || !self.revocations.is_empty();
        if !in_a_hurry && !self.filling.is_due(policy, Instant::now()) {
            return Ok(());
        }
        let panicked = std::mem::take(&mut self.panicked);
        ensure!(
            panicked < 2 || panicked < self.filling.items.len(),
            "parsing panicked for all {panicked} records of a batch, so no record is at fault"
        );
        let next = Batch::as_large_as(&self.filling);
        let Batch { items, offsets, oldest_ms, .. } = std::mem::replace(&mut self.filling, next);
        metrics.batch_records.observe(items.len() as f64);
        let shared = self.shared.clone();
        let task = tokio::spawn(async move { shared.pipeline.commit(items).await });
        let started = Instant::now();
        self.committing = Some(InFlight { offsets, oldest_ms, started, task });
        Ok(())
    }

    fn start_settle(&mut self, committed: P::Committed) {
        let Some(InFlight { offsets, oldest_ms, started, .. }) = self.committing.take() else {
            return;
        };
        let shared = self.shared.clone();
        let task = tokio::spawn(async move { shared.pipeline.settle(committed).await });
        self.settling = Some(InFlight { offsets, oldest_ms, started, task });
    }

    /// Stores the offsets of the batch that is settled, as the receipt proves.
    fn store_offsets(&mut self, _receipt: P::Receipt) {
        let Some(batch) = self.settling.take() else { return };
        self.shared.metrics.write_seconds.observe(batch.started.elapsed().as_secs_f64());
        self.store(&batch.offsets);
    }

    fn store(&self, offsets: &Offsets) {
        let consumer = &self.shared.consumer;
        for (partition, next) in offsets.iter() {
            // Storing fails for a partition that was revoked meanwhile, when the revocation could
            // not wait. Its old offset stays, and its new owner reads the records again: that
            // changes nothing in the database.
            if let Err(error) = consumer.context().store(consumer, partition, next) {
                tracing::debug!(partition, "offset not stored: {error}");
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.filling.is_empty() && self.committing.is_none() && self.settling.is_none()
    }

    /// Drops the senders, which ends the wait in the group's callback. Called only when nothing is in
    /// flight: the offsets of all records taken are stored then, and the group commits them before
    /// it gives the partitions up.
    fn release_revoked(&mut self) {
        self.revocations.clear();
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Assigned(mut partition) => {
                let records_came = self.records_came.clone();
                partition.queue.set_nonempty_callback(move || records_came.notify_one());
                self.partitions.retain(|known| known.number != partition.number);
                self.partitions.push(partition);
            }
            Command::Revoked(numbers, released) => {
                let before = self.partitions.len();
                self.partitions.retain(|partition| !numbers.contains(&partition.number));
                // A lane that had none of them has nothing to finish: its sender drops here.
                if self.partitions.len() != before {
                    self.revocations.push(released);
                }
            }
        }
    }

    fn report_lag(&self) {
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
        // The order counts: a batch leaves the settling slot before the next enters it, and both
        // come before commands, so that a revocation finds as little in flight as possible. Each
        // branch may be dropped unfinished without a loss: a task goes on, a channel keeps its
        // commands, a notification is kept for the next wait.
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
            // A full batch takes nothing, so new records need not wake the lane.
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
