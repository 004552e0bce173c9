//! The brokers of a system: one behind a proxy, or a cluster of three.

use std::path::Path;

use anyhow::{Context, Result};
use local::{Kafka, KafkaNode, KafkaOptions, new_cluster_id};

use super::loopback;
use crate::{
    port::free_port,
    proxy::{Protocol, Proxy},
};

/// Settings of a cluster in which an acknowledged record is on two brokers.
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

/// The brokers, the first of which is the only one in a system with a proxy.
#[derive(Debug)]
pub struct Brokers {
    pub(crate) nodes: Vec<Kafka>,
    proxied_port: u16,
}

impl Brokers {
    /// Starts `count` brokers. A single one gets a second listener, whose clients learn the address
    /// of the proxy.
    pub(crate) async fn start(count: usize, folder: &Path) -> Result<(Self, Option<Proxy>)> {
        if count == 1 {
            let listener = free_port()?;
            let proxy = Proxy::start(Protocol::Kafka, loopback(listener)).await?;
            let proxied_port = proxy.port();
            let settings = format!(
                "\nlisteners=BROKER://127.0.0.1:@PORT@,PROXIED://127.0.0.1:{listener},\
                 CONTROLLER://127.0.0.1:@CONTROLLER_PORT@\n\
                 advertised.listeners=BROKER://127.0.0.1:@PORT@,PROXIED://127.0.0.1:{proxied_port}\n\
                 listener.security.protocol.map=BROKER:PLAINTEXT,PROXIED:PLAINTEXT,\
                 CONTROLLER:PLAINTEXT\n"
            );
            let node = KafkaNode { cluster_id: new_cluster_id(), settings };
            let options = KafkaOptions { data_dir: folder.join("kafka"), port: 0 };
            let kafka = Kafka::start_node(&options, &node, &|_| {}).await?;
            return Ok((Self { nodes: vec![kafka], proxied_port }, Some(proxy)));
        }
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
        let nodes = futures_util::future::join_all(starting).await;
        let nodes = nodes.into_iter().collect::<Result<Vec<_>>>()?;
        Ok((Self { nodes, proxied_port: 0 }, None))
    }

    /// The addresses for clients that do not use the proxy.
    pub(crate) fn addresses(&self) -> String {
        let addresses: Vec<String> = self.nodes.iter().map(Kafka::brokers).collect();
        addresses.join(",")
    }

    /// The address of the proxy.
    pub(crate) fn proxied_address(&self) -> String {
        format!("127.0.0.1:{}", self.proxied_port)
    }

    /// The only broker of a system with a proxy.
    pub(crate) fn only(&mut self) -> Result<&mut Kafka> {
        self.nodes.first_mut().context("a system has a broker")
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.stop().await?;
        }
        Ok(())
    }
}
