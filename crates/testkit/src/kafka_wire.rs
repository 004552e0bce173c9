//! Requests of the Kafka protocol that the client library cannot send, written byte by byte. They
//! use old versions of the requests, whose form is simple.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const PRODUCE: (i16, i16) = (0, 3);
const CREATE_ACLS: (i16, i16) = (30, 1);

/// Sends one record to the partition 0 of a topic, with a header whose name may be any bytes.
pub async fn send_with_raw_header(broker: &str, topic: &str, value: &[u8], name: &[u8]) {
    let batch = batch(value, name);
    let mut body = Vec::new();
    body.extend((-1_i16).to_be_bytes()); // no transaction
    body.extend((-1_i16).to_be_bytes()); // wait for all replicas
    body.extend(10_000_i32.to_be_bytes()); // their time, in milliseconds
    body.extend(1_i32.to_be_bytes()); // one topic
    put_text(&mut body, topic);
    body.extend(1_i32.to_be_bytes()); // one partition
    body.extend(0_i32.to_be_bytes()); // the partition 0
    body.extend(length(&batch).to_be_bytes());
    body.extend(batch);

    let answer = request(broker, PRODUCE, &body).await;
    // The error follows the topic and the partition.
    let at = 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(answer[at..at + 2], [0, 0], "Kafka refuses the record");
}

/// Options of a broker that has rules of access, and allows everything for which it has none.
pub const AUTHORIZER: &str = "\n\
    authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
    allow.everyone.if.no.acl.found=true\n";

/// Denies every user to write to a topic; they may do everything else. The broker needs an
/// authorizer.
pub async fn deny_writes(broker: &str, topic: &str) {
    const WRITE: u8 = 4;
    deny(broker, &[(TOPIC, topic)], WRITE).await;
}

/// Denies every user to create a topic; they may do everything else. The broker needs an authorizer.
pub async fn deny_creation(broker: &str, topic: &str) {
    const CREATE: u8 = 5;
    // Who may create topics in the cluster may create each of them.
    deny(broker, &[(TOPIC, topic), (CLUSTER, "kafka-cluster")], CREATE).await;
}

/// Types of resources.
const TOPIC: u8 = 2;
const CLUSTER: u8 = 4;

async fn deny(broker: &str, resources: &[(u8, &str)], denied: u8) {
    const LITERAL: u8 = 3;
    // An operation, and permissions.
    const ALL: u8 = 2;
    const DENY: u8 = 2;
    const ALLOW: u8 = 3;

    let rules = resources.len() * 2;
    let mut body = i32::try_from(rules).expect("there are few rules").to_be_bytes().to_vec();
    for (kind, name) in resources {
        for (operation, permission) in [(ALL, ALLOW), (denied, DENY)] {
            body.push(*kind);
            put_text(&mut body, name);
            body.push(LITERAL);
            put_text(&mut body, "User:*");
            put_text(&mut body, "*"); // from every host
            body.extend([operation, permission]);
        }
    }

    let answer = request(broker, CREATE_ACLS, &body).await;
    // Throttle time and number of results; each result is an error and a text, which is empty.
    assert!(answer[8..].iter().all(|byte| *byte == 0), "Kafka refuses the rules");
}

/// Sends a request, and returns the answer without its length and correlation id.
async fn request(broker: &str, (key, version): (i16, i16), body: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend(key.to_be_bytes());
    message.extend(version.to_be_bytes());
    message.extend(7_i32.to_be_bytes()); // correlation
    message.extend((-1_i16).to_be_bytes()); // no client id
    message.extend(body);
    let mut connection = TcpStream::connect(broker).await.expect("the broker listens");
    let exchange = async {
        connection.write_i32(length(&message)).await?;
        connection.write_all(&message).await?;
        let length = connection.read_i32().await?;
        let mut answer = vec![0; usize::try_from(length).expect("a length is not negative")];
        connection.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.split_off(4))
    };
    exchange.await.expect("the broker answers")
}

/// A batch of one record without a key.
fn batch(value: &[u8], header_name: &[u8]) -> Vec<u8> {
    let mut record = vec![0]; // attributes
    put_varint(&mut record, 0); // time since the first record
    put_varint(&mut record, 0); // offset from the first record
    put_varint(&mut record, -1); // no key
    put_bytes(&mut record, value);
    put_varint(&mut record, 1); // one header
    put_bytes(&mut record, header_name);
    put_bytes(&mut record, b"value");

    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    let now = i64::try_from(now.as_millis()).expect("the time fits");
    let mut checked = Vec::new();
    checked.extend(0_i16.to_be_bytes()); // attributes: not compressed
    checked.extend(0_i32.to_be_bytes()); // last offset
    checked.extend(now.to_be_bytes());
    checked.extend(now.to_be_bytes());
    checked.extend((-1_i64).to_be_bytes()); // no producer id
    checked.extend((-1_i16).to_be_bytes()); // no producer epoch
    checked.extend((-1_i32).to_be_bytes()); // no sequence
    checked.extend(1_i32.to_be_bytes()); // one record
    put_bytes(&mut checked, &record);

    let mut rest = Vec::new();
    rest.extend((-1_i32).to_be_bytes()); // epoch of the leader: unknown
    rest.push(2); // version of the format
    rest.extend(crc32c(&checked).to_be_bytes());
    rest.extend(checked);

    let mut batch = 0_i64.to_be_bytes().to_vec(); // first offset
    batch.extend(length(&rest).to_be_bytes());
    batch.extend(rest);
    batch
}

fn length(bytes: &[u8]) -> i32 {
    i32::try_from(bytes.len()).expect("a request of a test is small")
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    to.extend(i16::try_from(text.len()).expect("a name is short").to_be_bytes());
    to.extend(text.as_bytes());
}

fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(to, i64::from(length(bytes)));
    to.extend(bytes);
}

/// Writes a signed number of variable length, as zigzag.
fn put_varint(to: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        to.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}

/// The checksum of a batch, CRC-32C (Castagnoli).
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_its_specification() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
