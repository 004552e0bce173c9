//! The statistics that the client of a consumer reports every second, as JSON: only the state of its
//! connections and the lag of its partitions are read.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The state of a connection that can be used.
const CONNECTED: &str = "UP";

#[derive(Debug, Deserialize)]
pub(super) struct Statistics {
    #[serde(default)]
    brokers: BTreeMap<String, Broker>,
    #[serde(default)]
    topics: BTreeMap<String, Topic>,
}

#[derive(Debug, Deserialize)]
struct Broker {
    state: String,
}

#[derive(Debug, Deserialize)]
struct Topic {
    #[serde(default)]
    partitions: BTreeMap<String, Partition>,
}

#[derive(Debug, Deserialize)]
struct Partition {
    /// The number of records after the committed offset; -1 if it is not known.
    #[serde(default)]
    consumer_lag: i64,
}

impl Statistics {
    pub(super) fn read(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.brokers.values().any(|broker| broker.state == CONNECTED)
    }

    /// Returns the number of records of a topic that are not committed. The client knows it only
    /// for its own partitions.
    pub(super) fn lag(&self, topic: &str) -> i64 {
        let partitions = self.topics.get(topic).map(|topic| topic.partitions.values());
        partitions.into_iter().flatten().map(|partition| partition.consumer_lag.max(0)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_the_sum_of_the_known_partitions() {
        let json = r#"{
            "name": "rdkafka#consumer-1", "ts": 1,
            "brokers": {
                "127.0.0.1:1/bootstrap": { "name": "a", "state": "DOWN", "rtt": { "avg": 1 } },
                "127.0.0.1:1/1": { "state": "UP" }
            },
            "topics": {
                "orders": { "topic": "orders", "partitions": {
                    "0": { "consumer_lag": 4 }, "1": { "consumer_lag": 38 },
                    "2": { "consumer_lag": -1 }, "-1": { "partition": -1 }
                } },
                "other": { "partitions": { "0": { "consumer_lag": 7 } } }
            }
        }"#;
        let statistics = Statistics::read(json.as_bytes()).unwrap();
        assert_eq!(statistics.lag("orders"), 42);
        assert_eq!(statistics.lag("unknown"), 0);
        assert!(statistics.is_connected());
    }

    #[test]
    fn a_client_without_an_open_connection_is_not_connected() {
        for brokers in ["", r#""a": { "state": "INIT" }, "b": { "state": "TRY_CONNECT" }"#] {
            let json = format!(r#"{{ "brokers": {{ {brokers} }} }}"#);
            assert!(!Statistics::read(json.as_bytes()).unwrap().is_connected());
        }
        assert!(Statistics::read(b"{").is_err());
    }
}
