//! The system under test: own servers, the real program as several replicas of each service, and
//! the proxies between them.
//!
//! ```text
//! senders ─▶ Kafka ◀─ proxy ◀─ orders-0, orders-1, couriers-0, couriers-1 ─▶ proxy ─▶ PostgreSQL
//!                                          └─▶ Redis
//! ```
//!
//! Senders, judge and [`groups`] reach the servers directly, so that a disturbed proxy disturbs the
//! services alone. No program outlives this process, even if it is killed ([`child`](crate::child)).

mod brokers;
mod database;
pub(crate) mod groups;
pub(crate) mod kafka_admin;
mod redis;
mod replica;
pub mod senders;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use local::{Postgres, PostgresOptions};
use serde_json::json;
use sqlx::Connection as _;
use testkit::free_port;
use tokio::sync::Mutex;

pub use self::{
    brokers::Brokers,
    replica::{End, Replica, Role},
};
pub(crate) use self::{database::Database, redis::Redis, replica::unix_ms};
use self::{
    groups::{Group, Groups},
    replica::ReplicaOptions,
};
use crate::{
    judge::Case,
    proxy::{Protocol, Proxy},
    resources::{Allowance, ProcessResources, Snapshot, database_connections},
    traffic::{Traffic, refuse_statement},
};

/// The consumer groups' prefix, and the names of the topics.
pub(crate) const GROUP: &str = "soak";
pub(crate) const ORDERS_TOPIC: &str = "soak.orders";
pub(crate) const STATUS_TOPIC: &str = "soak.status";
pub(crate) const DELIVERIES_TOPIC: &str = "soak.deliveries";

/// The size of the cache of a replica of the order service.
const CACHE_BYTES: u64 = 256 << 20;
/// The connections to PostgreSQL of a replica.
const POOL_CONNECTIONS: u32 = 10;

/// Partitions of each topic at the start.
const PARTITIONS: i32 = 8;

const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// The time after which dispatch looks at its queue again.
pub(crate) const DISPATCH_SWEEP: Duration = Duration::from_secs(1);

/// The time after its deadline at which a delivery is released: late, so that dispatch rests in the
/// end. A fault makes deliveries overdue.
const OVERDUE_GRACE: Duration = Duration::from_secs(3600);

/// The age at which a cached order is read from the database again, in most systems.
pub(crate) const CACHE_MAX_AGE: Duration = Duration::from_secs(300);

/// The size and the place of a system.
#[derive(Debug, Clone)]
pub struct SystemOptions {
    /// The folder of all data and logs.
    pub folder: PathBuf,
    /// The program, built with failpoints.
    pub program: PathBuf,
    /// Replicas of each service.
    pub replicas: usize,
    pub couriers: u32,
    /// One broker behind a proxy, or three without one.
    pub brokers: usize,
    /// In whole seconds.
    pub cache_max_age: Duration,
}

/// A running system.
#[derive(Debug)]
pub struct System {
    pub(crate) options: SystemOptions,
    pub(crate) postgres: Mutex<Postgres>,
    pub(crate) database: Database,
    pub(crate) kafka: Mutex<Brokers>,
    pub(crate) redis: Mutex<Redis>,
    pub(crate) postgres_proxy: Proxy,
    /// None with three brokers.
    pub(crate) kafka_proxy: Option<Proxy>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) groups: Groups,
    pub(crate) http: reqwest::Client,
    /// The address for senders and judge.
    pub(crate) brokers: String,
}

impl System {
    /// Starts everything, creates databases, topics and couriers, and waits until all replicas are
    /// ready.
    pub async fn start(options: SystemOptions, progress: impl Fn(&str)) -> Result<Self> {
        let folder = &options.folder;
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating {}", folder.display()))?;
        progress("starting PostgreSQL, Apache Kafka and Redis");
        let postgres = PostgresOptions { data_dir: folder.join("postgres"), port: 0 };
        let (postgres, (kafka, kafka_proxy), redis) = tokio::try_join!(
            Postgres::start(&postgres, &|_| {}),
            Brokers::start(options.brokers, folder),
            async { Redis::start(free_port()?, folder).await },
        )?;
        let database = Database::new(postgres.port());
        let postgres_proxy = Proxy::start(Protocol::Postgres, loopback(postgres.port())).await?;
        let brokers = kafka.addresses();
        progress("creating databases and topics");
        let replication = if options.brokers == 1 { 1 } else { 3 };
        let create_databases = async {
            database.migrate(&options.program, folder).await?;
            database.run(Role::Orders, &refuse_statement()).await
        };
        tokio::try_join!(create_databases, async {
            let dead_letters = [ORDERS_TOPIC, STATUS_TOPIC].map(|topic| format!("{topic}.dlq"));
            let topics = [ORDERS_TOPIC, STATUS_TOPIC, DELIVERIES_TOPIC];
            for topic in topics.into_iter().chain(dead_letters.iter().map(String::as_str)) {
                kafka_admin::create_topic(&brokers, topic, PARTITIONS, replication, &[]).await?;
            }
            Ok(())
        },)?;
        let watched = [
            ("orders", ORDERS_TOPIC),
            ("status", STATUS_TOPIC),
            ("couriers", STATUS_TOPIC),
            ("deliveries", DELIVERIES_TOPIC),
        ];
        let watched = watched
            .map(|(name, topic)| Group { id: format!("{GROUP}.{name}"), topic: topic.to_owned() });
        let groups = Groups::watch(&brokers, watched.into())?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()
            .context("starting an HTTP client")?;
        let mut system = Self {
            options,
            postgres: Mutex::new(postgres),
            database,
            kafka: Mutex::new(kafka),
            redis: Mutex::new(redis),
            postgres_proxy,
            kafka_proxy,
            replicas: Vec::new(),
            groups,
            http,
            brokers,
        };
        progress("starting the services");
        system.start_replicas().await?;
        progress("adding couriers");
        system.add_couriers().await?;
        Ok(system)
    }

    /// Starts all replicas and waits until they are ready.
    pub(crate) async fn start_replicas(&mut self) -> Result<()> {
        for role in [Role::Orders, Role::Couriers] {
            for number in 0..self.options.replicas {
                let name = format!("{}-{number}", role.name());
                // One replica of each service keeps its membership over restarts, the other one
                // causes a rebalance.
                let instance = number.is_multiple_of(2).then_some(name.as_str());
                let replica = self.start_replica(role, &name, instance).await?;
                self.replicas.push(replica);
            }
        }
        self.wait_until_ready().await
    }

    /// Stops all replicas. Returns those that had to be killed.
    pub(crate) async fn stop_replicas(&mut self) -> Vec<String> {
        let stopping = self.replicas.drain(..).map(|replica| async {
            let name = replica.name().to_owned();
            (!replica.stop().await).then_some(name)
        });
        futures_util::future::join_all(stopping).await.into_iter().flatten().collect()
    }

    /// Starts a further replica. With an instance id, it is a static member of its groups.
    pub(crate) async fn start_replica(
        &self,
        role: Role,
        name: &str,
        instance: Option<&str>,
    ) -> Result<Replica> {
        let port = free_port()?;
        let folder = &self.options.folder;
        let brokers = match &self.kafka_proxy {
            Some(_) => self.kafka.lock().await.proxied_address(),
            None => self.brokers.clone(),
        };
        let postgres = self.postgres_proxy.port();
        let database = format!("{}-database-url", role.name());
        let url = self.database.service_url(role, postgres);
        let mut flags: Vec<(String, String)> = vec![
            ("kafka-brokers".into(), brokers),
            ("kafka-group-id".into(), GROUP.into()),
            ("kafka-status-topic".into(), STATUS_TOPIC.into()),
            ("kafka-deliveries-topic".into(), DELIVERIES_TOPIC.into()),
            (database, url),
            ("postgres-connections".into(), POOL_CONNECTIONS.to_string()),
            (format!("{}-http-addr", role.name()), format!("127.0.0.1:{port}")),
        ];
        flags.extend(instance.map(|id| ("kafka-instance-id".to_owned(), id.to_owned())));
        match role {
            Role::Orders => flags.extend([
                ("kafka-orders-topic".into(), ORDERS_TOPIC.into()),
                ("redis-url".into(), self.redis.lock().await.url()),
                ("cache-bytes".into(), CACHE_BYTES.to_string()),
                ("cache-max-age".into(), self.options.cache_max_age.as_secs().to_string()),
            ]),
            Role::Couriers => {
                let sweep = format!("{}ms", DISPATCH_SWEEP.as_millis());
                flags.push(("dispatch-sweep".into(), sweep));
                let grace = format!("{}s", OVERDUE_GRACE.as_secs());
                flags.push(("overdue-grace".into(), grace));
            }
        }
        let log = folder.join(format!("{name}.log"));
        let failpoint_log = self.failpoint_log().display().to_string();
        Ok(Replica::start(ReplicaOptions {
            role,
            name: name.to_owned(),
            program: self.options.program.clone(),
            port,
            flags: flags.into_iter().map(|(flag, value)| format!("--{flag}={value}")).collect(),
            variables: vec![
                ("WAYBILL_FAILPOINT_LOG".into(), failpoint_log),
                ("REDIS_VALUE_KEY".into(), "secret of the soak".into()),
            ],
            log,
        }))
    }

    /// Returns a replica by its number: first those of the order service.
    pub(crate) fn replica(&self, number: usize) -> Result<&Replica> {
        self.replicas.get(number).with_context(|| format!("there is no replica {number}"))
    }

    /// Returns the first replica of a service.
    pub(crate) fn first_of(&self, role: Role) -> Result<&Replica> {
        let found = self.replicas.iter().find(|replica| replica.role() == role);
        found.with_context(|| format!("a replica of {} runs", role.name()))
    }

    pub(crate) async fn wait_until_ready(&self) -> Result<()> {
        for replica in &self.replicas {
            replica.wait_until_ready(&self.http, READY_TIMEOUT).await?;
        }
        Ok(())
    }

    /// The file to which each failpoint that fires appends a line.
    #[must_use]
    pub fn failpoint_log(&self) -> PathBuf {
        self.options.folder.join("failpoints.log")
    }

    /// The folder of the senders' ledgers.
    #[must_use]
    pub fn ledgers(&self) -> PathBuf {
        self.options.folder.clone()
    }

    /// Reads the resources of all replicas.
    pub(crate) async fn resources(&self) -> Result<Snapshot> {
        let mut processes = Vec::new();
        for replica in &self.replicas {
            let id = replica.id().with_context(|| format!("{} runs", replica.name()))?;
            processes.push((replica.name().to_owned(), ProcessResources::of(id)?));
        }
        let mut administrator = self.database.connect(Role::Orders).await?;
        let connections = database_connections(&mut administrator).await?;
        administrator.close().await?;
        Ok(Snapshot { processes, connections })
    }

    /// The growth of resources that is no leak.
    pub(crate) fn allowance(&self) -> Allowance {
        let replicas = u32::try_from(self.options.replicas).unwrap_or(u32::MAX);
        Allowance::of(CACHE_BYTES, POOL_CONNECTIONS.saturating_mul(replicas))
    }

    /// Describes the system for the judge.
    #[must_use]
    pub fn case(&self, traffic: &Traffic) -> Case {
        Case {
            traffic: traffic.clone(),
            ledger_dir: self.ledgers(),
            brokers: self.brokers.clone(),
            group: GROUP.to_owned(),
            orders_topic: ORDERS_TOPIC.to_owned(),
            status_topic: STATUS_TOPIC.to_owned(),
            deliveries_topic: DELIVERIES_TOPIC.to_owned(),
            orders_database: self.database.administrator_url(Role::Orders),
            couriers_database: self.database.administrator_url(Role::Couriers),
            order_services: self
                .replicas
                .iter()
                .filter(|replica| replica.role() == Role::Orders)
                .map(Replica::url)
                .collect(),
            couriers_run: true,
            dispatch_sweep_ms: u64::try_from(DISPATCH_SWEEP.as_millis()).unwrap_or(u64::MAX),
            overdue_grace_ms: OVERDUE_GRACE.as_secs() * 1_000,
            lost_commits: false,
            cache_step: 1,
        }
    }

    /// Stops the replicas in an orderly way, then the servers. Returns the replicas that had to be
    /// killed.
    pub async fn stop(mut self) -> Result<Vec<String>> {
        let killed = self.stop_replicas().await;
        self.kafka.into_inner().stop().await?;
        self.postgres.into_inner().stop().await?;
        Ok(killed)
    }

    async fn add_couriers(&self) -> Result<()> {
        let service = self.first_of(Role::Couriers)?;
        for number in 0..self.options.couriers {
            let transport = ["on_foot", "scooter", "car"][number as usize % 3];
            let courier = json!({
                "name": format!("Курьер {number}"),
                "phone": format!("+7{number:010}"),
                "status": "available",
                "transport_type": transport,
            });
            let answer = self
                .http
                .post(format!("{}/courier", service.url()))
                .json(&courier)
                .send()
                .await
                .context("adding a courier")?;
            answer.error_for_status().context("adding a courier")?;
        }
        Ok(())
    }
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Returns the program next to this one: `target/PROFILE/waybill`.
pub fn default_program() -> Result<PathBuf> {
    let this = std::env::current_exe().context("finding this program")?;
    let folders = this.ancestors().skip(1).take(2);
    let mut programs = folders.map(|folder: &Path| folder.join("waybill"));
    programs
        .find(|program| program.is_file())
        .context("waybill is not next to this program: name it with --waybill")
}
