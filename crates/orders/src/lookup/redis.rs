//! The second level of the cache, shared by replicas: Redis, if it is configured.
//!
//! A key begins with `waybill:<KAFKA_GROUP_ID>:`, so that installations can share a Redis. A value
//! has a version, the time between question and answer of its [`Confirmation`], and a checksum. Its
//! expiry is `CACHE_MAX_AGE` after its query was sent, so the time that is left gives its age by the
//! clock of Redis alone, and the clocks of replicas are not compared.
//!
//! A value is replaced as in [`memory`](crate::lookup::memory): by a later confirmation with any
//! version, by an overlapping one with a higher version. A value that this service cannot have
//! written is deleted and not used: one with a wrong checksum, without an expiry, or with more than
//! `CACHE_MAX_AGE` left, which would stay for longer than any order may be stale.
//!
//! An `updated` event replaces a lower version by a *minimum version*, which consists of the ten
//! digits of the version alone. A read finds no order there, and a lower version replaces it only if
//! the query was sent later. So the old version does not stay or come back if the replica that
//! committed the new one ends before it has written it, or if a query from before the event is
//! answered after it. Every replica that reads the event writes the minimum, and tries again while
//! Redis fails.
//!
//! A failure of Redis is never an error to the client: after it, Redis is not used for a second, and
//! orders come from PostgreSQL. It is never the source of truth and may lose everything at any
//! moment. [`redis_connection`](super::redis_connection) connects.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chassis::process::failpoint;
use events::OrderUid;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    lookup::{
        confirmation::Confirmation,
        queries::View,
        redis_connection::{CALL_TIMEOUT, RedisConnection},
    },
    order::content_hash::ContentHash,
};

/// The limit on the batches in the write queue; further ones are dropped.
const MAX_QUEUED_BATCHES: usize = 16;
/// The limit on the minimum versions that wait to be written; further ones are dropped.
const MAX_QUEUED_MINIMUMS: usize = 20_000;
/// The limit on the orders of one pipeline.
const MAX_PIPELINE: usize = 128;
/// The interval at which minimum versions are written again while Redis fails.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Returns the time left and the value of `KEYS[1]`; only the first if there is a value that cannot
/// be trusted, which it deletes; nothing if there is no value. `ARGV[1]` is the longest expiry. A
/// key of another type is not a value either.
const GET: &str = "\
    local left, value = redis.call('PTTL', KEYS[1]), redis.pcall('GET', KEYS[1])
    if type(value) == 'string' and left >= 0 and left <= tonumber(ARGV[1]) then
      return { left, value }
    end
    if left == -2 then return false end
    redis.call('DEL', KEYS[1])
    return { left, false }";

/// Sets `KEYS[1]` to `ARGV[1]`, or deletes it if that is empty, unless the known value is the later
/// state of the order. `ARGV[2]` is the expiry, which counts from the time when the query was sent,
/// `ARGV[3]` the longest expiry, `ARGV[4]` the duration of the new confirmation, and `ARGV[5]` the
/// time that the call may take: the new value may look that much younger than it is. All times are
/// in milliseconds.
///
/// A minimum version counts as confirmed at the moment when it was written. An earlier or overlapping
/// confirmation replaces it unless its version is lower.
///
/// Redis runs a script as one step, so two replicas cannot both compare before one of them sets.
const SET_IF_LATER: &str = "\
    local value, new_left, new_took = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4])
    local left, head = redis.call('PTTL', KEYS[1]), redis.pcall('GETRANGE', KEYS[1], 0, 19)
    if type(head) == 'string' and left >= 0 and left <= tonumber(ARGV[3]) then
      local version, took = tonumber(string.sub(head, 1, 10)), tonumber(string.sub(head, 11, 20))
      local is_minimum = #head == 10
      if is_minimum then took = 0 end
      if version and took and new_left - tonumber(ARGV[5]) <= left + took then
        local new_version = tonumber(string.sub(value, 1, 10))
        if value == '' or new_version < version or (not is_minimum and (new_left + new_took < left
          or (new_version == version and new_left <= left))) then
          return
        end
      end
    end
    if value == '' then redis.call('DEL', KEYS[1])
    else redis.call('SET', KEYS[1], value, 'PX', new_left) end";

/// Sets `KEYS[1]` to the minimum version `ARGV[1]`, unless it has that version or a higher one.
/// `ARGV[2]` is the longest expiry, and that of the minimum: a lower version from before it has
/// expired then.
const SET_MINIMUM: &str = "\
    local left, head = redis.call('PTTL', KEYS[1]), redis.pcall('GETRANGE', KEYS[1], 0, 9)
    if type(head) == 'string' and left >= 0 and left <= tonumber(ARGV[2]) then
      local version = tonumber(head)
      if version and version >= tonumber(ARGV[1]) then return end
    end
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])";

/// A value begins with ten digits of version and ten digits of the milliseconds between the two
/// times of its confirmation, so that the script can compare them.
const DIGITS: usize = 10;
pub(super) const HEAD_BYTES: usize = 2 * DIGITS;

chassis::metrics! {
    struct RedisMetrics {
        /// Calls and connections to Redis that failed or timed out
        failures: Counter = "waybill_redis_failures",
        /// 1 while Redis is not used: there is no connection, or a call has just failed; else 0
        unreachable: Gauge = "waybill_redis_unreachable",
        /// Orders and announced versions not written to Redis because its queue was full
        unwritten: Counter = "waybill_redis_unwritten",
        /// Values in Redis that were deleted because this service cannot have written them
        untrusted: Counter = "waybill_redis_untrusted",
    }
}

/// The client of Redis, and what separates this installation's values from others.
pub(crate) struct RedisSettings {
    pub(crate) client: redis::Client,
    /// `KAFKA_GROUP_ID`.
    pub(crate) group: String,
    /// `REDIS_VALUE_KEY`.
    pub(crate) value_key: Option<String>,
    /// `CACHE_MAX_AGE`.
    pub(crate) max_age: Duration,
}

/// The Redis level.
pub(crate) struct RedisLevel {
    connection: RedisConnection,
    prefix: String,
    codec: Codec,
    max_age: Duration,
    to_write: mpsc::Sender<Write>,
    minimums: mpsc::Sender<Minimum>,
    metrics: RedisMetrics,
}

/// An answer of the database that is to be written.
struct Write {
    confirmation: Confirmation,
    views: Vec<View>,
    absent: Vec<OrderUid>,
}

/// An announced version that is to be written.
struct Minimum {
    uid: OrderUid,
    version: i32,
    announced: Instant,
}

/// The receiving ends of the write queues.
pub(crate) struct ToWrite {
    answers: mpsc::Receiver<Write>,
    minimums: mpsc::Receiver<Minimum>,
}

impl RedisLevel {
    /// [`run`](Self::run) takes the receiver, and connects.
    pub(crate) fn new(settings: RedisSettings, registry: &mut Registry) -> (Self, ToWrite) {
        let (to_write, answers) = mpsc::channel(MAX_QUEUED_BATCHES);
        let (minimums, waiting_minimums) = mpsc::channel(MAX_QUEUED_MINIMUMS);
        let RedisSettings { client, group, value_key, max_age } = settings;
        let prefix = format!("waybill:{group}:order:");
        let metrics = RedisMetrics::register(registry);
        // A new connection is tried with a read, as every miss makes it.
        let trial = read_command(&prefix, max_age);
        let level = Self {
            connection: RedisConnection::new(
                client,
                trial,
                metrics.failures.clone(),
                metrics.unreachable.clone(),
            ),
            prefix,
            codec: Codec::new(&group, value_key.as_deref()),
            max_age,
            to_write,
            minimums,
            metrics,
        };
        (level, ToWrite { answers, minimums: waiting_minimums })
    }

    /// Returns the order in Redis and the time when its query was sent; `None` also if Redis does
    /// not answer or the value is not trusted.
    pub(crate) async fn get(&self, uid: &OrderUid) -> Option<(View, Instant)> {
        let (asked_at, key) = (Instant::now(), self.key(uid));
        let command = read_command(&key, self.max_age);
        let read = self.connection.call(async |connection| {
            command.query_async::<Option<(u64, Option<Vec<u8>>)>>(connection).await
        });
        let (left, value) = read.await??;
        if value.as_deref().is_some_and(is_minimum) {
            return None;
        }
        let view = value.as_deref().and_then(|value| self.codec.decode(uid, value));
        if view.is_none() {
            self.metrics.untrusted.inc();
            tracing::warn!("a value in Redis cannot be trusted and was deleted");
            // Its checksum is wrong. A good value that another replica writes just before this is
            // deleted too, which only costs a query.
            if value.is_some() {
                let delete = self.connection.call(async |connection| {
                    redis::cmd("DEL").arg(&key).query_async::<()>(connection).await
                });
                delete.await;
            }
        }
        let age = self.max_age.saturating_sub(Duration::from_millis(left));
        Some((view?, asked_at.checked_sub(age)?))
    }

    /// Queues views for writing. Never waits: if the queue is full, they are dropped.
    pub(crate) fn put(&self, views: Vec<View>, confirmation: Confirmation) {
        self.queue(Write { confirmation, views, absent: Vec::new() });
    }

    /// Queues orders that the database did not find, so that an older value of them is deleted.
    pub(crate) fn put_absent(&self, absent: Vec<OrderUid>, confirmation: Confirmation) {
        self.queue(Write { confirmation, views: Vec::new(), absent });
    }

    /// Queues a version that an event announced, so that lower ones are deleted and stay out. Never
    /// waits, as [`put`](Self::put).
    pub(crate) fn put_minimum(&self, uid: &OrderUid, version: i32) {
        let minimum = Minimum { uid: uid.clone(), version, announced: Instant::now() };
        // A lost one is not an error either: an older version stays until it expires.
        if self.minimums.try_send(minimum).is_err() {
            self.metrics.unwritten.inc();
        }
    }

    fn queue(&self, write: Write) {
        if write.views.is_empty() && write.absent.is_empty() {
            return;
        }
        // A lost write is not an error: Redis then holds no version of the order, or an older one
        // until that expires, and the database has the order in any case.
        if let Err(full) = self.to_write.try_send(write) {
            let write = full.into_inner();
            self.metrics.unwritten.inc_by((write.views.len() + write.absent.len()) as u64);
        }
    }

    /// Connects and writes what is queued, until `shutdown`. It drops the rest of the queue then:
    /// Redis is only a cache. An error means that only an operator can make Redis usable.
    pub(crate) async fn run(
        self: Arc<Self>,
        to_write: ToWrite,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let running = async {
            // Before the first write, which would be lost without a connection.
            self.connection.open_first().await?;
            let ToWrite { answers, minimums } = to_write;
            tokio::join!(
                self.connection.keep_open(),
                self.write(answers),
                self.write_minimums(minimums),
            );
            Ok(())
        };
        shutdown.run_until_cancelled(running).await.unwrap_or(Ok(()))
    }

    /// Writes what is queued, unless Redis has the later state of an order.
    async fn write(&self, mut waiting: mpsc::Receiver<Write>) {
        while let Some(Write { confirmation, views, absent }) = waiting.recv().await {
            for views in views.chunks(MAX_PIPELINE) {
                let values = views
                    .iter()
                    .map(|view| (&view.order_uid, self.codec.encode(view, took(confirmation))));
                self.write_all(values, confirmation).await;
            }
            for absent in absent.chunks(MAX_PIPELINE) {
                let values = absent.iter().map(|uid| (uid, Vec::new()));
                self.write_all(values, confirmation).await;
            }
        }
    }

    async fn write_all(
        &self,
        values: impl Iterator<Item = (&OrderUid, Vec<u8>)>,
        confirmation: Confirmation,
    ) {
        // The expiry counts from the query, not from the write. So the remaining time tells a reader
        // the age, and a value that waited in the queue does not look younger than it is.
        let left = milliseconds(self.max_age.saturating_sub(confirmation.sent.elapsed()));
        if left == 0 {
            return;
        }
        let mut pipeline = redis::pipe();
        for (uid, value) in values {
            pipeline.cmd("EVAL").arg(SET_IF_LATER).arg(1).arg(self.key(uid)).arg(value);
            pipeline.arg(left).arg(milliseconds(self.max_age)).arg(took(confirmation));
            pipeline.arg(milliseconds(CALL_TIMEOUT)).ignore();
        }
        if failpoint::try_async_point("redis-write").await.is_err() {
            return;
        }
        self.send(&pipeline).await;
    }

    /// Writes the announced versions. Their sequence and that of the answers do not matter, because
    /// the scripts compare.
    async fn write_minimums(&self, mut waiting: mpsc::Receiver<Minimum>) {
        let mut minimums = Vec::with_capacity(MAX_PIPELINE);
        while waiting.recv_many(&mut minimums, MAX_PIPELINE).await > 0 {
            while !minimums.is_empty() && !self.try_write_minimums(&minimums).await {
                tokio::time::sleep(RETRY_INTERVAL).await;
                // Lower versions from before these events have expired.
                minimums.retain(|minimum| minimum.announced.elapsed() < self.max_age);
            }
            minimums.clear();
        }
    }

    /// Returns false if Redis has failed.
    async fn try_write_minimums(&self, minimums: &[Minimum]) -> bool {
        let mut pipeline = redis::pipe();
        for Minimum { uid, version, .. } in minimums {
            pipeline.cmd("EVAL").arg(SET_MINIMUM).arg(1).arg(self.key(uid));
            pipeline.arg(format!("{version:0DIGITS$}")).arg(milliseconds(self.max_age)).ignore();
        }
        self.send(&pipeline).await
    }

    /// Returns false if Redis has failed.
    async fn send(&self, pipeline: &redis::Pipeline) -> bool {
        let sent =
            self.connection.call(async |connection| pipeline.query_async::<()>(connection).await);
        sent.await.is_some()
    }

    fn key(&self, uid: &OrderUid) -> String {
        format!("{}{uid}", self.prefix)
    }
}

fn read_command(key: &str, max_age: Duration) -> redis::Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(GET).arg(1).arg(key).arg(milliseconds(max_age));
    command
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn is_minimum(value: &[u8]) -> bool {
    value.len() == DIGITS && value.iter().all(u8::is_ascii_digit)
}

/// Returns the milliseconds between the two times of a confirmation, rounded up.
fn took(Confirmation { sent, answered }: Confirmation) -> u64 {
    milliseconds(answered.saturating_duration_since(sent)) + 1
}

/// Encodes and decodes values. The checksum is keyed, so a program that can write to Redis but does
/// not know the key cannot make this service serve an order that it invented.
pub(super) struct Codec {
    key: [u8; blake3::KEY_LEN],
}

impl Codec {
    /// The group is always a part of the key, so that a value of another installation is never
    /// trusted, even if both have the same secret or none.
    pub(super) fn new(group: &str, secret: Option<&str>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("waybill orders: values in Redis");
        hasher.update(&(group.len() as u64).to_le_bytes());
        hasher.update(group.as_bytes());
        hasher.update(secret.unwrap_or_default().as_bytes());
        Self { key: hasher.finalize().into() }
    }

    pub(super) fn encode(&self, view: &View, took: u64) -> Vec<u8> {
        let took = took.min(9_999_999_999);
        let head = format!("{:0DIGITS$}{took:0DIGITS$}", view.version);
        let checksum = self.checksum(&view.order_uid, head.as_bytes(), &view.json);
        [head.as_bytes(), checksum.as_bytes(), &view.json].concat()
    }

    pub(super) fn decode(&self, uid: &OrderUid, value: &[u8]) -> Option<View> {
        let (head, rest) = value.split_at_checked(HEAD_BYTES)?;
        let (known, json) = rest.split_at_checked(blake3::OUT_LEN)?;
        // Compared by `Hash`, which takes the same time for every wrong checksum.
        if self.checksum(uid, head, json) != blake3::Hash::from_slice(known).ok()? {
            return None;
        }
        Some(View {
            order_uid: uid.clone(),
            version: std::str::from_utf8(&head[..DIGITS]).ok()?.parse().ok()?,
            hash: ContentHash::of(json),
            json: json.into(),
        })
    }

    /// Returns the checksum of a value. It covers the id and the head too: a damaged version could
    /// keep newer orders out, and a value under a wrong key would be served as another order.
    pub(super) fn checksum(&self, uid: &OrderUid, head: &[u8], json: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(head).update(uid.as_str().as_bytes()).update(b"\0").update(json);
        hasher.finalize()
    }
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
    async fn writes_are_dropped_when_redis_is_slow() {
        let settings = RedisSettings {
            client: redis::Client::open("redis://127.0.0.1:1").unwrap(),
            group: "waybill".to_owned(),
            value_key: None,
            max_age: Duration::from_secs(300),
        };
        let (redis, waiting) = RedisLevel::new(settings, &mut Registry::default());
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        for number in 0..10 * MAX_QUEUED_BATCHES {
            let confirmation = Confirmation::sent_at(Instant::now());
            redis.put(vec![view(&number.to_string())], confirmation);
        }
        assert_eq!(
            (waiting.answers.len(), redis.metrics.unwritten.get()),
            (MAX_QUEUED_BATCHES, 9 * MAX_QUEUED_BATCHES as u64)
        );
        for version in 2..=MAX_QUEUED_MINIMUMS as i32 + 2 {
            redis.put_minimum(&"a".parse().unwrap(), version);
        }
        assert_eq!(
            (waiting.minimums.len(), redis.metrics.unwritten.get()),
            (MAX_QUEUED_MINIMUMS, 9 * MAX_QUEUED_BATCHES as u64 + 1)
        );
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), tasks);
    }

    #[test]
    fn a_damaged_value_is_not_served() {
        let codec = Codec::new("waybill", None);
        let view = view("a");
        let uid = view.order_uid.clone();
        let value = codec.encode(&view, 12);
        assert!(value.starts_with(b"00000000070000000012"));
        assert_eq!(codec.decode(&uid, &value), Some(view));
        for index in 0..value.len() {
            let mut damaged = value.clone();
            damaged[index] ^= 1;
            assert_eq!(codec.decode(&uid, &damaged), None, "byte {index}");
            assert_eq!(codec.decode(&uid, &value[..index]), None, "the first {index} bytes");
        }
        assert_eq!(codec.decode(&"b".parse().unwrap(), &value), None, "another order's value");
    }

    #[test]
    fn a_value_is_trusted_only_with_the_same_group_and_secret() {
        let view = view("a");
        let codecs = [("a", None), ("b", None), ("a", Some("one")), ("a", Some("two"))];
        let codecs = codecs.map(|(group, secret)| Codec::new(group, secret));
        for (writer, one) in codecs.iter().enumerate() {
            let value = one.encode(&view, 1);
            for (reader, other) in codecs.iter().enumerate() {
                let trusted = other.decode(&view.order_uid, &value).is_some();
                assert_eq!(trusted, reader == writer, "{writer} to {reader}");
            }
        }
    }
}
