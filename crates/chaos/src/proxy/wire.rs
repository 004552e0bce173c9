//! Recognises, in a stream of bytes, the requests whose answer a proxy can drop, and these answers.
//!
//! - PostgreSQL: the query `COMMIT`. A connection has one request at a time, so the bytes after it
//!   are its answer.
//! - Kafka: a Produce request. Each request and each answer is a frame: its length, and in a request
//!   the key of the call, its version and a correlation number, which the answer begins with.

use super::Protocol;

/// A query as a message of PostgreSQL's protocol ends with it.
const COMMIT: &[u8] = b"COMMIT\0";

/// The key of the Produce call.
const PRODUCE: u16 = 0;

/// Identifies a request on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Commit,
    Produce { correlation: u32 },
}

/// Reads the requests of one connection.
#[derive(Debug)]
pub(super) struct Requests {
    protocol: Protocol,
    frames: Frames<12>,
}

/// Reads the answers on one connection, and knows which one is to be dropped.
#[derive(Debug)]
pub(super) struct Answers {
    dropped: Option<Request>,
    frames: Frames<8>,
    protocol: Protocol,
}

impl Requests {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self { protocol, frames: Frames::default() }
    }

    /// Returns the requests that begin in these bytes and may change something.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Vec<Request> {
        match self.protocol {
            Protocol::Postgres => {
                let is_commit = bytes.windows(COMMIT.len()).any(|window| window == COMMIT);
                is_commit.then_some(Request::Commit).into_iter().collect()
            }
            Protocol::Kafka => {
                let mut requests = Vec::new();
                self.frames.read(bytes, |header, _| {
                    let key = u16::from_be_bytes([header[4], header[5]]);
                    if key == PRODUCE {
                        let correlation = u32_at(header, 8);
                        requests.push(Request::Produce { correlation });
                    }
                });
                requests
            }
        }
    }
}

impl Answers {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self { dropped: None, frames: Frames::default(), protocol }
    }

    pub(super) fn drop_answer_to(&mut self, request: Request) {
        self.dropped.get_or_insert(request);
    }

    /// Returns how many of these bytes come before the answer that is to be dropped.
    pub(super) fn read(&mut self, bytes: &[u8]) -> usize {
        match (self.protocol, self.dropped) {
            (Protocol::Postgres, Some(_)) => 0,
            (Protocol::Postgres, None) => bytes.len(),
            (Protocol::Kafka, dropped) => {
                let mut passed = bytes.len();
                self.frames.read(bytes, |header, end| {
                    let correlation = u32_at(header, 4);
                    if dropped == Some(Request::Produce { correlation }) {
                        // The header may have begun in earlier bytes, which have been forwarded.
                        passed = passed.min(end.saturating_sub(header.len()));
                    }
                });
                passed
            }
        }
    }
}

/// Finds the beginnings of the frames of a stream.
#[derive(Debug)]
struct Frames<const HEADER: usize> {
    header: Vec<u8>,
    /// The rest of the current frame after its header.
    remaining: usize,
}

impl<const HEADER: usize> Default for Frames<HEADER> {
    fn default() -> Self {
        Self { header: Vec::with_capacity(HEADER), remaining: 0 }
    }
}

impl<const HEADER: usize> Frames<HEADER> {
    /// Calls `found` with each header that is complete, and with the number of bytes up to its end.
    fn read(&mut self, bytes: &[u8], mut found: impl FnMut(&[u8], usize)) {
        let mut position = 0;
        while position < bytes.len() {
            if self.remaining > 0 {
                let skipped = self.remaining.min(bytes.len() - position);
                self.remaining -= skipped;
                position += skipped;
                continue;
            }
            let taken = (HEADER - self.header.len()).min(bytes.len() - position);
            self.header.extend_from_slice(&bytes[position..position + taken]);
            position += taken;
            if self.header.len() == HEADER {
                found(&self.header, position);
                // The length counts the bytes after itself.
                let length = u32_at(&self.header, 0) as usize + 4;
                self.remaining = length.saturating_sub(HEADER);
                self.header.clear();
            }
        }
    }
}

fn u32_at(bytes: &[u8], position: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[position..position + 4]);
    u32::from_be_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(key: u16, correlation: u32, body: usize) -> Vec<u8> {
        let mut bytes = (8 + body as u32).to_be_bytes().to_vec();
        bytes.extend(key.to_be_bytes());
        bytes.extend(9_u16.to_be_bytes());
        bytes.extend(correlation.to_be_bytes());
        bytes.extend(vec![0; body]);
        bytes
    }

    #[test]
    fn produce_requests_are_found_in_pieces_of_any_size() {
        let stream: Vec<u8> =
            [frame(18, 1, 30), frame(0, 2, 500), frame(1, 3, 0), frame(0, 4, 7)].concat();
        for size in 1..=stream.len() {
            let mut requests = Requests::new(Protocol::Kafka);
            let found: Vec<Request> =
                stream.chunks(size).flat_map(|piece| requests.read(piece)).collect();
            let produce = |correlation| Request::Produce { correlation };
            assert_eq!(found, [produce(2), produce(4)], "pieces of {size} bytes");
        }
    }

    #[test]
    fn only_bytes_before_the_dropped_answer_pass() {
        let answer = |correlation: u32| {
            let mut bytes = 10_u32.to_be_bytes().to_vec();
            bytes.extend(correlation.to_be_bytes());
            bytes.extend([0; 6]);
            bytes
        };
        let stream = [answer(5), answer(6), answer(7)].concat();
        let mut answers = Answers::new(Protocol::Kafka);
        answers.drop_answer_to(Request::Produce { correlation: 6 });
        assert_eq!(answers.read(&stream), 14);
    }
}
