//! A Kafka client for tests: it sends and reads records, and reads and commits the offsets of
//! consumer groups, as any other program on the cluster can.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{
        AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::{BorrowedMessage, Header, Headers as _, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer as _},
};

use crate::{wait::WAIT_TIMEOUT, wait_until};

const SEND_TIMEOUT: Duration = Duration::from_secs(30);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// A record that was read from a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub partition: i32,
    pub offset: i64,
    /// The time at which Kafka appended it, in milliseconds since 1970.
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: BTreeMap<String, String>,
}

impl Received {
    fn from_message(message: &BorrowedMessage<'_>) -> Self {
        let header = |header: Header<'_, &[u8]>| {
            let value = header.value.unwrap_or_default();
            (header.key.to_owned(), String::from_utf8_lossy(value).into_owned())
        };
        let headers = message.headers().map(|headers| headers.iter().map(header).collect());
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message
                .timestamp()
                .to_millis()
                .expect("Kafka sets the timestamp of every record"),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
        }
    }
}

/// The end of a producer's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionEnd {
    Commit,
    Abort,
}

/// The offsets of one partition: its first one, and the one after its last.
struct Range {
    partition: i32,
    start: i64,
    end: i64,
}

#[derive(Clone)]
pub(crate) struct KafkaClient {
    brokers: String,
    producer: FutureProducer,
}

impl KafkaClient {
    pub(crate) fn new(brokers: &str) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("message.max.bytes", "4000000")
            .set("linger.ms", "1")
            // After an outage, a retry must not write an invalid record a second time.
            .set("enable.idempotence", "true")
            .create()
            .expect("the producer starts");
        Self { brokers: brokers.to_owned(), producer }
    }

    /// Creates a topic that accepts records larger than the limit of an order, as some clusters do.
    pub(crate) async fn create_large_topic(
        &self,
        name: &str,
        partitions: i32,
    ) -> Result<String, RDKafkaErrorCode> {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1))
            .set("message.timestamp.type", "LogAppendTime")
            .set("max.message.bytes", "4194304");
        let created = self.admin().create_topics(&[topic], &AdminOptions::new()).await;
        created.expect("Kafka answers").remove(0).map_err(|(_, code)| code)
    }

    /// Sets these options of a topic, and all other options to their defaults.
    pub(crate) async fn alter_topic(&self, name: &str, options: &[(&str, &str)]) {
        let topic = AlterConfig::new(ResourceSpecifier::Topic(name));
        let topic = options.iter().fold(topic, |topic, (option, value)| topic.set(option, value));
        let altered = self.admin().alter_configs([&topic], &AdminOptions::new()).await;
        assert!(altered.expect("Kafka answers").iter().all(Result::is_ok));
        // The broker applies them after it has answered.
        wait_until("the options to be applied", async || {
            let topic = ResourceSpecifier::Topic(name);
            let described = self.admin().describe_configs(&[topic], &AdminOptions::new()).await;
            let described = described.expect("Kafka answers").remove(0).expect("the topic exists");
            options.iter().all(|(option, value)| {
                described.get(option).and_then(|entry| entry.value.as_deref()) == Some(*value)
            })
        })
        .await;
    }

    pub(crate) async fn delete_topic(&self, name: &str) {
        let admin = self.admin();
        let deleted = admin.delete_topics(&[name], &AdminOptions::new()).await;
        assert!(deleted.expect("Kafka answers").iter().all(Result::is_ok));
        // The controller deletes it, and the broker learns of it later.
        wait_until("the broker to know that the topic is deleted", async || {
            let metadata = admin.inner().fetch_metadata(Some(name), REQUEST_TIMEOUT);
            metadata.is_ok_and(|metadata| metadata.topics()[0].partitions().is_empty())
        })
        .await;
    }

    /// Raises the number of partitions of a topic to `count`.
    pub(crate) async fn add_partitions(&self, name: &str, count: usize) {
        let partitions = NewPartitions::new(name, count);
        let added = self.admin().create_partitions(&[partitions], &AdminOptions::new()).await;
        assert!(added.expect("Kafka answers").iter().all(Result::is_ok));
        // The producer sends to a partition only when it knows it.
        wait_until("the producer to know the partitions", async || {
            let metadata = self.producer.client().fetch_metadata(Some(name), REQUEST_TIMEOUT);
            metadata.is_ok_and(|metadata| metadata.topics()[0].partitions().len() == count)
        })
        .await;
    }

    /// Deletes a topic and creates it again, empty.
    pub(crate) async fn recreate_large_topic(&self, name: &str) {
        self.delete_topic(name).await;
        // The name is taken until the old topic has been deleted everywhere.
        wait_until("the topic to be created again", async || {
            self.create_large_topic(name, 8).await.is_ok()
        })
        .await;
    }

    /// Deletes the records of a partition before `offset`, as retention does; all of them if it is
    /// negative.
    pub(crate) async fn delete_records(&self, topic: &str, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        let offset = if offset < 0 { Offset::End } else { Offset::Offset(offset) };
        list.add_partition_offset(topic, partition, offset).expect("the offset is valid");
        self.admin()
            .delete_records(&list, &AdminOptions::new())
            .await
            .expect("the records are deleted");
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .create()
            .expect("the administrator starts")
    }

    /// Sends one record and returns its partition and offset.
    pub(crate) async fn send(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> (i32, i64) {
        let record = FutureRecord { partition, key, payload: value, ..FutureRecord::to(topic) };
        let delivery =
            self.producer.send(record, SEND_TIMEOUT).await.expect("Kafka accepts the record");
        (delivery.partition, delivery.offset)
    }

    /// Sends one record in a batch that is compressed with gzip, so that a value of any size passes
    /// the limit of a topic if it compresses well. Returns its partition and offset.
    pub(crate) async fn send_compressed(
        &self,
        topic: &str,
        codec: &str,
        key: &[u8],
        value: &[u8],
    ) -> (i32, i64) {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("compression.type", codec)
            .set("message.max.bytes", "1000000000")
            .create()
            .expect("the producer starts");
        let record = FutureRecord::to(topic).key(key).payload(value);
        let delivery = producer.send(record, SEND_TIMEOUT).await.expect("Kafka accepts the record");
        (delivery.partition, delivery.offset)
    }

    /// Sends one record with the timestamp of its producer, in milliseconds since 1970, and returns
    /// its partition and offset.
    pub(crate) async fn send_stamped(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: &[u8],
        timestamp_ms: i64,
    ) -> (i32, i64) {
        let timestamp = Some(timestamp_ms);
        let record = FutureRecord { key, timestamp, ..FutureRecord::to(topic).payload(value) };
        let delivery =
            self.producer.send(record, SEND_TIMEOUT).await.expect("Kafka accepts the record");
        (delivery.partition, delivery.offset)
    }

    /// Sends one record in a transaction of its own, and commits or aborts it.
    pub(crate) async fn send_in_transaction(
        &self,
        topic: &str,
        partition: i32,
        (key, value): &(Vec<u8>, Vec<u8>),
        end: TransactionEnd,
    ) {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("transactional.id", topic)
            .create()
            .expect("the producer starts");
        producer.init_transactions(SEND_TIMEOUT).expect("Kafka answers");
        producer.begin_transaction().expect("a transaction begins");
        let record = FutureRecord::to(topic).key(key).payload(value).partition(partition);
        producer.send(record, SEND_TIMEOUT).await.expect("Kafka accepts the record");
        let ended = match end {
            TransactionEnd::Commit => producer.commit_transaction(SEND_TIMEOUT),
            TransactionEnd::Abort => producer.abort_transaction(SEND_TIMEOUT),
        };
        ended.expect("Kafka ends the transaction");
    }

    /// Sends one record with headers, without a key.
    pub(crate) async fn send_with_headers(
        &self,
        topic: &str,
        value: Option<&[u8]>,
        headers: &[(&str, &str)],
    ) {
        let empty = OwnedHeaders::new_with_capacity(headers.len());
        let headers = headers.iter().fold(empty, |headers, (key, value)| {
            headers.insert(Header { key, value: Some(*value) })
        });
        let record = FutureRecord::<[u8], [u8]>::to(topic).headers(headers);
        let record = FutureRecord { payload: value, ..record };
        self.producer.send(record, SEND_TIMEOUT).await.expect("Kafka accepts the record");
    }

    /// Sends many records and waits until Kafka has acknowledged all of them. A record with an
    /// empty key is sent without a key.
    pub(crate) async fn send_all(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    ) {
        let mut deliveries = Vec::new();
        for (key, value) in records {
            let key = (!key.is_empty()).then_some(key.as_slice());
            let record = FutureRecord { key, ..FutureRecord::to(topic).payload(value.as_slice()) };
            let queued = self.producer.send_result(record).map_err(|(error, _)| error);
            deliveries.push(queued.expect("the queue has room"));
        }
        for delivery in deliveries {
            let delivered = delivery.await.expect("the producer is running");
            delivered.map_err(|(error, _)| error).expect("Kafka accepts the record");
        }
    }

    /// Queues one record without waiting for Kafka; [`flush`](Self::flush) waits for all of them.
    pub(crate) fn enqueue(&self, topic: &str, key: Option<&[u8]>, value: &[u8]) {
        let record = FutureRecord { key, ..FutureRecord::to(topic).payload(value) };
        let queued = self.producer.send_result(record).map_err(|(error, _)| error);
        drop(queued.expect("the queue has room"));
    }

    /// Waits until Kafka has acknowledged every queued record.
    pub(crate) fn flush(&self) {
        self.producer.flush(SEND_TIMEOUT).expect("Kafka accepts every record");
    }

    /// Reads everything that is in a topic now, from its beginning.
    pub(crate) async fn read_all(&self, topic: &str) -> Vec<Received> {
        let topic = topic.to_owned();
        self.with_consumer("reader", move |consumer| read_all(consumer, &topic)).await
    }

    /// Returns the number of records of a topic that a group has not committed yet.
    pub(crate) async fn lag(&self, topic: String, group: &str) -> i64 {
        self.with_consumer(group, move |consumer| lag(consumer, &topic)).await
    }

    /// Commits an offset for a group.
    pub(crate) async fn commit(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
        offset: i64,
        metadata: &str,
    ) {
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition(topic, partition);
        element.set_offset(Offset::Offset(offset)).expect("the offset is valid");
        element.set_metadata(metadata);
        self.with_consumer(group, move |consumer| commit(consumer, &list)).await;
    }

    /// Commits the end of a topic for a group, so that the group skips all records that are there.
    pub(crate) async fn commit_end(&self, group: &str, topic: String) {
        let skip = move |consumer: &BaseConsumer| {
            let mut list = TopicPartitionList::new();
            for Range { partition, end, .. } in ranges(consumer, &topic) {
                list.add_partition_offset(&topic, partition, Offset::Offset(end))
                    .expect("the offset is valid");
            }
            commit(consumer, &list);
        };
        self.with_consumer(group, skip).await;
    }

    /// Runs blocking calls of a consumer of this group, outside the asynchronous threads.
    async fn with_consumer<T: Send + 'static>(
        &self,
        group: &str,
        calls: impl FnOnce(&BaseConsumer) -> T + Send + 'static,
    ) -> T {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("fetch.message.max.bytes", "5000000")
            .create()
            .expect("the consumer starts");
        tokio::task::spawn_blocking(move || calls(&consumer)).await.expect("no call panics")
    }
}

fn read_all(consumer: &BaseConsumer, topic: &str) -> Vec<Received> {
    let ranges = ranges(consumer, topic);
    let mut list = TopicPartitionList::new();
    for Range { partition, .. } in &ranges {
        list.add_partition_offset(topic, *partition, Offset::Beginning)
            .expect("the offset is valid");
    }
    consumer.assign(&list).expect("the partitions are assigned");
    // The end of a partition is reported; its last offsets may have no records.
    let mut open: HashSet<i32> = ranges.iter().map(|range| range.partition).collect();
    let mut records = Vec::new();
    while !open.is_empty() {
        match consumer.poll(REQUEST_TIMEOUT).expect("a record arrives, or an end") {
            Ok(message) => records.push(Received::from_message(&message)),
            Err(KafkaError::PartitionEOF(partition)) => {
                open.remove(&partition);
            }
            Err(error) => panic!("the record can be read: {error}"),
        }
    }
    records
}

fn lag(consumer: &BaseConsumer, topic: &str) -> i64 {
    let ranges = ranges(consumer, topic);
    let mut list = TopicPartitionList::new();
    for Range { partition, .. } in &ranges {
        list.add_partition(topic, *partition);
    }
    let committed =
        retry_until_answered(|| consumer.committed_offsets(list.clone(), REQUEST_TIMEOUT));
    ranges
        .iter()
        .map(|Range { partition, start, end }| {
            let committed = committed
                .find_partition(topic, *partition)
                .expect("the answer contains every requested partition")
                .offset();
            end - committed.to_raw().filter(|offset| *offset >= 0).unwrap_or(*start)
        })
        .sum()
}

fn commit(consumer: &BaseConsumer, list: &TopicPartitionList) {
    retry_until_answered(|| consumer.commit(list, CommitMode::Sync));
}

fn ranges(consumer: &BaseConsumer, topic: &str) -> Vec<Range> {
    let metadata = retry_until_answered(|| consumer.fetch_metadata(Some(topic), REQUEST_TIMEOUT));
    let range = |partition: i32| {
        let (start, end) =
            retry_until_answered(|| consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT));
        Range { partition, start, end }
    };
    metadata.topics()[0].partitions().iter().map(|partition| range(partition.id())).collect()
}

/// Repeats a request until Kafka answers: a new topic has no leader yet, a new group no
/// coordinator.
fn retry_until_answered<T>(request: impl Fn() -> KafkaResult<T>) -> T {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    loop {
        match request() {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < deadline, "Kafka does not answer: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
