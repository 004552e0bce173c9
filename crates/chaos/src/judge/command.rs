//! `chaos judge`: judges a run that has ended.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;

use super::{Case, judge};

/// Compare everything that a run has left behind with what was sent.
///
/// Prints one table: each check with its invariant, what it compared, and the findings.
/// Exit codes: 0 nothing was found, 1 something was found, 2 the run cannot be judged.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file that describes the run.
    #[arg(value_name = "CASE.JSON")]
    case: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(&args.case)
        .with_context(|| format!("reading {}", args.case.display()))?;
    let case: Case = serde_json::from_str(&text).context("reading the description of the run")?;
    let verdict = judge(&case).await?;
    let text = if args.json { serde_json::to_string_pretty(&verdict)? } else { verdict.table() };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(if verdict.findings() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
