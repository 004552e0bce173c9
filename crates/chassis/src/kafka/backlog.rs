//! The backlog of a consumer group: the records of a topic that the group has not committed. It
//! belongs to the whole group, so every replica sees the same backlog, whichever partitions it has.
//!
//! A caller reads the ends of the topic, and later asks which of them the group has not reached. So
//! the wait ends, even if new records arrive all the time. Nothing is requested in between.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, ensure};

use crate::kafka::{
    config::KafkaConfig,
    topic_scan::{Ends, Scanner},
};

/// The longest wait for each answer. A request blocks a thread for this time, and the end of the
/// process waits for the thread.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// A client that compares the committed offsets of a group with the ends of a topic. Clones share
/// it.
#[derive(Clone)]
pub struct Backlog {
    scanner: Arc<Scanner>,
    topic: Arc<str>,
}

impl Backlog {
    /// Creates a client, which connects with its first request.
    pub fn new(kafka: &KafkaConfig, group: &str, topic: &str) -> anyhow::Result<Self> {
        let scanner = Scanner::new(kafka, group)?.with_answer_timeout(ANSWER_TIMEOUT);
        Ok(Self { scanner: Arc::new(scanner), topic: topic.into() })
    }

    /// Returns the end of each partition that has records.
    pub async fn ends(&self) -> anyhow::Result<Ends> {
        self.request(|scanner, topic| {
            let bounds = scanner.bounds(topic)?;
            // Kafka answers a request for a topic that it does not know with no partitions.
            ensure!(!bounds.is_empty(), "Kafka knows no partition of {topic}");
            let with_records = bounds.into_iter().filter(|(_, (first, end))| first < end);
            Ok(with_records.map(|(partition, (_, end))| (partition, end)).collect())
        })
        .await
    }

    /// Returns the partitions whose end in `ends` the group has not reached.
    pub async fn unread(&self, ends: &Ends) -> anyhow::Result<Ends> {
        let ends = ends.clone();
        self.request(move |scanner, topic| Ok(unread(&ends, &scanner.committed(topic)?))).await
    }

    /// Runs a request on a thread that may block.
    async fn request(
        &self,
        request: impl FnOnce(&Scanner, &str) -> anyhow::Result<Ends> + Send + 'static,
    ) -> anyhow::Result<Ends> {
        let Self { scanner, topic } = self.clone();
        let answer = tokio::task::spawn_blocking(move || request(&scanner, &topic));
        answer.await.context("the thread that requests offsets from Kafka ended")?
    }
}

/// A partition without a committed offset is not reached: the group begins it at its first record.
fn unread(ends: &Ends, committed: &Ends) -> Ends {
    let is_reached = |partition, end| committed.get(partition).is_some_and(|next| next >= end);
    let unread = ends.iter().filter(|(partition, end)| !is_reached(*partition, *end));
    unread.map(|(partition, end)| (*partition, *end)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_reached_by_a_committed_offset_at_it_or_after_it() {
        let ends = Ends::from([(0, 5), (1, 5), (2, 5), (3, 5)]);
        let committed = Ends::from([(0, 4), (1, 5), (2, 9), (7, 0)]);

        assert_eq!(unread(&ends, &committed), Ends::from([(0, 5), (3, 5)]));
        assert_eq!(unread(&Ends::new(), &committed), Ends::new());
    }
}
