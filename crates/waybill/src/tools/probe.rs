//! `waybill probe`: requests an address and succeeds if the answer is a success. It is for the
//! health checks of containers, whose image has no other HTTP client.

use std::time::Duration;

use clap::Args;
use url::Url;

/// Bounds the request: a healthy service answers in milliseconds.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

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

pub(crate) async fn run(args: ProbeArgs) -> anyhow::Result<()> {
    // The service is on this machine, so no proxy is used.
    let client = reqwest::Client::builder().timeout(PROBE_TIMEOUT).no_proxy().build()?;
    client.get(args.url).send().await?.error_for_status()?;
    Ok(())
}
