//! The brokers of a system: one behind a proxy, or a cluster of three.

use std::path::Path;

use anyhow::{Context, Result};
use local::{Kafka, KafkaNode, KafkaOptions, new_cluster_id};
use testkit::{broker_addresses, free_port, start_brokers};

use super::loopback;
use crate::proxy::{Protocol, Proxy};

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
        let nodes = start_brokers(count, folder).await?;
        Ok((Self { nodes, proxied_port: 0 }, None))
    }

    /// The addresses for clients that do not use the proxy.
    pub(crate) fn addresses(&self) -> String {
        broker_addresses(&self.nodes)
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
