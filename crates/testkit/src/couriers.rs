//! A database for the courier service in a test, and the courier service that uses it.

use std::net::SocketAddr;

use clap::Parser;
use sqlx::{PgConnection, PgPool, postgres::PgConnectOptions};

use crate::{Servers, Service, TestEnvironment, environment::count};

/// A migrated database of the courier service that no other test uses.
#[derive(Debug, Clone)]
pub struct CourierDatabase {
    /// The URL for the service's own user.
    pub url: String,
    /// A pool of the service's own user.
    pub pool: PgPool,
    administrator: PgConnectOptions,
    name: String,
}

#[derive(Parser)]
struct CourierFlags {
    #[command(flatten)]
    couriers: couriers::Config,
}

impl CourierDatabase {
    /// Creates a database without a test environment, for tests that need no Kafka.
    pub async fn new(servers: &Servers) -> Self {
        Self::named(servers, &format!("t{:08x}", rand::random::<u32>())).await
    }

    async fn named(servers: &Servers, env: &str) -> Self {
        let name = format!("{env}_couriers");
        let host = servers.postgres_host();
        let url = format!("postgres://{env}_user:secret@{host}/{name}?sslmode=disable");
        let administrator: PgConnectOptions =
            servers.postgres.parse().expect("the address is valid");
        let config = parse(["--couriers-database-url".to_owned(), url.clone()]);
        couriers::migrate(&config.own.database, &config.postgres, Some(&administrator))
            .await
            .expect("the database is created");
        let pool = PgPool::connect_lazy(&url).expect("the address is valid");
        Self { url, pool, administrator, name }
    }

    /// Returns the result of `SELECT count(*) FROM {from}`.
    pub async fn count(&self, from: &str) -> i64 {
        count(&self.pool, from).await
    }

    /// Connects as an administrator, who has rights that the service does not have.
    pub async fn administrator(&self) -> PgConnection {
        use sqlx::ConnectOptions as _;
        let options = self.administrator.clone().database(&self.name);
        options.connect().await.expect("the administrator may log in")
    }
}

impl TestEnvironment {
    /// Creates the courier service's database of this environment. Call it once.
    pub async fn courier_database(&self) -> CourierDatabase {
        CourierDatabase::named(&self.servers, &self.name).await
    }

    /// Starts the order service and the courier service, each with the address at which browsers
    /// reach the other.
    pub async fn start_both(&self, database: &CourierDatabase) -> (Service, Service) {
        // Each service needs the address of the other one before it starts.
        let orders = free_address();
        let couriers =
            self.start_couriers(database, &["--orders-url", &format!("http://{orders}")]).await;
        let orders = self.start_at(orders, &["--couriers-url", &couriers.url]).await;
        (orders, couriers)
    }

    /// Returns the flags of `waybill couriers` for this environment.
    #[must_use]
    pub fn courier_flags(&self, database: &CourierDatabase) -> Vec<String> {
        [
            ("--kafka-brokers", self.servers.kafka.clone()),
            ("--kafka-group-id", self.group.clone()),
            ("--kafka-status-topic", self.status_topic()),
            ("--kafka-deliveries-topic", self.deliveries_topic()),
            ("--couriers-database-url", database.url.clone()),
            ("--couriers-http-addr", "127.0.0.1:0".to_owned()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }

    /// Starts the courier service in this process, and waits until it is ready.
    pub async fn start_couriers(&self, database: &CourierDatabase, more: &[&str]) -> Service {
        self.start_couriers_at(SocketAddr::from(([127, 0, 0, 1], 0)), database, more).await
    }

    /// Starts the courier service at an address, for example the address of a stopped service.
    pub async fn start_couriers_at(
        &self,
        address: SocketAddr,
        database: &CourierDatabase,
        more: &[&str],
    ) -> Service {
        let more = more.iter().map(|flag| (*flag).to_owned());
        let config = parse(self.courier_flags(database).into_iter().chain(more));
        Service::start(address, |listener, shutdown| {
            tokio::spawn(couriers::run(config, listener, shutdown))
        })
        .await
    }

    /// Returns the number of status events that the courier service has not committed yet.
    pub async fn couriers_lag(&self) -> i64 {
        self.lag_of(self.status_topic(), "couriers").await
    }

    /// Waits until the courier service has committed every status event.
    pub async fn wait_until_couriers_drained(&self) {
        crate::wait_until("the offsets of all events to be committed", async || {
            self.couriers_lag().await == 0
        })
        .await;
    }
}

/// Returns an address on which nothing listens at this moment.
fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it listens")
}

fn parse(flags: impl IntoIterator<Item = String>) -> couriers::Config {
    let flags = std::iter::once("waybill".to_owned()).chain(flags);
    CourierFlags::try_parse_from(flags).expect("the flags are valid").couriers
}
