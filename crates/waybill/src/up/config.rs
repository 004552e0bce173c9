//! The configuration of both services, from the arguments of `up` and from the local servers.

use anyhow::Context;
use chassis::process::exit::ExitReason;
use local::LocalServers;
use sqlx::postgres::PgConnectOptions;

use super::{Addresses, UpArgs};

/// Tells for each service whether the user gives its database; else the local PostgreSQL has it.
#[derive(Clone, Copy)]
pub(super) struct GivenDatabases {
    pub(super) orders: bool,
    pub(super) couriers: bool,
}

impl GivenDatabases {
    /// Checks all given addresses, so that a wrong one is an error before anything is started.
    pub(super) fn check(args: &UpArgs) -> anyhow::Result<Self> {
        let (orders, couriers) = (&args.orders.database, &args.deliveries.database);
        let given =
            Self { orders: orders.is_given(), couriers: couriers.is_given(&orders.postgres) };
        if given.orders {
            orders.options()?;
        }
        if given.couriers {
            couriers.options(&orders.postgres)?;
        }
        args.administrator.options()?;
        Ok(given)
    }
}

/// The administrator's address of each service's database, if there is one.
pub(super) struct Administrators {
    pub(super) orders: Option<PgConnectOptions>,
    pub(super) couriers: Option<PgConnectOptions>,
}

/// Puts the addresses of the local servers into `args`. The superuser of the local PostgreSQL is the
/// administrator of the databases in it.
pub(super) fn use_local_servers(
    args: &mut UpArgs,
    servers: &LocalServers,
    given: GivenDatabases,
) -> anyhow::Result<Administrators> {
    let administrator = args.administrator.options().context(ExitReason::Configuration)?;
    let mut administrators =
        Administrators { orders: administrator.clone(), couriers: administrator };
    if let Some(postgres) = &servers.postgres {
        let superuser: PgConnectOptions =
            postgres.url().parse().context("the local PostgreSQL's address")?;
        // The server listens on loopback only and trusts it: the password protects nothing.
        let url = |name| format!("postgres://{name}:waybill@127.0.0.1:{}/{name}", postgres.port());
        if !given.orders {
            args.orders.database.orders_database_url = Some(url("waybill_orders"));
            administrators.orders = Some(superuser.clone());
        }
        if !given.couriers {
            args.deliveries.database.couriers_database_url = Some(url("waybill_couriers"));
            administrators.couriers = Some(superuser);
        }
    }
    if let Some(kafka) = &servers.kafka {
        args.orders.kafka = args.orders.kafka.clone().with_brokers(kafka.brokers());
    }
    Ok(administrators)
}

/// Builds the courier service's configuration; what both services share is in the order service's.
pub(super) fn couriers_config(
    args: &mut UpArgs,
    addresses: &Addresses,
) -> anyhow::Result<couriers::Config> {
    let orders_url = match args.orders_url.take() {
        Some(given) => given,
        None => addresses.orders.parse().context("the order service's address")?,
    };
    let orders = &args.orders;
    Ok(couriers::Config {
        kafka: orders.kafka.clone(),
        topics: couriers::TopicConfig::named(orders.topics.kafka_status_topic.clone()),
        postgres: orders.database.postgres.clone(),
        batch: orders.batch,
        lanes: orders.lanes,
        http_connections: orders.http_connections,
        orders_url,
        own: args.deliveries.clone(),
    })
}
