//! The pace of a run: when the next record is due.
//!
//! Pure: the caller passes the time. Records are due at equal intervals after an anchor: at 5 a second
//! one every 200 ms, at 50,000 a second several dozen at each wake-up. Because the anchor is fixed, the
//! delays of late wake-ups do not add up.

use std::time::Duration;

use tokio::time::Instant;

/// Bounds the delay that is caught up. After a longer delay (Kafka was unreachable) the anchor moves to
/// the present, so that the missed records are not sent in one burst.
const MAX_DELAY: Duration = Duration::from_secs(1);

pub(super) struct Pace {
    /// Records a second; 0 means always due.
    rate: u32,
    anchor: Instant,
    since_anchor: u64,
}

impl Pace {
    pub(super) fn new(rate: u32, now: Instant) -> Self {
        Self { rate, anchor: now, since_anchor: 0 }
    }

    /// Returns the time when the next record is due.
    pub(super) fn due(&self) -> Instant {
        if self.rate == 0 {
            return self.anchor;
        }
        let rate = u64::from(self.rate);
        let part = self.since_anchor % rate * 1_000_000_000 / rate;
        self.anchor + Duration::from_secs(self.since_anchor / rate) + Duration::from_nanos(part)
    }

    /// Counts one sent record.
    pub(super) fn sent(&mut self, now: Instant) {
        if now.saturating_duration_since(self.due()) > MAX_DELAY {
            self.anchor = now;
            self.since_anchor = 0;
        }
        self.since_anchor += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends what is due at each of `wakes`, in milliseconds after the start.
    fn sent_at(rate: u32, wakes: impl Iterator<Item = u64>) -> Vec<u64> {
        let start = Instant::now();
        let mut pace = Pace::new(rate, start);
        let mut sent = Vec::new();
        for wake in wakes {
            let now = start + Duration::from_millis(wake);
            while pace.due() <= now {
                pace.sent(now);
                sent.push(wake);
            }
        }
        sent
    }

    #[test]
    fn slow_pace_is_even() {
        assert_eq!(sent_at(5, 0..1_000), [0, 200, 400, 600, 800]);
    }

    #[test]
    fn fast_pace_is_even_within_a_millisecond_and_loses_nothing() {
        let sent = sent_at(50_000, 0..1_000);
        assert_eq!(sent.len(), 999 * 50 + 1);
        for wake in 1..1_000 {
            assert_eq!(sent.iter().filter(|&&at| at == wake).count(), 50);
        }
    }

    #[test]
    fn late_wake_ups_are_caught_up_but_a_long_delay_is_not() {
        assert_eq!(sent_at(10, [0, 550].into_iter()).len(), 6);
        // Due at 100 ms, woken at 9 s: one record, and the pace starts again.
        let after_long_delay = sent_at(10, [0, 9_000, 9_050, 9_100].into_iter());
        assert_eq!(after_long_delay, [0, 9_000, 9_100]);
    }
}
