//! The command `waybill load`: waits for Kafka, runs the generator and prints the summary.

use std::process::ExitCode;

use chassis::{kafka::config::KafkaConfig, process::shutdown};
use clap::Args;
use orders::TopicConfig;

use super::args::LoadArgs;
use crate::{output, serve::SHUTDOWN_TIMEOUT};

#[derive(Args)]
pub(crate) struct LoadCommand {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    kafka: KafkaConfig,
    #[command(flatten)]
    topics: TopicConfig,
}

pub(crate) async fn run(command: LoadCommand) -> anyhow::Result<ExitCode> {
    let LoadCommand { load, kafka, topics } = command;
    let shutdown = shutdown::on_signals(SHUTDOWN_TIMEOUT)?;
    let reaching = kafka.reach_topic(topics.orders());
    let Some(reached) = shutdown.run_until_cancelled(reaching).await else {
        return Ok(ExitCode::SUCCESS);
    };
    reached?;
    let summary = super::run(&load, &kafka, &topics, shutdown).await?;
    let json = serde_json::to_string(&summary).expect("a summary has string keys");
    output::print(&if load.json { json } else { summary.to_string() });
    Ok(ExitCode::from(summary.exit_code()))
}
