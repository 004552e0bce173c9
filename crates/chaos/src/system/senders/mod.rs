//! The senders of both streams: several threads with different producers, of which some send at a
//! steady rate and one sends bursts at full speed.

mod producer;

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};

use self::producer::{Kind, ProducerOptions, send_all};
use super::{ORDERS_TOPIC, STATUS_TOPIC, System};
use crate::{
    ledger::{Ack, Ledger},
    traffic::{SentRecord, Stream, Traffic},
};

/// Records that a sender at a steady rate takes at once; a transaction has as many.
const BLOCK: u64 = 200;

/// The bursts of a stream, and the share of the stream that they send together.
const BURSTS: u64 = 10;
const BURST_SHARE: u64 = 2;

/// The senders of a stream. The last one sends the bursts.
const SENDERS: [(Kind, &str); 4] = [
    (Kind::Idempotent, "none"),
    (Kind::Transactional, "zstd"),
    (Kind::Plain, "gzip"),
    (Kind::Idempotent, "lz4"),
];

/// Numbers that one sender sends next.
pub(crate) struct Block {
    pub(crate) numbers: Range<u64>,
}

/// The state of a stream, which its senders share.
#[derive(Debug)]
pub(crate) struct Shared {
    traffic: Traffic,
    stream: Stream,
    ledger: Mutex<Ledger>,
    next: AtomicU64,
    acknowledged: AtomicU64,
    /// Records that were sent again because they were not acknowledged.
    pub(crate) repeats: AtomicU64,
    /// Transactions that were aborted.
    pub(crate) aborted: AtomicU64,
    cancelled: Arc<AtomicBool>,
}

impl Shared {
    pub(crate) fn record_of(&self, number: u64) -> SentRecord {
        self.traffic.record(self.stream, number)
    }

    /// Appends acknowledged records to the ledger.
    pub(crate) fn record(&self, acks: &[Ack]) -> Result<()> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        for ack in acks {
            ledger.append(ack.number, ack.partition, ack.offset).context("writing the ledger")?;
        }
        self.acknowledged.fetch_add(acks.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn count(&self) -> u64 {
        self.traffic.count(self.stream)
    }

    fn take(&self, size: u64) -> Option<Block> {
        let start = self.next.fetch_add(size, Ordering::Relaxed);
        let end = (start + size).min(self.count());
        (start < end).then_some(Block { numbers: start..end })
    }
}

/// The numbers of records that were sent so far.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub struct Sent {
    pub acknowledged: u64,
    pub repeated: u64,
    pub aborted_transactions: u64,
}

/// The running senders. Dropping them lets them end soon, without sending the rest.
#[derive(Debug)]
pub struct Senders {
    streams: Vec<Arc<Shared>>,
    threads: Vec<JoinHandle<Result<()>>>,
    cancelled: Arc<AtomicBool>,
}

impl Senders {
    /// Starts to send both streams, evenly within `duration`.
    pub fn start(system: &System, traffic: &Traffic, duration: Duration) -> Result<Self> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let mut senders = Self { streams: vec![], threads: vec![], cancelled };
        for (stream, topic) in [(Stream::Orders, ORDERS_TOPIC), (Stream::Status, STATUS_TOPIC)] {
            let path = Ledger::path(&system.ledgers(), stream);
            let shared = Arc::new(Shared {
                traffic: traffic.clone(),
                stream,
                ledger: Mutex::new(Ledger::create(&path).context("creating a ledger")?),
                next: AtomicU64::new(0),
                acknowledged: AtomicU64::new(0),
                repeats: AtomicU64::new(0),
                aborted: AtomicU64::new(0),
                cancelled: Arc::clone(&senders.cancelled),
            });
            for (number, (kind, compression)) in SENDERS.into_iter().enumerate() {
                let options = ProducerOptions {
                    brokers: system.brokers.clone(),
                    topic,
                    name: format!("{topic}-{number}"),
                    kind,
                    compression,
                };
                let shared = Arc::clone(&shared);
                let is_burst = number + 1 == SENDERS.len();
                senders.threads.push(std::thread::spawn(move || {
                    let started = Instant::now();
                    if is_burst {
                        let mut burst = 0;
                        let next = || next_burst(&shared, started, duration, &mut burst);
                        send_all(&options, &shared, next)
                    } else {
                        send_all(&options, &shared, || next_block(&shared, started, duration))
                    }
                }));
            }
            senders.streams.push(shared);
        }
        Ok(senders)
    }

    /// Returns the numbers so far, of orders and of status events.
    #[must_use]
    pub fn sent(&self) -> [Sent; 2] {
        let sent = |shared: &Arc<Shared>| Sent {
            acknowledged: shared.acknowledged.load(Ordering::Relaxed),
            repeated: shared.repeats.load(Ordering::Relaxed),
            aborted_transactions: shared.aborted.load(Ordering::Relaxed),
        };
        [sent(&self.streams[0]), sent(&self.streams[1])]
    }

    /// Returns whether all senders have ended.
    #[must_use]
    pub fn are_done(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits until everything is acknowledged, and flushes the ledgers.
    pub async fn finish(mut self) -> Result<[Sent; 2]> {
        let threads = std::mem::take(&mut self.threads);
        tokio::task::spawn_blocking(move || {
            for thread in threads {
                thread.join().map_err(|_| anyhow!("a sender has panicked"))??;
            }
            Ok::<(), anyhow::Error>(())
        })
        .await
        .context("waiting for the senders")??;
        for shared in &self.streams {
            let mut ledger = shared.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger.flush().context("writing the ledger")?;
        }
        Ok(self.sent())
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// Returns the next block when it is due: the stream as a whole advances evenly, bursts included.
fn next_block(shared: &Shared, started: Instant, duration: Duration) -> Option<Block> {
    loop {
        let next = shared.next.load(Ordering::Relaxed);
        if next >= shared.count() || shared.is_cancelled() {
            return None;
        }
        if next < due(shared.count(), started.elapsed(), duration) {
            return shared.take(BLOCK);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the next burst when it is due.
fn next_burst(
    shared: &Shared,
    started: Instant,
    duration: Duration,
    burst: &mut u32,
) -> Option<Block> {
    let count = shared.count();
    let at = duration.mul_f64((f64::from(*burst) + 0.5) / BURSTS as f64);
    *burst += 1;
    while started.elapsed() < at {
        if shared.next.load(Ordering::Relaxed) >= count || shared.is_cancelled() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    shared.take((count / BURST_SHARE / BURSTS).max(1))
}

fn due(count: u64, elapsed: Duration, duration: Duration) -> u64 {
    let share = elapsed.as_secs_f64() / duration.as_secs_f64().max(0.001);
    ((count as f64 * share) as u64 + 1).min(count)
}
