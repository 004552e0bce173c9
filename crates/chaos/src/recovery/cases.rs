//! The faults, and how the recovery from each is measured.

use std::{
    ops::Range,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    producer::{FutureProducer, FutureRecord},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use testkit::{OwnServers, TestEnvironment, order_json::SAMPLE};

use super::Replica;

/// Each measurement ends with an error after this time.
const LIMIT: Duration = Duration::from_secs(60);
/// The pause between two looks at the state that a measurement waits for.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// The number of partitions of a topic.
const PARTITIONS: i32 = 8;
/// The range of the duration of an outage, in milliseconds. The recovery depends on it, because the
/// service waits longer before each further attempt to reconnect.
const OUTAGE_MS: Range<u64> = 200..4_000;

/// Own servers, two replicas of the order service, and a Kafka client that reconnects at once.
pub(super) struct Bench {
    own: OwnServers,
    env: TestEnvironment,
    replicas: Vec<Replica>,
    producer: FutureProducer,
    sample: Value,
    sent: u64,
    kills: usize,
}

impl Bench {
    pub(super) async fn start(waybill: &Path) -> anyhow::Result<Self> {
        let own = OwnServers::start().await;
        let env = TestEnvironment::new(&own.servers()).await;
        let replica = |id: &str| Replica::start(waybill, &env, id, &[]);
        let replicas = vec![replica("replica-0")?, replica("replica-1")?];
        let producer = kafka_client(&env).create()?;
        let sample = serde_json::from_str(SAMPLE)?;
        let mut bench = Self { own, env, replicas, producer, sample, sent: 0, kills: 0 };
        for replica in &mut bench.replicas {
            replica.wait_until_ready().await?;
        }
        // Until both have partitions, and read all of them.
        bench.wait_until_settled().await?;
        Ok(bench)
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        for replica in self.replicas {
            replica.stop().await?;
        }
        self.own.stop().await;
        Ok(())
    }

    /// Kills one replica after the other, and measures until an order of each partition is stored.
    pub(super) async fn kill_replica(&mut self) -> anyhow::Result<Duration> {
        let victim = self.kills % self.replicas.len();
        self.kills += 1;
        let begun = Instant::now();
        self.replicas[victim].restart().await?;
        let uids = self.send_to_each_partition().await?;
        self.wait_until_stored(&mut self.connect().await?, &uids).await?;
        let took = begun.elapsed();
        self.replicas[victim].wait_until_ready().await?;
        self.wait_until_settled().await?;
        Ok(took)
    }

    /// Ends PostgreSQL at once and starts it again, and measures from the first answer to another
    /// client until an order is stored that was sent during the outage.
    pub(super) async fn stop_postgresql(&mut self) -> anyhow::Result<Duration> {
        let postgres = self.own.local.postgres.as_mut().context("PostgreSQL was started")?;
        postgres.kill().await?;
        let uids = self.send_to_each_partition().await?;
        outage().await;
        let postgres = self.own.local.postgres.as_mut().context("PostgreSQL was started")?;
        let options = self.env.pool.connect_options();
        let usable = async {
            let mut connection = connect_with(&options).await?;
            let usable = Instant::now();
            wait_until_stored(&mut connection, &uids).await?;
            anyhow::Ok(usable.elapsed())
        };
        let (took, started) = tokio::join!(usable, postgres.restart());
        started?;
        took
    }

    /// Kills Kafka and starts it again, and measures from its acknowledgement of an order to the
    /// event of that order.
    pub(super) async fn stop_kafka(&mut self) -> anyhow::Result<Duration> {
        let events = self.events_from_now()?;
        let (uid, value) = self.next_order();
        let kafka = self.own.local.kafka.as_mut().context("Kafka was started")?;
        kafka.kill().await?;
        outage().await;
        let topic = self.env.orders_topic();
        let record = FutureRecord::to(&topic).key(&uid).payload(&value);
        let acknowledged = async {
            let sent = self.producer.send(record, LIMIT).await;
            sent.map_err(|(error, _)| error).context("Kafka accepts the order")?;
            anyhow::Ok(Instant::now())
        };
        let key = uid.clone().into_bytes();
        let received = tokio::task::spawn_blocking(move || wait_for_event(&events, &key));
        let (acknowledged, started) = tokio::join!(acknowledged, kafka.restart());
        started?;
        let (acknowledged, received) = (acknowledged?, received.await??);
        self.wait_until_settled().await?;
        Ok(received.saturating_duration_since(acknowledged))
    }

    /// Stops all sessions of the service with SIGSTOP, and measures until it answers a read that
    /// needs PostgreSQL.
    pub(super) async fn freeze_connections(&mut self) -> anyhow::Result<Duration> {
        let client = reqwest::Client::builder().timeout(LIMIT).build()?;
        let mut administrator = self.env.administrator().await;
        let url = self.replicas[0].url.clone();
        // A read first, so that there are idle connections that requests use.
        ensure!(self.is_answered(&client, &url).await, "the service does not answer");
        let sessions: Vec<i32> = sqlx::query_scalar(
            "SELECT pid FROM pg_stat_activity \
             WHERE application_name = 'waybill orders' AND state = 'idle'",
        )
        .fetch_all(&mut administrator)
        .await?;
        let signal_all = |signal: Signal| {
            // A session may have ended meanwhile.
            for id in sessions.iter().filter_map(|id| Pid::from_raw(*id)) {
                let _ = kill_process(id, signal);
            }
        };
        signal_all(Signal::STOP);
        let begun = Instant::now();
        while !self.is_answered(&client, &url).await && begun.elapsed() < LIMIT {}
        let took = begun.elapsed();
        signal_all(Signal::CONT);
        administrator.close().await?;
        ensure!(took < LIMIT, "the service did not answer within {LIMIT:?}");
        self.wait_until_settled().await?;
        Ok(took)
    }

    /// Requests an order that no cache can know; true if the service says that there is none.
    async fn is_answered(&mut self, client: &reqwest::Client, url: &str) -> bool {
        self.sent += 1;
        let answer = client.get(format!("{url}/order/unknown-{}", self.sent)).send().await;
        answer.is_ok_and(|answer| answer.status() == reqwest::StatusCode::NOT_FOUND)
    }

    /// Waits until an order of each partition is stored.
    async fn wait_until_settled(&mut self) -> anyhow::Result<()> {
        let uids = self.send_to_each_partition().await?;
        self.wait_until_stored(&mut self.connect().await?, &uids).await
    }

    async fn send_to_each_partition(&mut self) -> anyhow::Result<Vec<String>> {
        let topic = self.env.orders_topic();
        let orders: Vec<_> = (0..PARTITIONS).map(|_| self.next_order()).collect();
        for (partition, (uid, value)) in (0..).zip(&orders) {
            let record = FutureRecord::to(&topic).key(uid).payload(value).partition(partition);
            let sent = self.producer.send(record, LIMIT).await;
            sent.map_err(|(error, _)| error).context("Kafka accepts an order")?;
        }
        Ok(orders.into_iter().map(|(uid, _)| uid).collect())
    }

    fn next_order(&mut self) -> (String, String) {
        self.sent += 1;
        let uid = format!("recovery-{}", self.sent);
        self.sample["order_uid"] = json!(uid);
        (uid, self.sample.to_string())
    }

    async fn connect(&self) -> anyhow::Result<PgConnection> {
        connect_with(&self.env.pool.connect_options()).await
    }

    async fn wait_until_stored(
        &self,
        connection: &mut PgConnection,
        uids: &[String],
    ) -> anyhow::Result<()> {
        wait_until_stored(connection, uids).await
    }

    /// Returns a consumer of the status topic that begins at its end.
    fn events_from_now(&self) -> anyhow::Result<BaseConsumer> {
        let topic = self.env.status_topic();
        let consumer: BaseConsumer = kafka_client(&self.env)
            .set("group.id", "unused")
            .set("enable.auto.commit", "false")
            .create()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            let (_, end) = consumer.fetch_watermarks(&topic, partition, LIMIT)?;
            list.add_partition_offset(&topic, partition, Offset::Offset(end))?;
        }
        consumer.assign(&list)?;
        Ok(consumer)
    }
}

/// Returns the settings of a client that connects again at once, so that only the service's own
/// time is measured.
fn kafka_client(env: &TestEnvironment) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &env.servers.kafka)
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "20")
        .set("topic.metadata.refresh.fast.interval.ms", "50")
        .set("retry.backoff.ms", "20")
        .set("linger.ms", "0");
    config
}

async fn outage() {
    tokio::time::sleep(Duration::from_millis(rand::random_range(OUTAGE_MS))).await;
}

/// Connects as soon as PostgreSQL accepts a connection.
async fn connect_with(options: &sqlx::postgres::PgConnectOptions) -> anyhow::Result<PgConnection> {
    let connecting = async {
        loop {
            if let Ok(connection) = options.connect().await {
                return connection;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(LIMIT, connecting).await.context("PostgreSQL accepts no connection")
}

/// Waits until all of these orders are stored.
async fn wait_until_stored(connection: &mut PgConnection, uids: &[String]) -> anyhow::Result<()> {
    let waiting = async {
        loop {
            let stored: i64 =
                sqlx::query_scalar("SELECT count(*) FROM orders.orders WHERE order_uid = ANY ($1)")
                    .bind(uids)
                    .fetch_one(&mut *connection)
                    .await?;
            if stored == uids.len() as i64 {
                return Ok(());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.context("the orders are not stored")?
}

/// Returns the time at which the event of an order arrived.
fn wait_for_event(events: &BaseConsumer, key: &[u8]) -> anyhow::Result<Instant> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        // The client reports each lost connection as an error, and connects again.
        if let Some(Ok(event)) = events.poll(POLL_INTERVAL)
            && event.key() == Some(key)
        {
            return Ok(Instant::now());
        }
    }
    anyhow::bail!("no event within {LIMIT:?}")
}
