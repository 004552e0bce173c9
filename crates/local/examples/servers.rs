//! Starts both servers on free ports with their data in a folder, and runs until it is killed.
//!
//! `cargo run -p local --example servers -- FOLDER` starts them manually; the tests kill this
//! program to check that its servers end too.

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
    let show = |line: &str| {
        // The reader of standard error may have ended.
        let _ = writeln!(io::stderr(), "{line}");
    };
    let mut servers = LocalServers::start(&options, &show).await?;
    if let (Some(postgres), Some(kafka)) = (&servers.postgres, &servers.kafka) {
        writeln!(io::stdout(), "{} {}", postgres.url(), kafka.brokers())?;
    }
    tokio::select! {
        error = servers.died() => Err(error),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            servers.stop().await
        }
    }
}
