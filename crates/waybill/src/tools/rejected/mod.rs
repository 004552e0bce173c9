//! `waybill rejected`: calls the HTTP routes of a service for its rejected records. Standard output
//! contains data alone, so that it can be used in pipes.

mod describe;
mod filter;
mod many;

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use chassis::{http::web_address, process::number::within};
use clap::{Args, Subcommand, error::ErrorKind};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use url::Url;

use self::{
    describe::{describe, line},
    filter::FilterArgs,
    many::ManyArgs,
};
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
      the newest records with a negative amount that are left to do
  waybill rejected list --field /delivery --from 2026-03-01T12:00:00Z --state any
      all records since then with a violation in the delivery
  waybill rejected show orders:3:18204
      one record: its violations, its key and its value
  waybill rejected show orders:3:18204 --json | jq -r .value > edited.json
  waybill rejected replay orders:3:18204 --file edited.json
      edit a record and send it again
  waybill rejected replay --all --reason unknown_currency --dry-run
      count the records of a reason, and show the first ones
  waybill rejected replay --all --reason unknown_currency --rate 50
      send all of them again, for example after a rule was changed
  waybill rejected settle orders:3:18204 --note 'the producer sent it again'
      mark a record that needs no more work
  waybill rejected list --orders-url http://127.0.0.1:8082
      the records that the courier service rejected
  waybill rejected list --orders-url https://orders.example --token-file token
      through a proxy that requires TLS and a token

Control characters and invisible characters of a record are shown as \\u{1b}, so
that they cannot change the terminal. With --json, they are escaped as in JSON;
`jq -r .value` prints the value as it was received.

`replay`, `settle` and `reopen` send a name of yours with --header 'X-Actor: ada';
the service stores it with the record and does not verify it.

Exit codes: 0 done, 1 the service refused the request (the record does not
exist, or Kafka is unavailable), or, with --all, a record was rejected again or
not sent, or Ctrl-C stopped the command, 2 wrong command line, 69 the service
did not answer for 10 seconds, 78 wrong configuration.";

/// List, show, replay and settle the records that a service rejected.
///
/// A record that is not a valid order is rejected: the order service stores it unchanged, with every
/// rule that it violates. Waybill never deletes such records. A replay sends the record, or an edited
/// copy, to its topic again, where it is validated like any other record.
///
/// A record is left to do until a replay of it was read from the topic, or until it is settled with a
/// note. A replay that is rejected again is a new record, which is left to do.
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
    /// violation. Without --state, only the records that are left to do are listed.
    List {
        #[command(flatten)]
        filter: FilterArgs,
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
    /// Send one record to its topic again, unchanged or with an edited value, or with --all all records
    /// of a filter.
    ///
    /// The replay has the headers of the original record. A record of which only a part is stored can
    /// be replayed only with --file.
    ///
    /// The rejected record stays stored and shows the replay. If the new record is not valid either, it
    /// is rejected as well, with an id of its own.
    ///
    /// With --all, the records are sent unchanged, newest first, and each line of the output is a record
    /// with its result. Ctrl-C stops after the records that are being sent; a second Ctrl-C ends the
    /// command at once. Sending a record twice is harmless: equal content changes nothing.
    Replay {
        /// The id of the record, topic:partition:offset, such as orders:3:18204.
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// Send the content of this file instead of the record's value; `-` is standard input.
        #[arg(long, value_name = "PATH", conflicts_with = "all")]
        file: Option<PathBuf>,
        #[command(flatten)]
        many: ManyArgs,
    },
    /// Mark one record as settled: it needs no more work.
    ///
    /// The record stays stored, and `list --state settled` lists it. A record that is settled already is
    /// not changed.
    Settle {
        /// The id of the record, topic:partition:offset, such as orders:3:18204.
        id: String,
        /// The reason, for those who read the record later; at most 1000 characters.
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
    },
    /// Undo the settling of one record: it is left to do again.
    Reopen {
        /// The id of the record, topic:partition:offset, such as orders:3:18204.
        id: String,
    },
}

pub(crate) async fn run(args: RejectedArgs) -> anyhow::Result<ExitCode> {
    let client = args.http.client(&[&args.orders_url])?;
    let service = RejectedClient { client, base: &args.orders_url, json: args.json };
    let outcome = match &args.command {
        RejectedCommand::List { filter, limit } => service.list(filter, *limit as usize).await,
        RejectedCommand::Show { id } => service.show(id).await,
        RejectedCommand::Replay { many, .. } if many.is_misplaced() => {
            let message =
                "filters, --rate and --dry-run need --all; one record is given by its id\n";
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, message).into());
        }
        RejectedCommand::Replay { id: Some(id), file, .. } => {
            service.replay(id, file.as_deref()).await
        }
        RejectedCommand::Replay { many, .. } => many.run(&service).await,
        RejectedCommand::Settle { id, note } => service.settle(id, note).await,
        RejectedCommand::Reopen { id } => service.reopen(id).await,
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
    async fn list(&self, filter: &FilterArgs, limit: usize) -> anyhow::Result<ExitCode> {
        let mut left = if limit == 0 { usize::MAX } else { limit };
        let mut after: Option<String> = None;
        while left > 0 {
            let mut page = filter.address(self.base, "rejected")?;
            page.query_pairs_mut()
                .append_pair("limit", &left.min(MAX_PAGE).to_string())
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
        Ok(ExitCode::SUCCESS)
    }

    async fn show(&self, id: &str) -> anyhow::Result<ExitCode> {
        let record = call(self.client.get(self.url(id, None)?)).await?;
        self.print(&record, describe)?;
        Ok(ExitCode::SUCCESS)
    }

    async fn settle(&self, id: &str, note: &str) -> anyhow::Result<ExitCode> {
        let url = self.url(id, Some("settle"))?;
        let answer = call(self.client.post(url).json(&json!({ "note": note }))).await?;
        self.print(&answer, |_| escape::line(&format!("{id} is settled")))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn reopen(&self, id: &str) -> anyhow::Result<ExitCode> {
        let answer = call(self.client.post(self.url(id, Some("reopen"))?)).await?;
        self.print(&answer, |_| escape::line(&format!("{id} is left to do")))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn replay(&self, id: &str, file: Option<&Path>) -> anyhow::Result<ExitCode> {
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
        self.print(&answer, |_| escape::line(&format!("{id} was sent again")))?;
        Ok(ExitCode::SUCCESS)
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
