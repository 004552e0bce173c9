//! The reasons why parts of a service make no progress: shown by `/readyz` and counted by a metric.
//!
//! A blocked part waits and retries; nothing is skipped. It reports its reason when it begins to
//! wait, and drops the report when it continues. The reason is logged at once, and then once a
//! minute while the part retries.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

/// The time between two log lines about the same reason.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The current reasons. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Blocked {
    reasons: Arc<Mutex<Reasons>>,
    parts: Gauge,
}

#[derive(Debug, Default)]
struct Reasons {
    next_id: u64,
    by_id: BTreeMap<u64, String>,
}

/// A reported reason. Dropping it removes the reason.
#[derive(Debug)]
pub struct Report {
    blocked: Blocked,
    id: u64,
    reason: String,
    logged_at: Instant,
}

impl Blocked {
    /// Adds the gauge to `registry`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let blocked = Self::default();
        let help =
            "Parts of the service that make no progress; /readyz and the log give the reasons";
        registry.register("waybill_blocked_parts", help, blocked.parts.clone());
        blocked
    }

    /// Reports a reason, and logs it.
    #[must_use]
    pub fn report(&self, reason: String) -> Report {
        tracing::warn!("blocked: {reason}");
        let mut reasons = self.lock();
        let id = reasons.next_id;
        reasons.next_id += 1;
        reasons.by_id.insert(id, reason.clone());
        drop(reasons);
        self.parts.inc();
        Report { blocked: self.clone(), id, reason, logged_at: Instant::now() }
    }

    /// Returns the current reasons, sorted, without duplicates.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons: Vec<String> = self.lock().by_id.values().cloned().collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons
    }

    fn lock(&self) -> MutexGuard<'_, Reasons> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report {
    /// Stores a report of `reason` in `slot`, which is empty while the part is not blocked. If the
    /// slot already has this reason, it is only logged again, at most once a minute.
    pub fn set(slot: &mut Option<Self>, blocked: &Blocked, reason: String) {
        match slot {
            Some(report) if report.reason == reason => {
                if report.logged_at.elapsed() >= LOG_INTERVAL {
                    tracing::warn!("still blocked: {reason}");
                    report.logged_at = Instant::now();
                }
            }
            _ => *slot = Some(blocked.report(reason)),
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.blocked.lock().by_id.remove(&self.id);
        self.blocked.parts.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_holds_until_its_report_is_dropped() {
        let blocked = Blocked::default();
        let (one, other) = (blocked.report("b".to_owned()), blocked.report("a".to_owned()));
        let again = blocked.report("a".to_owned());
        assert_eq!(blocked.reasons(), ["a", "b"]);
        drop(other);
        assert_eq!(blocked.reasons(), ["a", "b"]);
        drop((again, one));
        assert!(blocked.reasons().is_empty());
    }

    #[test]
    fn a_slot_holds_the_last_reason() {
        let (blocked, mut slot) = (Blocked::default(), None);
        Report::set(&mut slot, &blocked, "first".to_owned());
        Report::set(&mut slot, &blocked, "second".to_owned());
        assert_eq!(blocked.reasons(), ["second"]);
        drop(slot);
        assert!(blocked.reasons().is_empty());
    }
}
