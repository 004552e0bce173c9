//! The banner of `waybill up`, which lists the addresses of the services and the servers.

use local::{Kafka, LocalServers};

use super::{Addresses, UpArgs, config::GivenDatabases};

pub(super) fn text(
    servers: &LocalServers,
    args: &UpArgs,
    given: GivenDatabases,
    addresses: &Addresses,
) -> String {
    let Addresses { orders, couriers } = addresses;
    let mut lines = vec![
        String::new(),
        "  Waybill is up.".to_owned(),
        String::new(),
        format!("  orders      {orders}"),
        format!("  couriers    {couriers}"),
        format!("  API         {orders}/docs  {couriers}/docs"),
        format!("  metrics     {orders}/metrics  {couriers}/metrics"),
    ];
    if let Some(postgres) = &servers.postgres {
        let databases = [(given.orders, "waybill_orders"), (given.couriers, "waybill_couriers")];
        for (_, database) in databases.into_iter().filter(|(given, _)| !given) {
            let url = postgres.url().replace("/postgres", &format!("/{database}"));
            lines.push(format!("  PostgreSQL  psql {url}"));
        }
    }
    let brokers = servers
        .kafka
        .as_ref()
        .map_or_else(|| args.orders.kafka.brokers().to_owned(), Kafka::brokers);
    lines.push(format!("  Kafka       kcat -b {brokers} -t {}", args.orders.topics.orders()));
    lines.push(format!("  data        {}", args.data_dir.display()));
    lines.push(String::new());
    lines.push(match args.rate {
        0 => "  No orders are sent: start again with --rate 5 for some. Ctrl-C stops everything."
            .to_owned(),
        rate => format!("  {rate} orders a second are sent. Ctrl-C stops everything."),
    });
    lines.push(String::new());
    lines.join("\n")
}
