//! `waybill probe`: requests an address, and succeeds if the status of the answer is 2xx. It is for
//! the health checks of containers, whose image contains no other HTTP client.

use std::time::Duration;

use chassis::http::web_address;
use clap::Args;
use url::Url;

use crate::{http::HttpOptions, usage::SEE_LONG_HELP};

/// Bounds the request: a healthy service answers in milliseconds.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

const EXAMPLES: &str = "\
Examples:
  waybill probe http://127.0.0.1:8081/readyz
      succeeds if the service is ready for requests
  waybill probe http://127.0.0.1:8081/livez
      succeeds if the process answers
  healthcheck: { test: [CMD, waybill, probe, \"http://127.0.0.1:8081/readyz\"] }
      in compose.yaml

Exit codes: 0 the status of the answer is 2xx, 1 it is another status, or there
was no answer within 3 seconds, 2 wrong command line.";

/// Check the health of a service over HTTP.
///
/// The command is for health checks of containers. It sends one GET request and waits for the answer
/// for 3 seconds. It prints nothing if the status is 2xx; otherwise it prints the reason on standard
/// error and exits with 1. It follows redirects on the same server, and uses no proxy.
#[derive(Args)]
#[command(after_help = SEE_LONG_HELP, after_long_help = EXAMPLES)]
pub(crate) struct ProbeArgs {
    /// URL to request, such as http://127.0.0.1:8081/readyz.
    #[arg(value_parser = web_address)]
    url: Url,
    #[command(flatten)]
    http: HttpOptions,
}

pub(crate) async fn run(args: ProbeArgs) -> anyhow::Result<()> {
    let client = args.http.builder(&[&args.url])?.timeout(PROBE_TIMEOUT).build()?;
    let status = client.get(args.url).send().await?.error_for_status()?.status();
    anyhow::ensure!(status.is_success(), "the answer has the status {status}");
    Ok(())
}
