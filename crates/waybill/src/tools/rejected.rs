//! `waybill rejected`: calls the HTTP routes of a service for its rejected records. Standard output
//! contains data alone, so that it can be used in pipes.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context;
use chassis::{http::web_address, process::number::within};
use clap::{Args, Subcommand, error::ErrorKind};
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use url::Url;

use crate::{
    escape,
    http::{self, HttpOptions},
    output,
    usage::SEE_LONG_HELP,
};

/// The maximum number of records that the service returns in one page.
const MAX_PAGE: usize = 500;

const EXAMPLES: &str = "\
Examples:
  waybill rejected list --reason negative
      the newest records with a negative amount
  waybill rejected show orders:3:18204
      one record: its violations, its key and its value
  waybill rejected show orders:3:18204 --json | jq -r .value > edited.json
  waybill rejected replay orders:3:18204 --file edited.json
      edit a record and send it again
  waybill rejected list --limit 0 --json | jq -r .id \\
    | xargs -n1 waybill rejected replay
      send all records again, for example after an upgrade
  waybill rejected list --orders-url http://127.0.0.1:8082
      the records that the courier service rejected
  waybill rejected list --orders-url https://orders.example --token-file token
      through a proxy that requires TLS and a token

Control characters and invisible characters of a record are shown as \\u{1b}, so
that they cannot change the terminal. With --json, they are escaped as in JSON;
`jq -r .value` prints the value as it was received.

Exit codes: 0 done, 1 the service refused the request (the record does not
exist, or Kafka is unavailable), 2 wrong command line, 69 the service did not
answer for 10 seconds, 78 wrong configuration.";

/// List, show and replay the records that a service rejected.
///
/// A record that is not a valid order is rejected: the order service stores it unchanged, with every
/// rule that it violates. Waybill never deletes such records. A replay sends the record, or an edited
/// copy, to its topic again, where it is validated like any other record.
#[derive(Args)]
#[command(after_help = SEE_LONG_HELP, after_long_help = EXAMPLES)]
pub(crate) struct RejectedArgs {
    /// URL of the service that rejected the records.
    ///
    /// Usually this is the order service. The courier service stores the records of the status topic
    /// that it rejected; give its URL to list, show and replay these.
    #[arg(
        long,
        env = "ORDERS_URL",
        default_value = "http://127.0.0.1:8081",
        value_name = "URL",
        value_parser = web_address,
        global = true,
        display_order = 10
    )]
    orders_url: Url,
    /// Print JSON: one object in each line.
    #[arg(long, global = true, display_order = 11)]
    json: bool,
    #[command(flatten)]
    http: HttpOptions,
    #[command(subcommand)]
    command: RejectedCommand,
}

#[derive(Subcommand)]
enum RejectedCommand {
    /// List rejected records, newest first.
    ///
    /// Each line has the time of the rejection, the id of the record, the reason, and the first
    /// violation.
    List {
        /// List only records with this reason, such as missing; docs/validation.md lists all.
        #[arg(long, value_name = "CODE")]
        reason: Option<String>,
        /// Maximum number of records, from 0 to 1000000000; 0 lists all.
        #[arg(
            long,
            default_value_t = 50,
            value_name = "N",
            value_parser = within::<u32>(0..=1_000_000_000)
        )]
        limit: u32,
    },
    /// Show one record: all its violations, its replays, its key and its value.
    ///
    /// A key or a value that is not UTF-8 is shown as base64. Of a key or a value above 1 MiB only
    /// the first 64 KiB are stored; they are shown with the length and the SHA-256 of the whole.
    Show {
        /// The id of the record, topic:partition:offset, such as orders:3:18204.
        id: String,
    },
    /// Send one record to its topic again, unchanged or with an edited value.
    ///
    /// The replay has the headers of the original record. A record of which only a part is stored can
    /// be replayed only with --file.
    ///
    /// The rejected record stays in the list and shows the replay. If the new record is not valid
    /// either, it is rejected as well, with an id of its own.
    Replay {
        /// The id of the record, topic:partition:offset, such as orders:3:18204.
        id: String,
        /// Send the content of this file instead of the record's value; `-` is standard input.
        #[arg(long, value_name = "PATH")]
        file: Option<PathBuf>,
    },
}

pub(crate) async fn run(args: RejectedArgs) -> anyhow::Result<()> {
    let client = args.http.client(&[&args.orders_url])?;
    let service = RejectedClient { client, base: &args.orders_url, json: args.json };
    let outcome = match &args.command {
        RejectedCommand::List { reason, limit } => {
            service.list(reason.as_deref(), *limit as usize).await
        }
        RejectedCommand::Show { id } => service.show(id).await,
        RejectedCommand::Replay { id, file } => service.replay(id, file.as_deref()).await,
    };
    outcome.map_err(|error| match error.downcast() {
        Ok(error) => http::explain(error, "the service", &args.orders_url, "--orders-url"),
        Err(error) => error,
    })
}

/// A client of the service that rejected the records.
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
            let items = answer["items"]
                .as_array()
                .context("the answer has no items; is --orders-url the address of a service?")?;
            for item in items {
                self.print(item, line)?;
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
        self.print(&record, describe)
    }

    async fn replay(&self, id: &str, file: Option<&Path>) -> anyhow::Result<()> {
        let body = file.map(read_body).transpose()?.unwrap_or_default();
        // To the service, an empty body means that the record is to be sent unchanged, which is not
        // the intention of a user who gave an empty file.
        if file.is_some() && body.is_empty() {
            let message = "--file is empty; to send the record unchanged, omit --file\n";
            return Err(clap::Error::raw(ErrorKind::ValueValidation, message).into());
        }
        // The call is not repeated after a timeout: the service may have sent the record. Sending it
        // twice is harmless, but whether to do so is the user's decision.
        let url = self.url(id, Some("replay"))?;
        let request = self.client.post(url).header("content-type", "application/json").body(body);
        let answer = call(request).await?;
        self.print(&answer, |_| escape::line(&format!("{id} was sent again")))
    }

    fn url(&self, id: &str, action: Option<&str>) -> anyhow::Result<Url> {
        let mut url = self.base.join("rejected")?;
        url.path_segments_mut().expect("an HTTP address has a path").push(id).extend(action);
        Ok(url)
    }

    fn print(&self, answer: &Value, describe: impl Fn(&Value) -> String) -> anyhow::Result<()> {
        if self.json {
            output::print_json(&answer.to_string())
        } else {
            output::print(&describe(answer))
        }
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

/// Sends a request and returns the JSON of the answer. A problem document becomes an error with the
/// text of its detail.
async fn call(request: RequestBuilder) -> anyhow::Result<Value> {
    let (status, body) = http::read_json(http::send(request).await?, "order").await?;
    if status.is_success() {
        return Ok(body);
    }
    anyhow::bail!("{}", body["detail"].as_str().unwrap_or("the service refused the request"))
}

fn line(item: &Value) -> String {
    let text = |name: &str| item[name].as_str().unwrap_or("?").to_owned();
    let violations = item["violations"].as_array().map_or(0, Vec::len);
    let first = &item["violations"][0];
    let more =
        if violations > 1 { format!(" (and {} more)", violations - 1) } else { String::new() };
    escape::line(&format!(
        "{}  {:24}  {:20}  {} {}{more}",
        text("rejected_at"),
        text("id"),
        text("reason"),
        first["pointer"].as_str().unwrap_or(""),
        first["message"].as_str().unwrap_or(""),
    ))
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
        let edited = if replay["edited"] == true { ", edited" } else { "" };
        lines.push(format!("  replayed {}{edited}", replay["at"].as_str().unwrap_or("")));
    }
    for header in record["headers"].as_array().into_iter().flatten() {
        let text = |name: &str| header[name].as_str().unwrap_or("");
        lines.push(format!("header {} ({}): {}", text("name"), text("encoding"), text("value")));
    }
    if let Some(length) = record["headers_left_out"]["length"].as_u64() {
        lines.push(format!("headers: {length} bytes, too large, not stored"));
    }
    let form = |name: &str| format!("{}{}", text(&format!("{name}_encoding")), cut(record, name));
    lines.push(format!("key ({}): {}", form("key"), text("key")));
    lines.push(format!("value ({}):", form("value")));
    // A line end in a text of the record does not begin a line, except in the value, which is last.
    let mut lines: Vec<_> = lines.iter().map(|line| escape::line(line)).collect();
    lines.push(escape::lines(&text("value")));
    lines.join("\n")
}

/// Returns the note that only the first bytes of a key or a value are stored, if that is so.
fn cut(record: &Value, name: &str) -> String {
    let cut = &record[format!("{name}_cut")];
    match (cut["length"].as_u64(), cut["sha256"].as_str()) {
        (Some(length), Some(sha256)) => {
            format!(", only the first bytes of {length} are stored, SHA-256 {sha256}")
        }
        _ => String::new(),
    }
}
