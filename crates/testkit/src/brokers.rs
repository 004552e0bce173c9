//! A cluster of several brokers, in which an acknowledged record is on two of them.

use std::path::Path;

use anyhow::Result;
use futures_util::future::join_all;
use local::{Kafka, KafkaNode, KafkaOptions, new_cluster_id};

use crate::free_port;

const REPLICATION: &str = "
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
broker.session.timeout.ms=6000
";

/// Starts `count` brokers, at least three, with their data in `folder`.
pub async fn start_brokers(count: usize, folder: &Path) -> Result<Vec<Kafka>> {
    let cluster_id = new_cluster_id();
    let controllers = (0..count).map(|_| free_port()).collect::<Result<Vec<u16>>>()?;
    let voters: Vec<String> =
        (1..).zip(&controllers).map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
    let starting = (1..).zip(&controllers).map(|(id, controller)| {
        let settings = format!(
            "\nnode.id={id}\ncontroller.quorum.voters={}\n\
             listeners=BROKER://127.0.0.1:@PORT@,CONTROLLER://127.0.0.1:{controller}\n\
             {REPLICATION}",
            voters.join(",")
        );
        let node = KafkaNode { cluster_id: cluster_id.clone(), settings };
        let options = KafkaOptions { data_dir: folder.join(format!("kafka-{id}")), port: 0 };
        async move { Kafka::start_node(&options, &node, &|_| {}).await }
    });
    join_all(starting).await.into_iter().collect()
}

/// Returns the addresses of all brokers, for a client.
#[must_use]
pub fn broker_addresses(brokers: &[Kafka]) -> String {
    let addresses: Vec<String> = brokers.iter().map(Kafka::brokers).collect();
    addresses.join(",")
}
