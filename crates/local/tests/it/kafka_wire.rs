//! The part of Kafka's protocol that these tests need, so that they need no client library.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread::sleep,
    time::{Duration, Instant},
};

const PRODUCE: (i16, i16) = (0, 3);
const LIST_OFFSETS: (i16, i16) = (2, 1);
const CREATE_TOPICS: (i16, i16) = (19, 2);

/// The error codes of a partition that is unknown, has no leader, or is unknown to its leader. All
/// of them are transient after a topic is created and after Kafka starts.
const TRANSIENT_CODES: [i16; 3] = [3, 5, 6];

pub(crate) struct Wire(TcpStream);

impl Wire {
    pub(crate) fn connect(brokers: &str) -> Self {
        Self(TcpStream::connect(brokers).unwrap())
    }

    /// Creates a topic with one partition.
    pub(crate) fn create_topic(&mut self, name: &str) {
        let mut body = Vec::new();
        body.extend(1_i32.to_be_bytes());
        text(&mut body, name);
        body.extend(1_i32.to_be_bytes()); // partitions
        body.extend(1_i16.to_be_bytes()); // replicas
        body.extend(0_i32.to_be_bytes()); // assignments
        body.extend(0_i32.to_be_bytes()); // settings
        body.extend(10_000_i32.to_be_bytes()); // timeout in milliseconds
        body.push(0); // not only a check
        let answer = self.request(CREATE_TOPICS, &body);
        // throttle, count, name, code
        let code = &answer[4 + 4 + 2 + name.len()..][..2];
        assert_eq!(code, 0_i16.to_be_bytes(), "creating {name}: {answer:?}");
    }

    /// Sends one record without a key to partition 0, and waits for the acknowledgement.
    pub(crate) fn produce(&mut self, topic: &str, value: &[u8]) {
        let batch = batch_of_one(value);
        let mut body = Vec::new();
        body.extend((-1_i16).to_be_bytes()); // no transaction
        body.extend((-1_i16).to_be_bytes()); // acknowledged by all
        body.extend(10_000_i32.to_be_bytes()); // timeout in milliseconds
        body.extend(1_i32.to_be_bytes());
        text(&mut body, topic);
        body.extend(1_i32.to_be_bytes());
        body.extend(0_i32.to_be_bytes()); // partition
        body.extend(i32::try_from(batch.len()).unwrap().to_be_bytes());
        body.extend(batch);
        self.request_partition(PRODUCE, topic, &body);
    }

    /// Returns the offset of the next record of partition 0.
    pub(crate) fn end_offset(&mut self, topic: &str) -> i64 {
        let mut body = Vec::new();
        body.extend((-1_i32).to_be_bytes()); // not a replica
        body.extend(1_i32.to_be_bytes());
        text(&mut body, topic);
        body.extend(1_i32.to_be_bytes());
        body.extend(0_i32.to_be_bytes()); // partition
        body.extend((-1_i64).to_be_bytes()); // the end
        let answer = self.request_partition(LIST_OFFSETS, topic, &body);
        // timestamp, offset
        i64::from_be_bytes(answer[8..16].try_into().unwrap())
    }

    /// Repeats a request until the partition has a leader, and returns the rest of the answer after
    /// its code.
    fn request_partition(&mut self, api: (i16, i16), topic: &str, body: &[u8]) -> Vec<u8> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let mut answer = self.request(api, body);
            // count, name, count, partition, code
            let rest = answer.split_off(4 + 2 + topic.len() + 4 + 4 + 2);
            let code = i16::from_be_bytes(*answer.last_chunk().unwrap());
            if code == 0 {
                return rest;
            }
            let may_retry = TRANSIENT_CODES.contains(&code) && Instant::now() < deadline;
            assert!(may_retry, "{api:?} for {topic}: code {code}");
            sleep(Duration::from_millis(20));
        }
    }

    fn request(&mut self, (api, version): (i16, i16), body: &[u8]) -> Vec<u8> {
        let mut request = Vec::new();
        request.extend(api.to_be_bytes());
        request.extend(version.to_be_bytes());
        request.extend(1_i32.to_be_bytes()); // correlation
        request.extend((-1_i16).to_be_bytes()); // no client id
        request.extend(body);
        self.0.write_all(&i32::try_from(request.len()).unwrap().to_be_bytes()).unwrap();
        self.0.write_all(&request).unwrap();
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut answer = vec![0; i32::from_be_bytes(length).try_into().unwrap()];
        self.0.read_exact(&mut answer).unwrap();
        answer.split_off(4)
    }
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend(i16::try_from(text.len()).unwrap().to_be_bytes());
    body.extend(text.as_bytes());
}

/// A record batch of format 2.
fn batch_of_one(value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).unwrap();
    assert!(length < 50, "a longer value needs longer numbers");
    let mut record = vec![0, 0, 0, 1, length * 2]; // attributes, time, offset, no key, value
    record.extend(value);
    record.push(0); // headers

    let mut checked = Vec::new();
    checked.extend(0_i16.to_be_bytes()); // attributes
    checked.extend(0_i32.to_be_bytes()); // last offset
    checked.extend([0; 16]); // first and last time
    checked.extend((-1_i64).to_be_bytes()); // no producer id,
    checked.extend((-1_i16).to_be_bytes()); // epoch,
    checked.extend((-1_i32).to_be_bytes()); // or sequence
    checked.extend(1_i32.to_be_bytes()); // records
    checked.push(u8::try_from(record.len()).unwrap() * 2);
    checked.extend(record);

    let mut batch = vec![0; 8]; // base offset
    batch.extend(i32::try_from(4 + 1 + 4 + checked.len()).unwrap().to_be_bytes());
    batch.extend((-1_i32).to_be_bytes()); // leader epoch
    batch.push(2); // format
    batch.extend(crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}
