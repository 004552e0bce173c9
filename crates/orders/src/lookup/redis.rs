//! The second level of the cache, shared by replicas: Redis, if it is configured.
//!
//! Values have a version, a checksum and an expiry, and only a version that is not lower replaces a
//! value. A failure of Redis is never an error to the client: after it, Redis is not used for
//! [`FAILURE_PAUSE`], and orders come from PostgreSQL. It is never the source of truth and may lose
//! everything at any moment.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use events::OrderUid;
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{lookup::queries::View, order::content_hash::ContentHash};

const RESPONSE_TIMEOUT: Duration = Duration::from_millis(100);
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// The limit on the batches in the write queue; further ones are dropped.
const MAX_QUEUED_BATCHES: usize = 16;
/// The limit on the orders of one pipeline.
const MAX_PIPELINE: usize = 128;
/// Sets a value unless there is one of a higher version. Redis runs a script as one step, so two
/// replicas cannot both compare before one of them sets.
const SET_IF_NEWER: &str = "\
    local known = redis.call('GETRANGE', KEYS[1], 0, 9)
    if known == '' or tonumber(known) == nil or tonumber(known) <= tonumber(string.sub(ARGV[1], 1, 10)) then
      redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    end";

/// A value begins with ten digits of version, so that the script can compare them.
const VERSION_DIGITS: usize = 10;
const HASH_BYTES: usize = 16;

chassis::metrics! {
    struct RedisMetrics {
        /// Calls to Redis that failed or timed out
        failures: Counter = "waybill_redis_failures",
        /// Orders not written to Redis because its write queue was full
        unwritten: Counter = "waybill_redis_unwritten",
    }
}

/// The Redis level.
pub(crate) struct RedisLevel {
    client: redis::Client,
    connection: tokio::sync::OnceCell<ConnectionManager>,
    expiry: Duration,
    paused_until: Mutex<Instant>,
    to_write: mpsc::Sender<Put>,
    metrics: RedisMetrics,
}

/// Views and the time when the database confirmed them.
type Put = (Vec<View>, Instant);

/// The receiving end of the write queue.
pub(crate) struct ToWrite(mpsc::Receiver<Put>);

impl RedisLevel {
    /// Connects at the first use. Values expire `expiry` after their confirmation by the database,
    /// so the remaining time gives the age of an answer. [`write`](Self::write) takes the receiver.
    pub(crate) fn new(
        url: &str,
        expiry: Duration,
        registry: &mut Registry,
    ) -> Result<(Self, ToWrite), redis::RedisError> {
        let (to_write, waiting) = mpsc::channel(MAX_QUEUED_BATCHES);
        let level = Self {
            client: redis::Client::open(url)?,
            connection: tokio::sync::OnceCell::new(),
            expiry,
            paused_until: Mutex::new(Instant::now()),
            to_write,
            metrics: RedisMetrics::register(registry),
        };
        Ok((level, ToWrite(waiting)))
    }

    /// Returns the order in Redis and the time when the database confirmed it; `None` also if Redis
    /// does not answer or the value is damaged.
    pub(crate) async fn get(&self, uid: &OrderUid) -> Option<(View, Instant)> {
        let (asked_at, key) = (Instant::now(), key(uid));
        // The remaining time is read first. If a newer value is written between the two commands,
        // its age is overestimated, which is safe.
        let mut pipeline = redis::pipe();
        pipeline.cmd("PTTL").arg(&key).cmd("GET").arg(&key);
        let read = async {
            let mut connection = self.connection().await?;
            pipeline.query_async::<(i64, Option<Vec<u8>>)>(&mut connection).await
        };
        let (left, value) = self.attempt(read).await?;
        let view = decode(uid, &value?);
        if view.is_none() {
            tracing::warn!("a cached order in Redis is damaged and was ignored");
        }
        // Negative if there was no value when the time was read, or if the value has no expiry,
        // which this service never writes. The age is unknown then, and the value is not used.
        let left = Duration::from_millis(u64::try_from(left).ok()?);
        let confirmed_at = asked_at.checked_sub(self.expiry.saturating_sub(left))?;
        Some((view?, confirmed_at))
    }

    /// Queues views for writing. Never waits: if the queue is full, they are dropped.
    pub(crate) fn put(&self, views: Vec<View>, confirmed_at: Instant) {
        // A lost write is not an error: Redis then holds no version of the order, or an older one
        // until that expires, and the database has the order in any case.
        if let Err(full) = self.to_write.try_send((views, confirmed_at)) {
            self.metrics.unwritten.inc_by(full.into_inner().0.len() as u64);
        }
    }

    /// Writes the queued views until `shutdown`, each unless Redis has a higher version. It drops
    /// the rest of the queue then: Redis is only a cache.
    pub(crate) async fn write(
        self: Arc<Self>,
        ToWrite(mut waiting): ToWrite,
        shutdown: CancellationToken,
    ) {
        let writing = async {
            while let Some((views, confirmed_at)) = waiting.recv().await {
                for views in views.chunks(MAX_PIPELINE) {
                    self.write_all(views, confirmed_at).await;
                }
            }
        };
        shutdown.run_until_cancelled(writing).await;
    }

    async fn write_all(&self, views: &[View], confirmed_at: Instant) {
        // The expiry counts from the confirmation, not from the write. So the remaining time tells
        // a reader the age, and a value that waited in the queue does not look younger than it is.
        let left = self.expiry.saturating_sub(confirmed_at.elapsed()).as_millis() as u64;
        if left == 0 {
            return;
        }
        let mut pipeline = redis::pipe();
        for view in views {
            pipeline.cmd("EVAL").arg(SET_IF_NEWER).arg(1).arg(key(&view.order_uid));
            pipeline.arg(encode(view)).arg(left).ignore();
        }
        let write = async {
            let mut connection = self.connection().await?;
            pipeline.query_async::<()>(&mut connection).await
        };
        self.attempt(write).await;
    }

    async fn connection(&self) -> Result<ConnectionManager, redis::RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(RESPONSE_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        self.connection
            .get_or_try_init(|| self.client.get_connection_manager_with_config(config))
            .await
            .cloned()
    }

    async fn attempt<T>(
        &self,
        call: impl Future<Output = Result<T, redis::RedisError>>,
    ) -> Option<T> {
        if Instant::now() < *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner) {
            return None;
        }
        // Twice the time, because the first call also connects. The lock is not held meanwhile.
        let failure = match tokio::time::timeout(RESPONSE_TIMEOUT * 2, call).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it did not answer in time".to_owned(),
        };
        self.metrics.failures.inc();
        tracing::warn!("Redis failed, continuing without it: {failure}");
        *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner) =
            Instant::now() + FAILURE_PAUSE;
        None
    }
}

fn key(uid: &OrderUid) -> String {
    format!("waybill:order:{uid}")
}

fn encode(view: &View) -> Vec<u8> {
    let version = format!("{:0width$}", view.version, width = VERSION_DIGITS);
    let checksum = checksum(&view.order_uid, version.as_bytes(), &view.json);
    [version.as_bytes(), checksum.as_bytes(), &view.json].concat()
}

fn decode(uid: &OrderUid, value: &[u8]) -> Option<View> {
    let (digits, rest) = value.split_at_checked(VERSION_DIGITS)?;
    let (known, json) = rest.split_at_checked(HASH_BYTES)?;
    if checksum(uid, digits, json).as_bytes() != known {
        return None;
    }
    Some(View {
        order_uid: uid.clone(),
        version: std::str::from_utf8(digits).ok()?.parse().ok()?,
        hash: ContentHash::of(json),
        json: json.into(),
    })
}

/// Returns the checksum of a value. It covers the id and the version too: a damaged version could
/// keep newer orders out, and a value under a wrong key would be served as another order.
fn checksum(uid: &OrderUid, version: &[u8], json: &[u8]) -> ContentHash {
    ContentHash::of(&[version, uid.as_str().as_bytes(), b"\0", json].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(uid: &str) -> View {
        let json = b"{}".to_vec();
        let hash = ContentHash::of(&json);
        View { order_uid: uid.parse().unwrap(), version: 7, hash, json }
    }

    #[tokio::test]
    async fn batches_are_dropped_when_redis_is_slow() {
        let expiry = Duration::from_secs(300);
        let (redis, ToWrite(waiting)) =
            RedisLevel::new("redis://127.0.0.1:1", expiry, &mut Registry::default()).unwrap();
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        for number in 0..10 * MAX_QUEUED_BATCHES {
            redis.put(vec![view(&number.to_string())], Instant::now());
        }
        assert_eq!(
            (waiting.len(), redis.metrics.unwritten.get()),
            (MAX_QUEUED_BATCHES, 9 * MAX_QUEUED_BATCHES as u64)
        );
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), tasks);
    }

    #[test]
    fn a_damaged_value_is_not_served() {
        let view = view("a");
        let uid = view.order_uid.clone();
        let value = encode(&view);
        assert_eq!(decode(&uid, &value), Some(view));
        for index in 0..value.len() {
            let mut damaged = value.clone();
            damaged[index] ^= 1;
            assert_eq!(decode(&uid, &damaged), None, "byte {index}");
        }
        assert_eq!(decode(&uid, b""), None);
        assert_eq!(decode(&"b".parse().unwrap(), &value), None, "another order's value");
    }
}
