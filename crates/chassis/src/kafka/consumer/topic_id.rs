//! Detects that a topic was deleted and created again.
//!
//! Kafka gives each topic an id when it is created. A re-created topic has the same name but
//! different records, so an offset of the old topic is not valid for the new one: continuing from
//! it would skip records. The id is stored with each committed offset, as its metadata. The client
//! gives the id of the current topic only in its log. It writes that line before it requests the
//! first record of the topic, because it fetches records by id.
//!
//! This module only collects ids; [`group`](super::group) ends the consumer when two ids differ.

use std::sync::OnceLock;

/// The prefix of an offset's metadata; the topic's id follows.
const METADATA_PREFIX: &str = "topic-id=";

/// The ids of the topic, as found in the client's log and in committed offsets.
#[derive(Default)]
pub(super) struct TopicIds {
    first: OnceLock<String>,
    /// An id that differs from the first one.
    other: OnceLock<String>,
}

impl TopicIds {
    /// Reads the id in the metadata of a committed offset.
    pub(super) fn see_metadata(&self, metadata: &str) {
        if let Some(id) = metadata.strip_prefix(METADATA_PREFIX) {
            self.see(id);
        }
    }

    /// Reads the id in a line of the client's log, if it is about `topic`.
    pub(super) fn see_log_line(&self, line: &str, topic: &str) {
        if let Some(id) = new_id(line, topic) {
            self.see(id);
        }
    }

    fn see(&self, id: &str) {
        // No lock: each cell is set once and never changes, so a lane that reads them while the
        // poll thread sets them finds either none or the final value.
        if self.first.get_or_init(|| id.to_owned()) != id {
            let _ = self.other.set(id.to_owned());
        }
    }

    /// Returns the metadata to commit with an offset, if exactly one id was found.
    pub(super) fn metadata(&self) -> Option<String> {
        // With two ids it is unknown to which topic the offset belongs.
        if self.other.get().is_some() {
            return None;
        }
        self.first.get().map(|id| format!("{METADATA_PREFIX}{id}"))
    }

    /// Returns two different ids, if two were found.
    pub(super) fn two(&self) -> Option<(&str, &str)> {
        let other = self.other.get()?;
        self.first.get().map(|first| (first.as_str(), other.as_str()))
    }
}

/// Returns the id of `topic` from a line of the client's log, such as
/// `… Topic orders changed id from AAAAAAAAAAAAAAAAAAAAAA to 3kSkm0cQTXKzIC4SGU4x3A`.
fn new_id<'a>(line: &'a str, topic: &str) -> Option<&'a str> {
    let (before, id) = line.rsplit_once(" to ")?;
    let (before, _) = before.split_once(" changed id from ")?;
    let (_, name) = before.rsplit_once("Topic ")?;
    (name == topic).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_gives_the_id_of_this_topic_only() {
        let line = "[thrd:main]: Topic orders changed id from AAAAAAAAAAAAAAAAAAAAAA to \
                    3kSkm0cQTXKzIC4SGU4x3A";
        assert_eq!(new_id(line, "orders"), Some("3kSkm0cQTXKzIC4SGU4x3A"));
        assert_eq!(new_id(line, "orders.dlq"), None);
        assert_eq!(new_id("[thrd:main]: Topic orders [0] Leader 1 Epoch 0", "orders"), None);
    }

    #[test]
    fn one_id_is_the_same_topic_and_two_are_not() {
        let ids = TopicIds::default();
        assert_eq!((ids.metadata(), ids.two()), (None, None));
        ids.see("a");
        ids.see_metadata("topic-id=a");
        assert_eq!((ids.metadata().as_deref(), ids.two()), (Some("topic-id=a"), None));
        ids.see("b");
        assert_eq!((ids.metadata(), ids.two()), (None, Some(("a", "b"))));
    }
}
