//! Starts both programs on free ports below a folder and holds them until it is killed.
//!
//! `cargo run -p local --example stand -- FOLDER` is for trying the stand by hand, and the tests
//! use it as a parent to kill.

use std::io::{self, Write};

use anyhow::{Context, Result};
use local::{LocalServers, LocalServersOptions};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::args().nth(1).context("the first argument is a folder")?;
    let options = LocalServersOptions {
        data_dir: folder.into(),
        postgres_port: Some(0),
        kafka_port: Some(0),
    };
    let tell = |line: &str| {
        // Nobody may be listening.
        let _ = writeln!(io::stderr(), "{line}");
    };
    let mut servers = LocalServers::start(&options, &tell).await?;
    if let (Some(postgres), Some(kafka)) = (&servers.postgres, &servers.kafka) {
        writeln!(io::stdout(), "{} {}", postgres.url(), kafka.brokers())?;
    }
    tokio::select! {
        told = servers.died() => Err(told),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            servers.stop().await
        }
    }
}
