//! Faults of Redis, and false values in it.

use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::system::{Redis, System};

/// Keys that are overwritten at a time.
const POISONED_KEYS: usize = 500;

/// The time after which a false value expires by itself: longer than any run.
const EXPIRY_MS: &[u8] = b"100000";

pub(super) async fn kill(system: &System, hold: Duration) -> Result<String> {
    let mut redis = system.redis.lock().await;
    redis.kill().await?;
    sleep(hold).await;
    redis.restart().await?;
    Ok(String::new())
}

pub(super) async fn freeze(system: &System, hold: Duration) -> Result<String> {
    let redis = system.redis.lock().await;
    redis.signal(Signal::STOP);
    sleep(hold).await;
    redis.signal(Signal::CONT);
    Ok(String::new())
}

/// Replaces values by bytes of no form.
pub(super) async fn junk(system: &System) -> Result<String> {
    let redis = system.redis.lock().await;
    let keys = redis.keys(POISONED_KEYS).await?;
    for (number, key) in keys.iter().enumerate() {
        let value = b"\xff\x00junk {\"order_uid\":".repeat(number % 40 + 1);
        set(&redis, key, &value).await?;
    }
    Ok(format!("{} values", keys.len()))
}

/// Exchanges values of the services among the orders: each is well-formed, and false where it is.
pub(super) async fn false_values(system: &System) -> Result<String> {
    let redis = system.redis.lock().await;
    let keys = redis.keys(POISONED_KEYS).await?;
    let mut exchanged = 0;
    for pair in keys.chunks_exact(2) {
        let reply = redis.run(&[b"GET", &pair[0]]).await?;
        // A text is its length, a line break, its bytes and a line break.
        let Some(start) = reply.iter().position(|byte| *byte == b'\n') else { continue };
        let value = reply.get(start + 1..reply.len().saturating_sub(2)).unwrap_or_default();
        if !value.is_empty() {
            set(&redis, &pair[1], value).await?;
            exchanged += 1;
        }
    }
    Ok(format!("{exchanged} values"))
}

async fn set(redis: &Redis, key: &[u8], value: &[u8]) -> Result<()> {
    redis.run(&[b"SET", key, value, b"PX", EXPIRY_MS]).await?;
    Ok(())
}
