//! The command `waybill load`: waits for Kafka, runs the generator and prints the summary.

use std::process::ExitCode;

use anyhow::Context;
use chassis::{
    kafka::config::KafkaConfig,
    process::{exit::ExitReason, shutdown},
};
use clap::Args;
use orders::TopicConfig;

use super::args::LoadArgs;
use crate::{
    output,
    serve::SHUTDOWN_TIMEOUT,
    usage::{SEE_LONG_HELP, hide},
};

const EXAMPLES: &str = "\
Examples:
  waybill load
      1,000 new orders, 100 a second
  waybill load --rate 0 --count 500000
      a backlog, as fast as Kafka accepts it
  waybill load --rate 5 --count 0 --start now
      five orders a second until Ctrl-C, dated now
  waybill load --duplicates 0.1 --changed 0.1 --invalid 0.05 --unparsable 0.05
      one record in ten repeats an order, one in ten changes an order, and one
      in ten is rejected
  waybill load --couriers 50 --walk 2 --cancels 0.1
      with couriers, and with a new status of each order every two seconds on
      average; one order in ten is cancelled
  waybill load --seed 7 --count 100
      the same 100 records in every run
  jq -c '.[]' orders.json | waybill load --file -
      your own records, one JSON text in each line
  waybill load --json | jq .acknowledged
      the summary for a program

Exit codes: 0 all records are acknowledged, or Ctrl-C stopped the run and none
had failed, 1 a record or a status was not acknowledged, or a line was skipped,
2 wrong command line, 69 Kafka or the courier service did not answer for 10
seconds, 78 wrong configuration or credentials, or a missing topic.";

/// Send generated orders, or your own records, to Kafka.
///
/// Generated orders look real: their sums add up, and their customers, cities and prices match. On
/// request, some records are duplicates, changed orders or invalid; the generator registers couriers;
/// and it simulates the services that confirm, cook and deliver the orders.
///
/// The summary goes to standard output, progress and warnings to standard error. Ctrl-C ends the run:
/// it waits for acknowledgements for up to 3 seconds and prints the summary. docs/load.md has more.
#[derive(Args)]
#[command(
    after_help = SEE_LONG_HELP,
    after_long_help = EXAMPLES,
    mut_args(|option| hide(option, &UNUSED))
)]
pub(crate) struct LoadCommand {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    kafka: KafkaConfig,
    #[command(flatten)]
    topics: TopicConfig,
}

/// Options of the services that the generator does not read.
const UNUSED: [&str; 3] = ["kafka_create_topics", "kafka_instance_id", "kafka_deliveries_topic"];

pub(crate) async fn run(command: LoadCommand) -> anyhow::Result<ExitCode> {
    let LoadCommand { load, kafka, topics } = command;
    kafka.check().context(ExitReason::Configuration)?;
    kafka.warn();
    // Without --walk, the status topic is not used.
    if load.walk.is_some() {
        topics.check().context(ExitReason::Configuration)?;
    }
    let shutdown = shutdown::on_signals(SHUTDOWN_TIMEOUT)?;
    // A missing topic is an error and is not created: a typing error in its name must not look like
    // success.
    let reaching = kafka.reach_topic(topics.orders());
    let Some(reached) = shutdown.run_until_cancelled(reaching).await else {
        return Ok(ExitCode::SUCCESS);
    };
    reached?;
    let summary = super::run(&load, &kafka, &topics, shutdown).await?;
    if load.json {
        output::print_json(&serde_json::to_string(&summary).expect("a summary has string keys"))?;
    } else {
        output::print(&summary.to_string())?;
    }
    Ok(ExitCode::from(summary.exit_code()))
}
