//! Measures the cost of several replicas and of several brokers: the CPU time of the whole machine
//! for each order of a backlog. Rates would say nothing, because all of them share the same cores.

use std::path::Path;

use testkit::{Servers, TestEnvironment, broker_addresses, start_brokers};

use crate::{
    Cli, backlog,
    child::{self, Folder},
    database,
    figure::{Figure, Round, Target},
    process, progress,
};

/// The number of brokers of the cluster; an acknowledged record is on two of them.
const BROKERS: usize = 3;

pub(crate) async fn measure(cli: &Cli, servers: &Servers) -> anyhow::Result<[Figure; 2]> {
    let binary = child::binary(cli.waybill.as_ref()).await?;
    let orders = cli.orders.unwrap_or(200_000);
    let folder = Folder::new()?;
    let mut brokers = start_brokers(BROKERS, &folder.0).await?;
    let cluster = Servers { kafka: broker_addresses(&brokers), ..servers.clone() };
    let (mut of_replicas, mut of_brokers) = (Vec::new(), Vec::new());
    for number in 1..=cli.rounds {
        let baseline = take(&binary, servers, orders, 1).await?;
        let two_replicas = take(&binary, servers, orders, 2).await?;
        let three_brokers = take(&binary, &cluster, orders, 1).await?;
        progress(&format!(
            "cluster, round {number} of {}: {baseline:.1} µs per order, with two replicas \
             {two_replicas:.1} µs, with {BROKERS} brokers {three_brokers:.1} µs",
            cli.rounds
        ));
        of_replicas.push(Round { waybill: two_replicas, baseline });
        of_brokers.push(Round { waybill: three_brokers, baseline });
    }
    for broker in &mut brokers {
        broker.stop().await?;
    }
    Ok([
        Figure::of_ratios(
            "two-replicas",
            format!(
                "CPU time of the machine per order, {orders} orders by two replicas; baseline: by one"
            ),
            "µs",
            Target::AtMost { must: 1.2, aim: 1.1 },
            &of_replicas,
        ),
        Figure::of_ratios(
            "three-brokers",
            format!("the same by one replica, with {BROKERS} brokers; baseline: with one broker"),
            "µs",
            Target::AtMost { must: 3.0, aim: 2.0 },
            &of_brokers,
        ),
    ])
}

/// Returns the microseconds of CPU time of the machine for each order, from the start of the replicas
/// until every offset is committed and the service's own events are read.
async fn take(
    binary: &Path,
    servers: &Servers,
    orders: u64,
    replicas: usize,
) -> anyhow::Result<f64> {
    let env = TestEnvironment::new(servers).await;
    backlog::fill(&env, 0..orders, None).await?;
    let before = process::cpu_time_of_machine()?;
    let mut services = Vec::with_capacity(replicas);
    for _ in 0..replicas {
        services.push(child::waybill(binary, &env, &[], None).await?);
    }
    env.wait_until_drained().await;
    env.wait_until_status_drained().await;
    let took = process::cpu_time_of_machine()? - before;
    for service in services {
        service.stop().await?;
    }
    database::drop_all(&env, &[]).await?;
    Ok(took.as_secs_f64() * 1e6 / orders as f64)
}
