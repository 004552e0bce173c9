//! `waybill rejected`: the HTTP calls of a service about its rejected records, as commands for a
//! terminal and for pipes.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context;
use chassis::process::exit::ExitReason;
use clap::{Args, Subcommand, error::ErrorKind};
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use url::Url;

use crate::{http, output};

/// The most records that the service returns in one page.
const MAX_PAGE: usize = 500;

const EXAMPLES: &str = "\
Examples:
  waybill rejected list --reason negative
  waybill rejected show orders:3:18204
  waybill rejected show orders:3:18204 --json | jq -r .value > fixed.json
  waybill rejected replay orders:3:18204 --file fixed.json
  waybill rejected list --json | jq -r .id | xargs -n1 waybill rejected replay
  waybill rejected list --orders-url http://127.0.0.1:8082
                                     the courier service's: records that are no status events";

/// Records that could not become orders: kept as they came, explained, and sent again when asked.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RejectedArgs {
    /// Where the order service answers. The courier service keeps the records that it rejected, and
    /// answers the same calls: given its address, these are they.
    #[arg(
        long,
        env = "ORDERS_URL",
        default_value = "http://127.0.0.1:8081",
        value_name = "URL",
        global = true
    )]
    orders_url: Url,
    /// Give JSON: one object a line.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: RejectedCommand,
}

#[derive(Subcommand)]
enum RejectedCommand {
    /// List them, newest first.
    List {
        /// Only those of this reason (docs/validation.md lists them).
        #[arg(long, value_name = "CODE")]
        reason: Option<String>,
        /// At most so many; 0 is all.
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
    },
    /// Show one: everything that is wrong with it, and its bytes.
    Show {
        /// topic:partition:offset
        id: String,
    },
    /// Send one to the orders topic again.
    Replay {
        /// topic:partition:offset
        id: String,
        /// Send this file's bytes instead of the record's; `-` is standard input.
        #[arg(long, value_name = "PATH")]
        file: Option<PathBuf>,
    },
}

pub(crate) async fn run(args: RejectedArgs) -> anyhow::Result<()> {
    let service =
        RejectedClient { client: http::client()?, base: &args.orders_url, json: args.json };
    let outcome = match &args.command {
        RejectedCommand::List { reason, limit } => service.list(reason.as_deref(), *limit).await,
        RejectedCommand::Show { id } => service.show(id).await,
        RejectedCommand::Replay { id, file } => service.replay(id, file.as_deref()).await,
    };
    outcome.map_err(|error| {
        let unreachable = |error: &reqwest::Error| error.is_connect() || error.is_timeout();
        if !error.downcast_ref().is_some_and(unreachable) {
            return error;
        }
        error.context(ExitReason::Unreachable(format!(
            "nobody answers at {}; start that service, or give another --orders-url",
            args.orders_url
        )))
    })
}

/// The service that keeps the records, and the form of the output.
struct RejectedClient<'a> {
    client: Client,
    base: &'a Url,
    json: bool,
}

impl RejectedClient<'_> {
    async fn list(&self, reason: Option<&str>, limit: usize) -> anyhow::Result<()> {
        let mut left = if limit == 0 { usize::MAX } else { limit };
        let mut after: Option<String> = None;
        while left > 0 {
            let mut page = self.base.join("rejected")?;
            page.query_pairs_mut()
                .append_pair("limit", &left.min(MAX_PAGE).to_string())
                .extend_pairs(reason.map(|reason| ("reason", reason)))
                .extend_pairs(after.as_deref().map(|after| ("after", after)));
            let answer = call(self.client.get(page)).await?;
            let items = answer["items"].as_array().context("the answer has no items")?;
            for item in items {
                self.print(item, line);
            }
            left = left.saturating_sub(items.len());
            after = answer["next"].as_str().map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    async fn show(&self, id: &str) -> anyhow::Result<()> {
        let record = call(self.client.get(self.url(id, None)?)).await?;
        self.print(&record, describe);
        Ok(())
    }

    async fn replay(&self, id: &str, file: Option<&Path>) -> anyhow::Result<()> {
        let body = file.map(read_body).transpose()?.unwrap_or_default();
        // For the service, an empty body means the record as it came.
        if file.is_some() && body.is_empty() {
            let message = "--file is empty: without it the record is sent as it came\n";
            return Err(clap::Error::raw(ErrorKind::ValueValidation, message).into());
        }
        let url = self.url(id, Some("replay"))?;
        let answer = call(self.client.post(url).body(body)).await?;
        self.print(&answer, |_| format!("{id} is on its way again"));
        Ok(())
    }

    fn url(&self, id: &str, action: Option<&str>) -> anyhow::Result<Url> {
        let mut url = self.base.join("rejected")?;
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("--orders-url is not an address of HTTP"))?
            .push(id)
            .extend(action);
        Ok(url)
    }

    fn print(&self, answer: &Value, describe: impl Fn(&Value) -> String) {
        output::print(&if self.json { answer.to_string() } else { describe(answer) });
    }
}

/// Reads the bytes of a file; `-` is standard input.
fn read_body(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path.as_os_str() != "-" {
        return std::fs::read(path).with_context(|| format!("reading {}", path.display()));
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("reading standard input")?;
    Ok(bytes)
}

/// Returns the answer's JSON; a problem document becomes an error with its detail.
async fn call(request: RequestBuilder) -> anyhow::Result<Value> {
    let (status, body) = http::read_json(request.send().await?, "order").await?;
    if status.is_success() {
        return Ok(body);
    }
    anyhow::bail!("{}", body["detail"].as_str().unwrap_or("the order service refused"))
}

fn line(item: &Value) -> String {
    let text = |name: &str| item[name].as_str().unwrap_or("?").to_owned();
    let violations = item["violations"].as_array().map_or(0, Vec::len);
    let first = &item["violations"][0];
    let more =
        if violations > 1 { format!(" (and {} more)", violations - 1) } else { String::new() };
    format!(
        "{}  {:24}  {:20}  {} {}{more}",
        text("rejected_at"),
        text("id"),
        text("reason"),
        first["pointer"].as_str().unwrap_or(""),
        first["message"].as_str().unwrap_or(""),
    )
}

fn describe(record: &Value) -> String {
    let text = |name: &str| record[name].as_str().unwrap_or("").to_owned();
    let mut lines =
        vec![format!("{}  rejected {} as {}", text("id"), text("rejected_at"), text("reason"))];
    for violation in record["violations"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  {} {}: {}",
            violation["pointer"].as_str().unwrap_or(""),
            violation["code"].as_str().unwrap_or(""),
            violation["message"].as_str().unwrap_or("")
        ));
    }
    for replay in record["replays"].as_array().into_iter().flatten() {
        let edited = if replay["edited"] == true { ", with another body" } else { "" };
        lines.push(format!("  replayed {}{edited}", replay["at"].as_str().unwrap_or("")));
    }
    lines.push(format!("key ({}): {}", text("key_encoding"), text("key")));
    lines.push(format!("value ({}):\n{}", text("value_encoding"), text("value")));
    lines.join("\n")
}
