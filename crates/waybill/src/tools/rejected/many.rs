//! The replay of all records of a filter. The service replays a bounded number of records in a call; this
//! tool repeats the call once a second until no record is left. The results are on standard output,
//! the progress and the summary on standard error.

use std::{fmt, process::ExitCode, time::Duration};

use anyhow::Context;
use chassis::process::number::within;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep_until},
};

use super::{RejectedClient, call, describe::line, filter::FilterArgs};
use crate::{escape, output};

/// The interval between the beginnings of two calls. The rate is the number of records in a call.
const INTERVAL: Duration = Duration::from_secs(1);
const DEFAULT_RATE: u32 = 20;
/// The records that a dry run shows.
const PREVIEWED: &str = "10";
/// The limit on a call. The service waits for Kafka, and then until it has read the records.
const CALL_TIMEOUT: Duration = Duration::from_secs(40);

#[derive(Args)]
pub(super) struct ManyArgs {
    /// Send all records of the filter again: without a filter, all that are left to do.
    #[arg(long, conflicts_with = "id")]
    all: bool,
    #[command(flatten)]
    filter: FilterArgs,
    /// With --all: maximum number of records sent in a second, from 1 to 100; 20 if not given.
    #[arg(long, value_name = "N", value_parser = within::<u32>(1..=100))]
    rate: Option<u32>,
    /// With --all: only count the records, and show the first ones.
    #[arg(long)]
    dry_run: bool,
}

/// The number of records with each result.
#[derive(Debug, Default)]
struct Summary {
    accepted: u64,
    rejected: u64,
    sent: u64,
    not_sent: u64,
}

/// The end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Stopped,
}

impl ManyArgs {
    /// Returns true if an option of --all is given without it. clap cannot require --all for them,
    /// because it does not require what conflicts with the id.
    pub(super) fn is_misplaced(&self) -> bool {
        let is_used = self.rate.is_some() || self.dry_run || !self.filter.is_empty();
        is_used && !self.all
    }

    pub(super) async fn run(&self, service: &RejectedClient<'_>) -> anyhow::Result<ExitCode> {
        let counted = self.filter.address(service.base, "rejected/count")?;
        let counted = call(service.client.get(counted)).await?;
        let (count, is_exact) = (counted["count"].as_u64(), counted["exact"] == true);
        let count = count.context("the answer has no count; is this a service of this version?")?;
        if self.dry_run {
            return self.preview(service, count, is_exact).await;
        }
        let bar =
            ProgressBar::with_draw_target(is_exact.then_some(count), ProgressDrawTarget::stderr());
        let template = if is_exact {
            "{bar:30} {human_pos} of {human_len} replayed, {eta} left {msg}"
        } else {
            "{spinner} {human_pos} replayed, {elapsed} {msg}"
        };
        bar.set_style(ProgressStyle::with_template(template).expect("both are well-formed"));
        let mut summary = Summary::default();
        let end = self.replay(service, &bar, &mut summary).await;
        bar.finish_and_clear();
        // Also after an error: the records that were sent are known.
        output::print_error(&format!("{summary}{}", end.as_ref().map_or("; failed", End::words)));
        let is_complete = end? == End::Complete;
        Ok(if is_complete && summary.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn preview(
        &self,
        service: &RejectedClient<'_>,
        count: u64,
        is_exact: bool,
    ) -> anyhow::Result<ExitCode> {
        let mut first = self.filter.address(service.base, "rejected")?;
        first.query_pairs_mut().append_pair("limit", PREVIEWED);
        let first = call(service.client.get(first)).await?;
        let items = first["items"].as_array().context("the answer has no items")?;
        for item in items {
            service.print(item, line)?;
        }
        let at_least = if is_exact { "" } else { "at least " };
        let shown = items.len();
        output::print_error(&format!(
            "{at_least}{count} records match, of which {shown} are shown; nothing was sent (--dry-run)"
        ));
        Ok(ExitCode::SUCCESS)
    }

    async fn replay(
        &self,
        service: &RejectedClient<'_>,
        bar: &ProgressBar,
        summary: &mut Summary,
    ) -> anyhow::Result<End> {
        let mut interrupts = signal(SignalKind::interrupt()).context("watching for Ctrl-C")?;
        let mut after: Option<String> = None;
        loop {
            let next_call = Instant::now() + INTERVAL;
            let mut url = self.filter.address(service.base, "rejected/replay")?;
            url.query_pairs_mut()
                .append_pair("limit", &self.rate.unwrap_or(DEFAULT_RATE).to_string())
                .extend_pairs(after.as_deref().map(|after| ("after", after)));
            let request = service.client.post(url).timeout(CALL_TIMEOUT);
            // The call is not dropped when it is interrupted: its results would be unknown.
            let (answer, is_stopped) = finish(call(request), bar, &mut interrupts).await?;
            let results = answer["results"].as_array();
            let results = results.context("the answer has no results; is this the service?")?;
            for result in results {
                summary.add(result);
                bar.suspend(|| service.print(result, describe_result))?;
            }
            bar.inc(results.len() as u64);
            after = answer["next"].as_str().map(str::to_owned);
            if after.is_none() {
                return Ok(End::Complete);
            }
            if is_stopped {
                return Ok(End::Stopped);
            }
            tokio::select! {
                () = sleep_until(next_call) => {}
                _ = interrupts.recv() => return Ok(End::Stopped),
            }
        }
    }
}

/// Waits for the answer to a call. Returns it, and true if the command was interrupted in the meantime. A
/// second interruption is an error.
async fn finish(
    call: impl Future<Output = anyhow::Result<Value>>,
    bar: &ProgressBar,
    interrupts: &mut Signal,
) -> anyhow::Result<(Value, bool)> {
    tokio::pin!(call);
    tokio::select! {
        answer = &mut call => return Ok((answer?, false)),
        _ = interrupts.recv() => bar.set_message("(stopping)"),
    }
    tokio::select! {
        answer = &mut call => Ok((answer?, true)),
        _ = interrupts.recv() => anyhow::bail!(
            "interrupted twice: the results of the last records are unknown; sending them again is \
             harmless"
        ),
    }
}

fn describe_result(result: &Value) -> String {
    let text = |name: &str| result[name].as_str().unwrap_or("?");
    let words = match text("result") {
        "accepted" => "accepted".to_owned(),
        "rejected" => format!("rejected again as {}", text("rejected_as")),
        "sent" => "sent, not read yet".to_owned(),
        _ => format!("not sent: {}", text("detail")),
    };
    escape::line(&format!("{:24}  {words}", text("id")))
}

impl Summary {
    fn add(&mut self, result: &Value) {
        match result["result"].as_str() {
            Some("accepted") => self.accepted += 1,
            Some("rejected") => self.rejected += 1,
            Some("sent") => self.sent += 1,
            _ => self.not_sent += 1,
        }
    }

    /// Returns true if no record needs attention.
    fn is_clean(&self) -> bool {
        self.rejected == 0 && self.not_sent == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, rejected, sent, not_sent } = self;
        write!(f, "{} replayed: {accepted} accepted", accepted + rejected + sent)?;
        write!(f, ", {rejected} rejected again, {sent} not read yet; {not_sent} not sent")
    }
}

impl End {
    fn words(&self) -> &'static str {
        match self {
            Self::Complete => "",
            Self::Stopped => "; stopped before the end, run the command again to continue",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_summary_counts_each_result() {
        let mut summary = Summary::default();
        summary.add(&json!({ "result": "accepted" }));
        summary.add(&json!({ "result": "sent" }));
        assert!(summary.is_clean());
        for result in ["rejected", "not_sent", "accepted"] {
            summary.add(&json!({ "result": result }));
        }
        let text = "4 replayed: 2 accepted, 1 rejected again, 1 not read yet; 1 not sent";
        assert_eq!((&*summary.to_string(), summary.is_clean()), (text, false));
    }
}
