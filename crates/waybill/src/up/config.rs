//! The configuration of both services, from the arguments of `up` and from the local servers.

use local::LocalServers;
use url::Url;

use super::UpArgs;

/// For each service: true if the user gives its database, false if the local PostgreSQL has it.
#[derive(Clone, Copy)]
pub(super) struct GivenDatabases {
    pub(super) orders: bool,
    pub(super) couriers: bool,
}

impl GivenDatabases {
    /// Checks the settings of all given servers, so that a wrong one is an error before anything is
    /// started. Settings of a server that `up` starts itself are not used, and not checked.
    pub(super) fn check(args: &UpArgs) -> anyhow::Result<Self> {
        let (orders, couriers) = (&args.orders.database, &args.deliveries.database);
        let given =
            Self { orders: orders.is_given(), couriers: couriers.is_given(&orders.postgres) };
        if given.orders {
            orders.address()?.warn();
        }
        if given.couriers {
            couriers.address(&orders.postgres)?.warn();
        }
        if let Some(administrator) = args.administrator.address()? {
            administrator.warn();
        }
        if args.orders.kafka.is_given() {
            args.orders.kafka.check()?;
            args.orders.kafka.warn();
        }
        args.orders.cache.check()?;
        Ok(given)
    }
}

/// Puts the addresses of the local servers into `args`.
pub(super) fn use_local_servers(args: &mut UpArgs, servers: &LocalServers, given: GivenDatabases) {
    if let Some(postgres) = &servers.postgres {
        // The local server accepts any password: it listens on loopback only, and trusts it.
        let url = |name| format!("postgres://{name}:waybill@127.0.0.1:{}/{name}", postgres.port());
        if !given.orders {
            args.orders.database.local = Some(url("waybill_orders"));
        }
        if !given.couriers {
            args.deliveries.database.local = Some(url("waybill_couriers"));
        }
    }
    if let Some(kafka) = &servers.kafka {
        let settings = args.orders.kafka.clone().without_security();
        // The local Kafka has no other members: a restarted `up` gets its partitions back at once,
        // also after it was killed.
        args.orders.kafka = settings.with_brokers(kafka.brokers()).with_default_instance("up");
    }
}

/// Builds the courier service's configuration; what both services share is in the order service's.
pub(super) fn couriers_config(args: &UpArgs, orders_url: Url) -> couriers::Config {
    let orders = &args.orders;
    couriers::Config {
        kafka: orders.kafka.clone(),
        topics: couriers::TopicConfig::named(
            orders.topics.kafka_status_topic.clone(),
            orders.topics.kafka_deliveries_topic.clone(),
        ),
        postgres: orders.database.postgres.clone(),
        batch: orders.batch,
        lanes: orders.lanes,
        http: orders.http.clone(),
        orders_url,
        couriers_url: orders.couriers_url.clone(),
        own: args.deliveries.clone(),
    }
}
