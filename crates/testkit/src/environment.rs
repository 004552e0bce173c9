//! A database and topics for each test, and the order service that uses them.

use std::net::SocketAddr;

use chassis::kafka::topics;
use clap::Parser;
use sqlx::{ConnectOptions as _, PgConnection, PgPool, postgres::PgConnectOptions};

use crate::{
    Received, Servers, Service,
    kafka::{KafkaClient, TransactionEnd},
    wait_until,
};

/// A database and topics that no other test uses.
#[derive(Clone)]
pub struct TestEnvironment {
    pub servers: Servers,
    /// The prefix of all names in this environment.
    pub name: String,
    /// A pool of the service's own user.
    pub pool: PgPool,
    pub(crate) group: String,
    kafka: KafkaClient,
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    orders: orders::Config,
}

impl TestEnvironment {
    /// Creates a migrated database, and topics with 8 partitions; the deliveries topic has 2.
    pub async fn new(servers: &Servers) -> Self {
        let name = format!("t{:08x}", rand::random::<u32>());
        let url = database_url(servers, &name);
        let pool = PgPool::connect_lazy(&url).expect("the address is valid");
        let kafka = KafkaClient::new(&servers.kafka);
        let group = name.clone();
        let env = Self { servers: servers.clone(), name, pool, group, kafka };
        let config = env.config(&[]);
        let administrator = servers.postgres.parse().expect("the address is valid");
        orders::migrate(&config.database, Some(&administrator))
            .await
            .expect("the database is created");
        env.create_large_topic(&env.orders_topic()).await;
        // Fewer partitions than the others: one broker has those of all tests.
        let created = env.kafka.create_large_topic(&env.deliveries_topic(), 2).await;
        created.expect("the topic is new");
        let topics = [env.orders_topic(), env.status_topic(), env.dead_letter_topic()];
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        topics::ensure(&config.kafka, &topics).await.expect("the topics are created");
        env
    }

    /// Returns the same database and topics with another consumer group, which reads the topics
    /// from their beginning.
    #[must_use]
    pub fn in_another_group(&self) -> Self {
        Self { group: format!("{}-again", self.group), ..self.clone() }
    }

    #[must_use]
    pub fn orders_topic(&self) -> String {
        format!("{}.orders", self.name)
    }

    #[must_use]
    pub fn status_topic(&self) -> String {
        format!("{}.status", self.name)
    }

    #[must_use]
    pub fn deliveries_topic(&self) -> String {
        format!("{}.deliveries", self.name)
    }

    /// Returns the name of the dead-letter topic of the order service.
    #[must_use]
    pub fn dead_letter_topic(&self) -> String {
        format!("{}.orders.dlq", self.name)
    }

    /// Returns the flags of `waybill orders` for this environment.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        [
            ("--kafka-brokers", self.servers.kafka.clone()),
            ("--kafka-group-id", self.group.clone()),
            ("--kafka-orders-topic", self.orders_topic()),
            ("--kafka-status-topic", self.status_topic()),
            ("--kafka-deliveries-topic", self.deliveries_topic()),
            ("--orders-database-url", database_url(&self.servers, &self.name)),
            ("--orders-http-addr", "127.0.0.1:0".to_owned()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }

    /// Parses these flags, followed by `more`.
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

    /// Starts the order service at an address, for example the address of a stopped service.
    pub async fn start_at(&self, address: SocketAddr, more: &[&str]) -> Service {
        Service::start(address, |listener, shutdown| {
            tokio::spawn(orders::run(self.config(more), listener, shutdown))
        })
        .await
    }

    /// Returns the result of `SELECT count(*) FROM {from}`.
    pub async fn count(&self, from: &str) -> i64 {
        count(&self.pool, from).await
    }

    /// Connects to the order service's database as an administrator.
    pub async fn administrator(&self) -> PgConnection {
        let options: PgConnectOptions =
            self.servers.postgres.parse().expect("the address is valid");
        let options = options.database(&format!("{}_orders", self.name));
        options.connect().await.expect("the administrator may log in")
    }

    /// Creates a topic with 8 partitions that accepts records larger than the limit of an order, as
    /// some clusters do.
    pub async fn create_large_topic(&self, name: &str) {
        self.kafka.create_large_topic(name, 8).await.expect("the topic is new");
    }

    /// Sets these options of a topic, and all other options to their defaults.
    pub async fn alter_topic(&self, name: &str, options: &[(&str, &str)]) {
        self.kafka.alter_topic(name, options).await;
    }

    pub async fn delete_topic(&self, name: &str) {
        self.kafka.delete_topic(name).await;
    }

    /// Raises the number of partitions of a topic to `count`.
    pub async fn add_partitions(&self, name: &str, count: usize) {
        self.kafka.add_partitions(name, count).await;
    }

    /// Deletes the orders topic and creates it again, empty.
    pub async fn recreate_orders_topic(&self) {
        self.kafka.recreate_large_topic(&self.orders_topic()).await;
    }

    /// Deletes the records of a partition of the orders topic before `offset`, as retention does; all
    /// of them if it is negative.
    pub async fn delete_records(&self, partition: i32, offset: i64) {
        self.kafka.delete_records(&self.orders_topic(), partition, offset).await;
    }

    /// Sends one record to the orders topic and returns its partition and offset.
    pub async fn send(
        &self,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> (i32, i64) {
        self.kafka.send(&self.orders_topic(), partition, key, value).await
    }

    /// Sends one record with headers to the orders topic, without a key.
    pub async fn send_with_headers(&self, value: Option<&[u8]>, headers: &[(&str, &str)]) {
        self.kafka.send_with_headers(&self.orders_topic(), value, headers).await;
    }

    /// Sends one record in a batch that is compressed with gzip, so that a value of any size passes
    /// the limit of a topic if it compresses well. Returns its partition and offset.
    pub async fn send_compressed(
        &self,
        topic: &str,
        codec: &str,
        key: &[u8],
        value: &[u8],
    ) -> (i32, i64) {
        self.kafka.send_compressed(topic, codec, key, value).await
    }

    /// Sends one record with the timestamp of its producer, in milliseconds since 1970, and returns
    /// its partition and offset.
    pub async fn send_stamped(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: &[u8],
        timestamp_ms: i64,
    ) -> (i32, i64) {
        self.kafka.send_stamped(topic, key, value, timestamp_ms).await
    }

    /// Sends one record to a partition of the orders topic in a transaction of its own.
    pub async fn send_in_transaction(
        &self,
        partition: i32,
        record: &(Vec<u8>, Vec<u8>),
        end: TransactionEnd,
    ) {
        self.kafka.send_in_transaction(&self.orders_topic(), partition, record, end).await;
    }

    /// Sends one status event with headers, without a key.
    pub async fn send_status_with_headers(&self, value: &[u8], headers: &[(&str, &str)]) {
        self.kafka.send_with_headers(&self.status_topic(), Some(value), headers).await;
    }

    /// Sends one status event and returns its partition and offset.
    pub async fn send_status(&self, key: Option<&str>, value: &[u8]) -> (i32, i64) {
        self.kafka.send(&self.status_topic(), None, key.map(str::as_bytes), Some(value)).await
    }

    /// Sends one status event to a partition.
    pub async fn send_status_to(&self, partition: i32, key: Option<&str>, value: &[u8]) {
        let key = key.map(str::as_bytes);
        self.kafka.send(&self.status_topic(), Some(partition), key, Some(value)).await;
    }

    /// Sends one record to the deliveries topic, without a key.
    pub async fn send_delivery(&self, value: Option<&[u8]>) {
        self.kafka.send(&self.deliveries_topic(), None, None, value).await;
    }

    /// Sends many records to the orders topic and waits until Kafka has acknowledged all of them.
    pub async fn send_all(&self, records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) {
        self.kafka.send_all(&self.orders_topic(), records).await;
    }

    /// Sends many records to a topic and waits until Kafka has acknowledged all of them. A record
    /// with an empty key is sent without a key.
    pub async fn send_all_to(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    ) {
        self.kafka.send_all(topic, records).await;
    }

    /// Queues an order without waiting for Kafka.
    pub fn enqueue(&self, key: &[u8], value: &[u8]) {
        self.kafka.enqueue(&self.orders_topic(), Some(key), value);
    }

    /// Queues a status event without waiting for Kafka.
    pub fn enqueue_status(&self, key: Option<&[u8]>, value: &[u8]) {
        self.kafka.enqueue(&self.status_topic(), key, value);
    }

    /// Waits until Kafka has acknowledged every queued record.
    pub fn flush_queue(&self) {
        self.kafka.flush();
    }

    /// Reads everything that is in a topic now, from its beginning.
    pub async fn read_all(&self, topic: &str) -> Vec<Received> {
        self.kafka.read_all(topic).await
    }

    /// Returns the number of records of the orders topic that are not committed yet.
    pub async fn lag(&self) -> i64 {
        self.lag_of(self.orders_topic(), "orders").await
    }

    /// Waits until the order service has committed every record of the orders topic.
    pub async fn wait_until_drained(&self) {
        wait_until("all offsets to be committed", async || self.lag().await == 0).await;
    }

    /// Waits until the order service has recorded every event on the status topic.
    pub async fn wait_until_status_drained(&self) {
        wait_until("all events to be recorded", async || {
            self.lag_of(self.status_topic(), "status").await == 0
        })
        .await;
    }

    /// Waits until the order service has stored every event on the deliveries topic.
    pub async fn wait_until_deliveries_drained(&self) {
        wait_until("all deliveries to be stored", async || {
            self.lag_of(self.deliveries_topic(), "deliveries").await == 0
        })
        .await;
    }

    pub(crate) async fn lag_of(&self, topic: String, group: &str) -> i64 {
        self.kafka.lag(topic, &self.group_of(group)).await
    }

    /// Commits an offset of the orders topic for the order service.
    pub async fn commit(&self, partition: i32, offset: i64) {
        self.commit_with_metadata(partition, offset, "").await;
    }

    /// Commits an offset of a topic for the group `part`: `orders`, `status`, `deliveries` or
    /// `couriers`.
    pub async fn commit_for(&self, part: &str, topic: &str, partition: i32, offset: i64) {
        self.kafka.commit(&self.group_of(part), topic, partition, offset, "").await;
    }

    /// Commits an offset that belongs to the topic with this id.
    pub async fn commit_with_topic_id(&self, partition: i32, offset: i64, id: &str) {
        self.commit_with_metadata(partition, offset, &format!("topic-id={id}")).await;
    }

    async fn commit_with_metadata(&self, partition: i32, offset: i64, metadata: &str) {
        let (group, topic) = (self.group_of("orders"), self.orders_topic());
        self.kafka.commit(&group, &topic, partition, offset, metadata).await;
    }

    /// Makes the order service skip the events that are on the status topic now.
    pub async fn skip_status_events(&self) {
        self.kafka.commit_end(&self.group_of("status"), self.status_topic()).await;
    }

    fn group_of(&self, name: &str) -> String {
        format!("{}.{name}", self.group)
    }
}

fn database_url(servers: &Servers, name: &str) -> String {
    let host = servers.postgres_host();
    format!("postgres://{name}_user:secret@{host}/{name}_orders?sslmode=disable")
}

pub(crate) async fn count(pool: &PgPool, from: &str) -> i64 {
    let statement = format!("SELECT count(*) FROM {from}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
        .fetch_one(pool)
        .await
        .expect("the rows are counted")
}
