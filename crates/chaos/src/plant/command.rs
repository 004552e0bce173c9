//! `chaos plant`: plants bugs and prints which check finds each of them.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use testkit::OwnServers;

use super::{plant_all, program::built_program};

/// Plant bugs and show which check of the judge finds each of them.
///
/// Starts its own PostgreSQL and Kafka, which end with it.
/// Exit codes: 0 every bug was found and a clean run has no finding, 1 otherwise.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The program, built with the feature `failpoints` [default: the one next to this program].
    #[arg(long, value_name = "FILE")]
    waybill: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let waybill = match args.waybill {
        Some(waybill) => waybill,
        None => built_program()?,
    };
    let servers = OwnServers::start().await;
    let outcome = plant_all(&servers.servers(), &waybill).await;
    servers.stop().await;
    let outcome = outcome?;
    let text = if args.json { serde_json::to_string_pretty(&outcome)? } else { outcome.table() };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(if outcome.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
