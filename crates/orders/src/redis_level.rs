//! The second level of the cache, shared by replicas: Redis, if there is one. Versioned,
//! checksummed, set if newer, with expiry. Its failure is not a miss and never an error to the
//! client: for a second nobody asks it again.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use events::OrderUid;
use redis::{Script, aio::ConnectionManager, aio::ConnectionManagerConfig};

use crate::{record::ContentHash, views::View};

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_millis(100);
/// After a failure Redis is left alone for so long.
const REST: Duration = Duration::from_secs(1);

/// Ten digits of version come first in a value, so that the script can compare them.
const VERSION_DIGITS: usize = 10;
const HASH_BYTES: usize = 16;

/// The Redis level.
pub(crate) struct RedisLevel {
    client: redis::Client,
    connection: tokio::sync::OnceCell<ConnectionManager>,
    set_if_newer: Script,
    expiry: Duration,
    resting_until: Mutex<Instant>,
}

impl RedisLevel {
    /// Connects when first asked. Entries live for `expiry`: that bounds how old an answer of Redis
    /// may be.
    pub(crate) fn new(url: &str, expiry: Duration) -> Result<Self, redis::RedisError> {
        Ok(Self {
            client: redis::Client::open(url)?,
            connection: tokio::sync::OnceCell::new(),
            set_if_newer: Script::new(
                "local known = redis.call('GETRANGE', KEYS[1], 0, 9)\n\
                 if known == '' or tonumber(known) == nil or tonumber(known) <= tonumber(string.sub(ARGV[1], 1, 10)) then\n\
                   redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])\n\
                 end",
            ),
            expiry,
            resting_until: Mutex::new(Instant::now()),
        })
    }

    /// The order as Redis has it; `None` also when Redis is silent, or holds what it should not.
    pub(crate) async fn get(&self, uid: &OrderUid) -> Option<View> {
        let read = async {
            let mut connection = self.connection().await?;
            redis::cmd("GET").arg(key(uid)).query_async::<Option<Vec<u8>>>(&mut connection).await
        };
        let value = self.guarded(read).await??;
        let view = decode(uid, &value);
        if view.is_none() {
            tracing::warn!("a cached order in Redis is damaged and was left alone");
        }
        view
    }

    /// Writes a view unless Redis has a newer one.
    pub(crate) async fn put(&self, view: &View) {
        let write = async {
            let mut connection = self.connection().await?;
            self.set_if_newer
                .key(key(&view.order_uid))
                .arg(encode(view))
                .arg(self.expiry.as_millis() as u64)
                .invoke_async::<()>(&mut connection)
                .await
        };
        self.guarded(write).await;
    }

    async fn connection(&self) -> Result<ConnectionManager, redis::RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        self.connection
            .get_or_try_init(|| self.client.get_connection_manager_with_config(config))
            .await
            .cloned()
    }

    async fn guarded<T>(
        &self,
        call: impl Future<Output = Result<T, redis::RedisError>>,
    ) -> Option<T> {
        if Instant::now() < *self.resting_until.lock().unwrap_or_else(PoisonError::into_inner) {
            return None;
        }
        let failure = match tokio::time::timeout(PATIENCE * 2, call).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        tracing::warn!("Redis: {failure}; going on without it");
        *self.resting_until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + REST;
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
        json: bytes::Bytes::copy_from_slice(json),
    })
}

/// Of all that a value tells: a version that was damaged would do as much harm as a damaged order.
fn checksum(uid: &OrderUid, version: &[u8], json: &[u8]) -> ContentHash {
    ContentHash::of(&[version, uid.as_str().as_bytes(), b"\0", json].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_not_served() {
        let json = b"{}".to_vec();
        let uid: OrderUid = "a".parse().unwrap();
        let view = View {
            order_uid: uid.clone(),
            version: 7,
            hash: ContentHash::of(&json),
            json: json.into(),
        };
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
