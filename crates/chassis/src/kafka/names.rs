//! The form of the names in the configuration: topics, the prefix of the consumer groups, and the
//! addresses of brokers. Kafka would refuse a wrong name only after the start, and some never.

use anyhow::ensure;

/// The maximum length of a topic's name in Kafka, without the suffix of its dead-letter topic.
const MAX_TOPIC_BYTES: usize = 249 - ".dlq".len();
/// The maximum length of the prefix of the consumer groups.
const MAX_GROUP_PREFIX_BYTES: usize = 200;
/// The maximum length of an instance id.
const MAX_INSTANCE_BYTES: usize = 200;

/// Parses the name of a topic.
pub fn topic(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !(1..=MAX_TOPIC_BYTES).contains(&text.len())
        || !text.bytes().all(is_allowed)
        || [".", ".."].contains(&text)
    {
        return Err(format!(
            "the name of a topic has 1 to {MAX_TOPIC_BYTES} of the characters a-z, A-Z, 0-9, \
             `.`, `_` and `-`, and is not `.` or `..`"
        ));
    }
    Ok(text.to_owned())
}

/// Returns an error if Kafka cannot have all of these topics, or if one of them is the dead-letter
/// topic of another. Each topic comes after the variable that names it.
pub fn check_topics_differ(
    topics: &[(&str, &str)],
    dead_letters: fn(&str) -> String,
) -> anyhow::Result<()> {
    for (number, &(variable, one)) in topics.iter().enumerate() {
        for &(other_variable, other) in &topics[number + 1..] {
            ensure!(
                one != other,
                "{variable} and {other_variable} are both {one}: they must differ"
            );
            let given = format!("{variable} is {one} and {other_variable} is {other}");
            ensure!(
                !are_same_topic(one, other),
                "{given}: they must differ in more than `.` and `_`, which Kafka treats as the same \
                 character"
            );
            for (one, other) in [(one, other), (other, one)] {
                ensure!(
                    !are_same_topic(one, &dead_letters(other)),
                    "{given}, but {one} is the dead-letter topic of {other}: they must differ"
                );
            }
        }
    }
    Ok(())
}

/// Returns true if Kafka cannot have topics with both names: it treats `.` and `_` as the same
/// character, because the names of its metrics do.
fn are_same_topic(one: &str, other: &str) -> bool {
    one.replace('.', "_") == other.replace('.', "_")
}

/// Parses the prefix of the consumer groups.
pub(crate) fn group_prefix(text: &str) -> Result<String, String> {
    if !(1..=MAX_GROUP_PREFIX_BYTES).contains(&text.len()) || text.chars().any(char::is_control) {
        return Err(format!(
            "the prefix has 1 to {MAX_GROUP_PREFIX_BYTES} bytes and no control characters"
        ));
    }
    Ok(text.to_owned())
}

/// Parses the instance id of a replica.
pub(crate) fn instance_id(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !(1..=MAX_INSTANCE_BYTES).contains(&text.len()) || !text.bytes().all(is_allowed) {
        return Err(format!(
            "an instance id has 1 to {MAX_INSTANCE_BYTES} of the characters a-z, A-Z, 0-9, `.`, `_` \
             and `-`"
        ));
    }
    Ok(text.to_owned())
}

/// Parses a list of brokers: host or host:port, separated by commas.
pub(crate) fn brokers(text: &str) -> Result<String, String> {
    if text.split(',').all(|broker| is_broker(broker.trim())) {
        Ok(text.to_owned())
    } else {
        Err("must be host:port, or several of them separated by commas; a port is a number from \
             1 to 65535"
            .to_owned())
    }
}

fn is_broker(broker: &str) -> bool {
    // An IPv6 address is in brackets, so that its last colon is not mistaken for that of the port.
    let (host, port) = match broker.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (broker, "9092"),
    };
    !host.is_empty()
        && !host.contains(char::is_whitespace)
        // A user and a password would be a part of the host, and so in the log.
        && !host.contains('@')
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_a_name_that_kafka_allows() {
        for name in ["orders", "order.status.changed", "a_B-9", &"a".repeat(245)] {
            assert_eq!(topic(name).as_deref(), Ok(name));
        }
        for name in ["", ".", "..", "two words", "a/b", "заказы", "a\n", &"a".repeat(246)] {
            assert!(topic(name).is_err(), "{name}");
        }
    }

    #[test]
    fn names_that_differ_in_a_dot_are_the_same_topic() {
        assert!(are_same_topic("a.b", "a_b") && are_same_topic("a", "a"));
        assert!(!are_same_topic("a-b", "a_b") && !are_same_topic("a", "A"));
    }

    #[test]
    fn every_pair_of_topics_must_differ() {
        let check = |third: &str| {
            let topics = [("A", "orders"), ("B", "status"), ("C", third)];
            check_topics_differ(&topics, |topic| format!("{topic}.dlq"))
        };
        let error = |third: &str| check(third).unwrap_err().to_string();
        assert!(check("deliveries").is_ok() && check("orders-dlq").is_ok());
        assert!(error("orders").contains("A and C are both orders"));
        assert!(error("status").contains("B and C are both status"));
        for dead_letters in ["status.dlq", "status_dlq"] {
            let expected = format!("{dead_letters} is the dead-letter topic of status");
            assert!(error(dead_letters).contains(&expected), "{dead_letters}");
        }
        let topics = [("A", "a.dlq"), ("B", "b"), ("C", "a")];
        let error = check_topics_differ(&topics, |topic| format!("{topic}.dlq")).unwrap_err();
        assert!(error.to_string().contains("a.dlq is the dead-letter topic of a"), "{error}");
    }

    #[test]
    fn a_group_prefix_is_not_empty() {
        assert!(group_prefix("waybill").is_ok() && group_prefix("склад 1").is_ok());
        for prefix in ["", "a\nb", &"a".repeat(201)] {
            assert!(group_prefix(prefix).is_err(), "{prefix}");
        }
    }

    #[test]
    fn an_instance_id_has_characters_that_kafka_allows() {
        assert!(instance_id("waybill-0").is_ok() && instance_id("a.b_C").is_ok());
        for id in ["", "a b", "a/b", "склад", &"a".repeat(201)] {
            assert!(instance_id(id).is_err(), "{id}");
        }
    }

    #[test]
    fn brokers_are_hosts_with_ports() {
        for list in ["kafka:9092", "kafka", "a:1, b:65535", "[::1]:9092", "[::1]", "127.0.0.1:1"] {
            assert!(brokers(list).is_ok(), "{list}");
        }
        for list in ["", ",", "a:1,", ":9092", "a:0", "a:65536", "a:port", "a b:1", "a:"] {
            assert!(brokers(list).is_err(), "{list}");
        }
    }
}
