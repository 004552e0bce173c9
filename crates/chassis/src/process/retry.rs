//! Pauses between attempts: exponential, jittered, bounded. The callers decide what is retried and
//! for how long.

use std::time::Duration;

/// Pauses that grow from 50 ms to 2 s. Each is random, between half of its step and all of it, so
/// that replicas that failed together do not retry together.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    pub fn next_pause(&mut self) -> Duration {
        let step = Duration::from_millis(50 << self.attempts.min(6)).min(Duration::from_secs(2));
        self.attempts += 1;
        step.mul_f64(rand::random_range(0.5..=1.0))
    }

    pub async fn pause(&mut self) {
        tokio::time::sleep(self.next_pause()).await;
    }

    /// Returns true before the first pause: a caller then reports the failure once, and not again
    /// for each retry.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.attempts == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let mut backoff = Backoff::default();
        assert!(backoff.is_first());
        let first = backoff.next_pause();
        assert!(first >= Duration::from_millis(25) && first <= Duration::from_millis(50));
        for _ in 0..100 {
            assert!(backoff.next_pause() <= Duration::from_secs(2));
        }
        assert!(backoff.next_pause() >= Duration::from_secs(1));
    }
}
