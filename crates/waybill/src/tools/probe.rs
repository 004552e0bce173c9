//! `waybill probe`: asks a service how it is, for the health checks of containers, whose image has
//! no program for that.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use url::Url;

use crate::fail;

/// A service that is well answers in milliseconds; whoever asks has a time-out of his own.
const PATIENCE: Duration = Duration::from_secs(3);

const EXAMPLES: &str = "\
Examples:
  waybill probe http://127.0.0.1:8081/readyz     may requests be sent there?
  waybill probe http://127.0.0.1:8081/livez      does it answer at all?";

/// Silent, and 0, if the answer is a success; otherwise 1 and a sentence.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ProbeArgs {
    /// What to ask for.
    url: Url,
}

pub(crate) async fn run(args: ProbeArgs) -> ExitCode {
    match ask(args.url).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn ask(url: Url) -> anyhow::Result<()> {
    // What is asked is on this machine: no proxy is on the way.
    let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
    client.get(url).send().await?.error_for_status()?;
    Ok(())
}
