//! The metrics of a consumer: counters, and the lag of its records. The lag covers only records
//! that were consumed; Kafka knows how many records of the group are still waiting.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        counter::Counter,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

crate::metrics! {
    pub struct ConsumerMetrics {
        /// Records consumed from Kafka
        pub(super) records: Counter = "messaging_client_consumed_messages",
        /// Bytes of the values of consumed records
        pub(super) bytes: Counter = "messaging_client_consumed_bytes",
        /// Records in a batch
        pub(super) batch_records: Histogram = "waybill_batch_records"
            from Histogram::new(exponential_buckets(1.0, 2.0, 14)),
        /// Seconds from the start of a batch's commit until its offsets are stored
        pub(super) write_seconds: Histogram = "messaging_process_duration_seconds"
            from Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
        /// Errors of Kafka after which the consumer reads the same records again
        pub(super) errors: Counter = "waybill_consumer_errors",
        /// Partitions assigned to this replica
        pub(super) partitions: Gauge = "waybill_consumer_partitions",
        /// Partitions of this replica that were assigned or revoked
        pub(super) rebalances: Counter = "waybill_consumer_rebalances",
        /// 1 while the consumer has no connection to Kafka, as before its first one; else 0
        pub(super) unreachable: Gauge = "waybill_kafka_unreachable" from unreachable(),
        /// Records in the partitions of this replica whose offsets are not committed
        pub(super) lag_records: Gauge = "waybill_consumer_lag_records",
        pub(super) lag: Lag => Lag::register,
    }
}

fn unreachable() -> Gauge {
    let gauge = Gauge::default();
    gauge.set(1);
    gauge
}

impl ConsumerMetrics {
    /// Returns the number of records consumed since the start.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records.get()
    }

    /// Returns the age in seconds of the oldest record that is consumed and not settled; 0 if there
    /// is none.
    #[must_use]
    pub fn lag_seconds(&self) -> f64 {
        self.lag.seconds()
    }
}

/// The timestamp of the oldest record that each lane has taken and not settled. The age is computed
/// when the metrics are read, so it grows while nothing is settled.
#[derive(Debug, Clone, Default)]
pub(super) struct Lag(Arc<Mutex<BTreeMap<usize, i64>>>);

impl Lag {
    fn register(registry: &mut Registry) -> Self {
        let lag = Self::default();
        registry.register_collector(Box::new(lag.clone()));
        lag
    }

    /// Sets the oldest timestamp of a lane; `None` if all records that it has taken are settled.
    pub(super) fn set(&self, lane: usize, oldest_ms: Option<i64>) {
        // A panic of another holder leaves the map intact: each holder makes only one call on it.
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match oldest_ms {
            Some(oldest_ms) => lanes.insert(lane, oldest_ms),
            None => lanes.remove(&lane),
        };
    }

    fn seconds(&self) -> f64 {
        let lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(oldest_ms) = lanes.values().min() else { return 0.0 };
        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        now_ms.saturating_sub(*oldest_ms).max(0) as f64 / 1_000.0
    }
}

impl Collector for Lag {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let gauge = ConstGauge::new(self.seconds());
        gauge.encode(encoder.encode_descriptor(
            "waybill_consumer_lag_seconds",
            "Age in seconds of the oldest record that is consumed and not settled; 0 if there is none",
            None,
            gauge.metric_type(),
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_unsettled_record_of_all_lanes_counts() {
        let lag = Lag::default();
        assert_eq!(lag.seconds(), 0.0);
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        lag.set(0, Some(now_ms - 5_000));
        lag.set(1, Some(now_ms - 60_000));
        assert!((60.0..90.0).contains(&lag.seconds()));
        lag.set(1, None);
        assert!((5.0..35.0).contains(&lag.seconds()));
        lag.set(0, None);
        assert_eq!(lag.seconds(), 0.0);
    }
}
