//! `waybill rejected`: the order service's calls about rejected records, for a terminal and for
//! pipes.

use std::{io::Read, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use chassis::process::exit::ExitReason;
use clap::{Args, Subcommand, error::ErrorKind};
use serde_json::Value;
use url::Url;

use crate::{fail, say};

const PATIENCE: Duration = Duration::from_secs(10);

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
    what: What,
}

#[derive(Subcommand)]
enum What {
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

pub(crate) async fn run(args: RejectedArgs) -> ExitCode {
    match answer(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error)
            if error
                .downcast_ref::<reqwest::Error>()
                .is_some_and(|e| e.is_connect() || e.is_timeout()) =>
        {
            fail(&error.context(ExitReason::Unreachable(format!(
                "nobody answers at {}; start that service, or give another --orders-url",
                args.orders_url
            ))))
        }
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(usage) => usage.exit(),
            Err(error) => fail(&error),
        },
    }
}

async fn answer(args: &RejectedArgs) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let base = &args.orders_url;
    match &args.what {
        What::List { reason, limit } => {
            list(&client, base, reason.as_deref(), *limit, args.json).await
        }
        What::Show { id } => {
            let record = call(client.get(of(base, id, None)?)).await?;
            say(&if args.json { record.to_string() } else { describe(&record) });
            Ok(())
        }
        What::Replay { id, file } => {
            let body = match file {
                None => Vec::new(),
                Some(path) if path.as_os_str() == "-" => {
                    let mut bytes = Vec::new();
                    std::io::stdin().read_to_end(&mut bytes).context("reading standard input")?;
                    bytes
                }
                Some(path) => {
                    std::fs::read(path).with_context(|| format!("reading {}", path.display()))?
                }
            };
            // To the service an empty body means the record as it came.
            if file.is_some() && body.is_empty() {
                let told = "--file is empty: without it the record is sent as it came\n";
                return Err(clap::Error::raw(ErrorKind::ValueValidation, told).into());
            }
            let answer = call(client.post(of(base, id, Some("replay"))?).body(body)).await?;
            say(&if args.json { answer.to_string() } else { format!("{id} is on its way again") });
            Ok(())
        }
    }
}

async fn list(
    client: &reqwest::Client,
    base: &Url,
    reason: Option<&str>,
    limit: usize,
    json: bool,
) -> anyhow::Result<()> {
    let mut left = if limit == 0 { usize::MAX } else { limit };
    let mut after: Option<String> = None;
    while left > 0 {
        let mut page = base.join("rejected")?;
        {
            let mut query = page.query_pairs_mut();
            query.append_pair("limit", &left.min(500).to_string());
            if let Some(reason) = reason {
                query.append_pair("reason", reason);
            }
            if let Some(after) = &after {
                query.append_pair("after", after);
            }
        }
        let answer = call(client.get(page)).await?;
        let items = answer["items"].as_array().context("the answer has no items")?;
        for item in items {
            say(&if json { item.to_string() } else { line(item) });
        }
        left = left.saturating_sub(items.len());
        after = answer["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    Ok(())
}

fn of(base: &Url, id: &str, action: Option<&str>) -> anyhow::Result<Url> {
    let mut url = base.join("rejected")?;
    url.path_segments_mut()
        .map_err(|()| anyhow::anyhow!("--orders-url is not an address of HTTP"))?
        .push(id)
        .extend(action);
    Ok(url)
}

/// The answer's JSON; a problem becomes an error with its detail.
async fn call(request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let response = request.send().await?;
    let status = response.status();
    let body: Value =
        response.json().await.context("the answer is no JSON: is this the order service?")?;
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
