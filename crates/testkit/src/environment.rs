//! A test's own database and topics on some servers, and the order service on them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use clap::Parser;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{
        AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
    },
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::{KafkaResult, RDKafkaErrorCode},
    message::{Header, Headers as _, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer as _},
};
use sqlx::PgPool;
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Servers, eventually, wait::PATIENCE};

/// A database and topics that no other test uses.
#[derive(Clone)]
pub struct TestEnvironment {
    /// The servers it is on.
    pub servers: Servers,
    /// What the names of this test start with.
    pub name: String,
    /// A pool of the service's own user.
    pub pool: PgPool,
    pub(crate) group: String,
    producer: FutureProducer,
}

/// A record as it was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// When Kafka appended it, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// Headers by name.
    pub headers: BTreeMap<String, String>,
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    orders: orders::Config,
}

impl TestEnvironment {
    /// A migrated database and topics with 8 partitions.
    pub async fn new(servers: &Servers) -> Self {
        let name = format!("t{:08x}", rand::random::<u32>());
        let url = database_url(servers, &name);
        let pool = PgPool::connect_lazy(&url).expect("the address is one");
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &servers.kafka)
            .set("message.max.bytes", "4000000")
            .set("linger.ms", "1")
            // An outage must not make one invalid record two.
            .set("enable.idempotence", "true")
            .create()
            .expect("a plain producer starts");
        let group = name.clone();
        let env = Self { servers: servers.clone(), name, pool, group, producer };
        let config = env.config(&[]);
        let administrator = servers.postgres.parse().expect("the address is one");
        orders::migrate(&config.database, Some(&administrator))
            .await
            .expect("the database is made");
        env.create_large_topic(&env.orders_topic()).await;
        let topics = [env.orders_topic(), env.status_topic(), env.dead_letters()];
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        config.kafka.create_topics(&topics).await.expect("the topics are made");
        env
    }

    /// The same database and topics, read by another group from their beginning.
    #[must_use]
    pub fn in_another_group(&self) -> Self {
        Self { group: format!("{}-again", self.group), ..self.clone() }
    }

    /// Makes a topic that takes records larger than an order may be, as some clusters allow.
    pub async fn create_large_topic(&self, name: &str) {
        let made = self.try_create_large_topic(name).await;
        made.expect("the topic is new");
    }

    async fn try_create_large_topic(&self, name: &str) -> Result<String, RDKafkaErrorCode> {
        let topic = NewTopic::new(name, 8, TopicReplication::Fixed(1))
            .set("message.timestamp.type", "LogAppendTime")
            .set("max.message.bytes", "4194304");
        let made = self.administrator().create_topics(&[topic], &AdminOptions::new()).await;
        made.expect("Kafka answers").remove(0).map_err(|(_, code)| code)
    }

    /// The topic of orders.
    #[must_use]
    pub fn orders_topic(&self) -> String {
        format!("{}.orders", self.name)
    }

    /// The topic of status events.
    #[must_use]
    pub fn status_topic(&self) -> String {
        format!("{}.status", self.name)
    }

    /// The topic of dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> String {
        format!("{}.orders.dlq", self.name)
    }

    /// The flags of `waybill orders` for this env.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        [
            ("--kafka-brokers", self.servers.kafka.clone()),
            ("--kafka-group-id", self.group.clone()),
            ("--kafka-orders-topic", self.orders_topic()),
            ("--kafka-status-topic", self.status_topic()),
            ("--orders-database-url", database_url(&self.servers, &self.name)),
            ("--orders-http-addr", "127.0.0.1:0".to_owned()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }

    /// The configuration that these flags, and `more`, give.
    #[must_use]
    pub fn config(&self, more: &[&str]) -> orders::Config {
        let flags = std::iter::once("waybill".to_owned())
            .chain(self.flags())
            .chain(more.iter().map(|flag| (*flag).to_owned()));
        Flags::try_parse_from(flags).expect("the flags are valid").orders
    }

    /// Starts the order service in this process, and waits until it is ready.
    pub async fn start(&self, more: &[&str]) -> Service {
        self.start_at(SocketAddr::from(([127, 0, 0, 1], 0)), more).await
    }

    /// As [`start`](Self::start), at an address: one that was stopped comes back there.
    pub async fn start_at(&self, address: SocketAddr, more: &[&str]) -> Service {
        Service::start(address, |listener, shutdown| {
            tokio::spawn(orders::run(self.config(more), listener, shutdown))
        })
        .await
    }

    /// Sends one record as any producer would and returns where it stands.
    pub async fn send(
        &self,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> (i32, i64) {
        self.send_to(&self.orders_topic(), partition, key, value).await
    }

    /// Sends one record with headers, without a key.
    pub async fn send_with_headers(&self, value: Option<&[u8]>, headers: &[(&str, &str)]) {
        let topic = self.orders_topic();
        let empty = OwnedHeaders::new_with_capacity(headers.len());
        let headers = headers.iter().fold(empty, |headers, (key, value)| {
            headers.insert(Header { key, value: Some(*value) })
        });
        let mut record = FutureRecord::<[u8], [u8]>::to(&topic).headers(headers);
        if let Some(value) = value {
            record = record.payload(value);
        }
        let sent = self.producer.send(record, Duration::from_secs(30)).await;
        sent.expect("Kafka takes the record");
    }

    /// Sends one status event as any producer would and returns where it stands.
    pub async fn send_status(&self, key: Option<&str>, value: &[u8]) -> (i32, i64) {
        self.send_to(&self.status_topic(), None, key.map(str::as_bytes), Some(value)).await
    }

    /// Hands an order over with its key, without waiting for Kafka.
    pub fn enqueue(&self, key: &[u8], value: &[u8]) {
        self.enqueue_to(&self.orders_topic(), Some(key), value);
    }

    /// Hands a status event over, with a key or without; [`flush`](Self::flush) waits for all of
    /// them.
    pub fn enqueue_status(&self, key: Option<&[u8]>, value: &[u8]) {
        self.enqueue_to(&self.status_topic(), key, value);
    }

    fn enqueue_to(&self, topic: &str, key: Option<&[u8]>, value: &[u8]) {
        let mut record = FutureRecord::<[u8], [u8]>::to(topic).payload(value);
        if let Some(key) = key {
            record = record.key(key);
        }
        let taken = self.producer.send_result(record).map_err(|(error, _)| error);
        drop(taken.expect("the queue has room"));
    }

    async fn send_to(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> (i32, i64) {
        let mut record = FutureRecord::<[u8], [u8]>::to(topic);
        if let Some(partition) = partition {
            record = record.partition(partition);
        }
        if let Some(key) = key {
            record = record.key(key);
        }
        if let Some(value) = value {
            record = record.payload(value);
        }
        let delivery = self
            .producer
            .send(record, Duration::from_secs(30))
            .await
            .expect("Kafka takes the record");
        (delivery.partition, delivery.offset)
    }

    /// Sends many records, keyed as given, and waits until Kafka has them all.
    pub async fn send_all(&self, records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) {
        self.send_all_to(&self.orders_topic(), records).await;
    }

    /// Sends many records to another topic, keyed as given; an empty key is none.
    pub async fn send_all_to(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    ) {
        let mut deliveries = Vec::new();
        for (key, value) in records {
            let mut record = FutureRecord::<[u8], [u8]>::to(topic).payload(&value);
            if !key.is_empty() {
                record = record.key(&key);
            }
            deliveries.push(
                self.producer
                    .send_result(record)
                    .map_err(|(error, _)| error)
                    .expect("the queue has room"),
            );
        }
        for delivery in deliveries {
            delivery
                .await
                .expect("the producer lives")
                .map_err(|(error, _)| error)
                .expect("Kafka takes the record");
        }
    }

    /// Everything in a topic now, from its beginning.
    pub async fn read_all(&self, topic: &str) -> Vec<Received> {
        let (brokers, topic) = (self.servers.kafka.clone(), topic.to_owned());
        tokio::task::spawn_blocking(move || read_all(&brokers, &topic))
            .await
            .expect("reading does not panic")
    }

    /// How many records of the orders' topic are not settled yet.
    pub async fn lag(&self) -> i64 {
        self.lag_of(self.orders_topic(), "orders").await
    }

    /// Waits until every record has been settled and its offset committed.
    pub async fn drained(&self) {
        crate::wait_until("all offsets to be committed", async || self.lag().await == 0).await;
    }

    /// Waits until the order service has recorded every event on the status topic.
    pub async fn status_drained(&self) {
        crate::wait_until("all events to be recorded", async || {
            self.lag_of(self.status_topic(), "status").await == 0
        })
        .await;
    }

    pub(crate) async fn lag_of(&self, topic: String, group: &str) -> i64 {
        let (brokers, group) = (self.servers.kafka.clone(), format!("{}.{group}", self.group));
        tokio::task::spawn_blocking(move || lag(&brokers, &topic, &group))
            .await
            .expect("asking does not panic")
    }

    /// Waits until nothing that was handed to the plain producer is left in it.
    pub fn flush(&self) {
        self.producer.flush(Duration::from_secs(30)).expect("Kafka takes everything");
    }

    /// Commits an offset of the orders' topic in the name of the service's group.
    pub async fn commit(&self, partition: i32, offset: i64) {
        self.commit_with(partition, offset, "").await;
    }

    /// The same, with an offset of the topic that has, or had, this id.
    pub async fn commit_as_of_topic(&self, partition: i32, offset: i64, id: &str) {
        self.commit_with(partition, offset, &format!("topic-id={id}")).await;
    }

    /// Has the order service's other group, that of the status topic, begin at the topic's end.
    pub async fn skip_status(&self) {
        let (topic, group) = (self.status_topic(), format!("{}.status", self.group));
        let consumer = reader(&self.servers.kafka, &group);
        let skipped = tokio::task::spawn_blocking(move || {
            let mut list = TopicPartitionList::new();
            for (partition, _, end) in ends(&consumer, &topic) {
                list.add_partition_offset(&topic, partition, Offset::Offset(end))
                    .expect("the offset is one");
            }
            retry_forever(|| consumer.commit(&list, CommitMode::Sync));
        });
        skipped.await.expect("committing does not panic");
    }

    async fn commit_with(&self, partition: i32, offset: i64, metadata: &str) {
        let consumer = reader(&self.servers.kafka, &format!("{}.orders", self.group));
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition(&self.orders_topic(), partition);
        element.set_offset(Offset::Offset(offset)).expect("the offset is one");
        element.set_metadata(metadata);
        tokio::task::spawn_blocking(move || {
            retry_forever(|| consumer.commit(&list, CommitMode::Sync))
        })
        .await
        .expect("committing does not panic");
    }

    /// Deletes the records of a partition of the orders' topic before `offset`, as retention does.
    pub async fn delete_records(&self, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.orders_topic(), partition, Offset::Offset(offset))
            .expect("the offset is one");
        self.administrator()
            .delete_records(&list, &AdminOptions::new())
            .await
            .expect("the records are deleted");
    }

    /// Gives a topic these options, and the defaults of all others.
    pub async fn alter_topic(&self, name: &str, options: &[(&str, &str)]) {
        let topic = AlterConfig::new(ResourceSpecifier::Topic(name));
        let topic = options.iter().fold(topic, |topic, (option, value)| topic.set(option, value));
        let altered = self.administrator().alter_configs([&topic], &AdminOptions::new()).await;
        assert!(altered.expect("Kafka answers").iter().all(Result::is_ok));
    }

    /// Deletes the orders' topic and makes it anew, empty.
    pub async fn make_orders_topic_anew(&self) {
        let topic = self.orders_topic();
        let deleted = self.administrator().delete_topics(&[&topic], &AdminOptions::new()).await;
        assert!(deleted.expect("Kafka answers").iter().all(Result::is_ok));
        // Until the old one is gone altogether its name is taken.
        crate::wait_until("the topic to be made anew", async || {
            self.try_create_large_topic(&topic).await.is_ok()
        })
        .await;
    }

    fn administrator(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new()
            .set("bootstrap.servers", &self.servers.kafka)
            .create()
            .expect("a plain administrator starts")
    }

    /// How many rows `SELECT count(*) FROM` this gives.
    pub async fn count(&self, from: &str) -> i64 {
        let statement = format!("SELECT count(*) FROM {from}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .fetch_one(&self.pool)
            .await
            .expect("counting works")
    }
}

fn database_url(servers: &Servers, name: &str) -> String {
    format!("postgres://{name}_user:secret@{}/{name}_orders", servers.postgres_host())
}

fn reader(brokers: &str, group: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("fetch.message.max.bytes", "5000000")
        .create()
        .expect("a plain consumer starts")
}

/// Asks until Kafka answers: a topic that is new has no leader yet, a new group no coordinator.
fn retry_forever<T>(ask: impl Fn() -> KafkaResult<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < deadline, "Kafka does not answer: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn ends(consumer: &BaseConsumer, topic: &str) -> Vec<(i32, i64, i64)> {
    let patience = Duration::from_secs(20);
    let metadata = retry_forever(|| consumer.fetch_metadata(Some(topic), patience));
    metadata.topics()[0]
        .partitions()
        .iter()
        .map(|partition| {
            let (low, high) =
                retry_forever(|| consumer.fetch_watermarks(topic, partition.id(), patience));
            (partition.id(), low, high)
        })
        .collect()
}

fn read_all(brokers: &str, topic: &str) -> Vec<Received> {
    let consumer = reader(brokers, "reader");
    let ends = ends(&consumer, topic);
    let mut list = TopicPartitionList::new();
    for (partition, ..) in &ends {
        list.add_partition_offset(topic, *partition, Offset::Beginning).expect("the offset is one");
    }
    consumer.assign(&list).expect("assigning works");
    let wanted: i64 = ends.iter().map(|(_, low, high)| high - low).sum();
    let mut records = Vec::new();
    while (records.len() as i64) < wanted {
        let message = consumer
            .poll(Duration::from_secs(20))
            .expect("a record comes")
            .expect("it can be read");
        let headers = message.headers().map(|headers| {
            headers
                .iter()
                .map(|header| {
                    (
                        header.key.to_owned(),
                        String::from_utf8_lossy(header.value.unwrap_or(b"")).into_owned(),
                    )
                })
                .collect()
        });
        records.push(Received {
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().expect("Kafka stamps every record"),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
        });
    }
    records
}

fn lag(brokers: &str, topic: &str, group: &str) -> i64 {
    let consumer = reader(brokers, group);
    let ends = ends(&consumer, topic);
    let mut list = TopicPartitionList::new();
    for (partition, ..) in &ends {
        list.add_partition(topic, *partition);
    }
    let committed =
        retry_forever(|| consumer.committed_offsets(list.clone(), Duration::from_secs(20)));
    ends.iter()
        .map(|(partition, low, high)| {
            let committed =
                committed.find_partition(topic, *partition).expect("it was asked for").offset();
            high - committed.to_raw().filter(|offset| *offset >= 0).unwrap_or(*low)
        })
        .sum()
}

/// A running service.
pub struct Service {
    /// Where it answers.
    pub url: String,
    /// A client to ask it with, which gives up on one that is silent for a minute.
    pub http: reqwest::Client,
    address: SocketAddr,
    shutdown: CancellationToken,
    /// A test that fails leaves no thread behind that its runtime would wait for.
    _shut_down_when_dropped: DropGuard,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Service {
    /// Has `run` start a service at an address, and waits until it is ready.
    pub(crate) async fn start(
        address: SocketAddr,
        run: impl FnOnce(TcpListener, CancellationToken) -> JoinHandle<anyhow::Result<()>>,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("it listens");
        let url = format!("http://{address}");
        let shutdown = CancellationToken::new();
        let http = reqwest::Client::builder().read_timeout(PATIENCE).build();
        let http = http.expect("a plain client is made");
        let service = Self {
            url,
            address,
            http,
            _shut_down_when_dropped: shutdown.clone().drop_guard(),
            task: run(listener, shutdown.clone()),
            shutdown,
        };
        eventually("the service to be ready", async || {
            let answer = service.http.get(service.at("/readyz")).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        service
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of a path.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Asks for a path.
    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(self.at(path)).send().await.expect("the service answers")
    }

    /// Asks for a path whose answer is JSON.
    pub async fn json(&self, path: &str) -> serde_json::Value {
        self.get(path).await.json().await.expect("the answer is JSON")
    }

    /// Stops it in good order and gives its outcome.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.ended().await
    }

    /// Waits until it ends by itself and gives its outcome; panics after a minute.
    pub async fn ended(self) -> anyhow::Result<()> {
        let outcome = timeout(PATIENCE, self.task).await.expect("the service ends in a minute");
        outcome.expect("the service does not panic")
    }
}
