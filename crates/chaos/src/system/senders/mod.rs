//! The senders of both streams: several threads with different producers, of which some send at a
//! steady rate and one sends bursts at full speed.
//!
//! Each sender has its own share of a stream, so records arrive between two bursts, too. The steady
//! rate decreases towards the end of the duration and does not become zero: records arrive for as
//! long as faults are injected, however long that takes. [`Senders::finish`] sends the rest at once.

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

/// The most records that a sender at a steady rate takes at once; a transaction has as many.
const BLOCK: u64 = 200;

/// The longest wait for a whole block while some records are due.
const BLOCK_TIMEOUT: Duration = Duration::from_millis(250);

/// The bursts of a stream, and the share of the stream that they send together.
const BURSTS: u64 = 10;
const BURST_SHARE: u64 = 2;

/// The share of the duration after which the steady rate decreases.
const STEADY: f64 = 0.8;

const MINUTE_MS: i64 = 60_000;

/// The senders of a stream: their kind, their compression, and the error of their clock in
/// milliseconds, which has an effect if the topic keeps the producers' time. Kafka refuses records
/// from more than an hour ahead. The last one sends the bursts.
const SENDERS: [(Kind, &str, i64); 5] = [
    (Kind::Idempotent, "none", 0),
    (Kind::Transactional, "zstd", -60 * MINUTE_MS),
    (Kind::Plain, "gzip", 59 * MINUTE_MS),
    (Kind::Idempotent, "snappy", 0),
    (Kind::Idempotent, "lz4", 0),
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
    /// Numbers that the senders at a steady rate have taken.
    steady: AtomicU64,
    acknowledged: AtomicU64,
    /// Records that were sent again because they were not acknowledged.
    pub(crate) repeats: AtomicU64,
    /// Transactions that were aborted.
    pub(crate) aborted: AtomicU64,
    cancelled: Arc<AtomicBool>,
    /// Set when the rest is to be sent at once.
    finishing: Arc<AtomicBool>,
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

    fn is_finishing(&self) -> bool {
        self.finishing.load(Ordering::Relaxed)
    }

    fn burst_size(&self) -> u64 {
        self.count() / BURST_SHARE / BURSTS
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
    finishing: Arc<AtomicBool>,
}

impl Senders {
    /// Starts to send both streams, most of them within `duration`.
    pub fn start(system: &System, traffic: &Traffic, duration: Duration) -> Result<Self> {
        let (cancelled, finishing) = Default::default();
        let mut senders = Self { streams: vec![], threads: vec![], cancelled, finishing };
        for (stream, topic) in [(Stream::Orders, ORDERS_TOPIC), (Stream::Status, STATUS_TOPIC)] {
            let path = Ledger::path(&system.ledgers(), stream);
            let shared = Arc::new(Shared {
                traffic: traffic.clone(),
                stream,
                ledger: Mutex::new(Ledger::create(&path).context("creating a ledger")?),
                next: AtomicU64::new(0),
                steady: AtomicU64::new(0),
                acknowledged: AtomicU64::new(0),
                repeats: AtomicU64::new(0),
                aborted: AtomicU64::new(0),
                cancelled: Arc::clone(&senders.cancelled),
                finishing: Arc::clone(&senders.finishing),
            });
            for (number, (kind, compression, clock_error_ms)) in SENDERS.into_iter().enumerate() {
                let options = ProducerOptions {
                    brokers: system.brokers.clone(),
                    topic,
                    name: format!("{topic}-{number}"),
                    kind,
                    compression,
                    clock_error_ms,
                };
                let shared = Arc::clone(&shared);
                let is_burst = number + 1 == SENDERS.len();
                senders.threads.push(std::thread::spawn(move || {
                    let started = Instant::now();
                    if is_burst {
                        let mut bursts = 0..BURSTS;
                        let next = || next_burst(&shared, started, duration, bursts.next()?);
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

    /// Sends the rest at once, waits until everything is acknowledged, and flushes the ledgers.
    pub async fn finish(mut self) -> Result<[Sent; 2]> {
        self.finishing.store(true, Ordering::Relaxed);
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

/// Returns the next block when it is due.
fn next_block(shared: &Shared, started: Instant, duration: Duration) -> Option<Block> {
    let count = shared.count() - shared.burst_size() * BURSTS;
    let waiting = Instant::now();
    loop {
        if shared.next.load(Ordering::Relaxed) >= shared.count() || shared.is_cancelled() {
            return None;
        }
        if shared.is_finishing() {
            return shared.take(BLOCK);
        }
        let due = (count as f64 * due_share(started.elapsed(), duration)) as u64;
        let due = due.saturating_sub(shared.steady.load(Ordering::Relaxed)).min(BLOCK);
        if due == BLOCK || (due > 0 && waiting.elapsed() > BLOCK_TIMEOUT) {
            shared.steady.fetch_add(due, Ordering::Relaxed);
            return shared.take(due);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Returns a burst when it is due.
fn next_burst(shared: &Shared, started: Instant, duration: Duration, burst: u64) -> Option<Block> {
    let at = duration.mul_f64((burst as f64 + 0.5) / BURSTS as f64);
    while started.elapsed() < at && !shared.is_finishing() {
        if shared.is_cancelled() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    shared.take(shared.burst_size())
}

/// Returns the share of the steady records that is due. It grows evenly up to [`STEADY`], then ever
/// slower, without a step in the rate, and stays below 1.
fn due_share(elapsed: Duration, duration: Duration) -> f64 {
    let time = elapsed.as_secs_f64() / duration.as_secs_f64().max(0.001);
    if time < STEADY {
        return time;
    }
    let rest = 1.0 - STEADY;
    1.0 - rest * rest / (rest + time - STEADY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_due_for_longer_than_the_duration() {
        let share = |seconds| due_share(Duration::from_secs(seconds), Duration::from_secs(100));
        assert_eq!((share(0), share(40)), (0.0, 0.4));
        let shares: Vec<f64> = (0..200).map(share).collect();
        for pair in shares.windows(2) {
            assert!(pair[0] < pair[1] && pair[1] - pair[0] < 0.010_1 && pair[1] < 1.0, "{pair:?}");
        }
        assert!((0.85..0.95).contains(&shares[100]), "{}", shares[100]);
    }
}
