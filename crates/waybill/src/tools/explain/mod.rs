//! `waybill explain`: requests the history of one order from both services over HTTP, and prints it.

mod history;

use std::process::ExitCode;

use anyhow::Context;
use chassis::http::web_address;
use clap::Args;
use events::OrderUid;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use url::Url;

use self::history::{Answer, History};
use crate::{
    http::{self, HttpOptions},
    output,
    usage::SEE_LONG_HELP,
};

const EXAMPLES: &str = "\
Examples:
  waybill explain b563feb7b2b84b6test
      the history, as text
  waybill explain b563feb7b2b84b6test --json | jq -r .delivery.state
      the state of the delivery, for a program
  waybill explain b563feb7b2b84b6test --json \\
    | jq '.history.events[] | select(.ignored)'
      the events that were ignored, with the reasons
  waybill explain b563feb7b2b84b6test --orders-url https://orders.example \\
    --couriers-url https://couriers.example --token-file token
      through a proxy that requires TLS and a token

Control characters and invisible characters are shown as \\u{1b}; with --json,
they are escaped as in JSON.

Exit codes: 0 the history is complete, 1 neither service knows the order, 2
wrong command line, 69 a service did not answer for 10 seconds, 78 wrong
configuration. If only one service answers, its part of the history is printed
and the exit code is 69; the part of the order service contains the latest
event about the delivery.";

/// Show the history of one order, from both services.
///
/// It contains the order's version and the record that it came from; each status event, and the
/// reason if it was ignored; the cache level that served the order; its courier, or its position in
/// the queue and the reason why it waits; and the records that were rejected with the order's id as
/// their key.
#[derive(Args)]
#[command(after_help = SEE_LONG_HELP, after_long_help = EXAMPLES)]
pub(crate) struct ExplainArgs {
    /// The id of the order, its order_uid.
    order_uid: OrderUid,
    /// URL of the order service.
    #[arg(
        long,
        env = "ORDERS_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8081",
        value_parser = web_address
    )]
    orders_url: Url,
    /// URL of the courier service.
    #[arg(
        long,
        env = "COURIERS_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8082",
        value_parser = web_address
    )]
    couriers_url: Url,
    /// Print JSON: one object with the answers of both services.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    http: HttpOptions,
}

pub(crate) async fn run(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let client = args.http.client(&[&args.orders_url, &args.couriers_url])?;
    let orders = ExplainedService {
        client: client.clone(),
        name: "order",
        flag: "--orders-url",
        base: &args.orders_url,
    };
    let couriers = ExplainedService {
        client,
        name: "courier",
        flag: "--couriers-url",
        base: &args.couriers_url,
    };
    let uid = args.order_uid.as_str();
    let (order, delivery) = tokio::join!(fetch_order(&orders, uid), fetch_delivery(&couriers, uid));
    let mut exit_code = ExitCode::SUCCESS;
    let mut or_report = |answer: anyhow::Result<Answer>| {
        answer.inspect_err(|error| exit_code = output::fail(error)).ok()
    };
    let history = History { order: or_report(order), delivery: or_report(delivery) };
    if history.is_known() {
        if args.json {
            output::print_json(&history.json(&args.order_uid))?;
        } else {
            output::print(&history.text(&args.order_uid))?;
        }
    } else if history.order.is_some() && history.delivery.is_some() {
        anyhow::bail!(
            "neither service knows the order {}; if its record had another key and was rejected, \
             `waybill rejected list` shows it",
            args.order_uid
        );
    }
    Ok(exit_code)
}

async fn fetch_order(orders: &ExplainedService<'_>, uid: &str) -> anyhow::Result<Answer> {
    Ok(Answer {
        served: orders.served(&["order", uid]).await?,
        body: orders.history(&["order", uid, "history"], "events").await?,
        rejected: orders.rejected(uid).await?,
    })
}

async fn fetch_delivery(couriers: &ExplainedService<'_>, uid: &str) -> anyhow::Result<Answer> {
    let mut delivery = couriers.json(&["delivery", uid], &[]).await?;
    if let Some(delivery) = &mut delivery {
        let mut history = couriers.history(&["delivery", uid, "history"], "items").await?;
        delivery["history"] = history.as_mut().map_or(Value::Null, |all| all["items"].take());
    }
    Ok(Answer { served: None, body: delivery, rejected: couriers.rejected(uid).await? })
}

struct ExplainedService<'a> {
    client: Client,
    name: &'static str,
    flag: &'static str,
    base: &'a Url,
}

impl ExplainedService<'_> {
    /// Requests all pages of a history, whose entries are in the array `entries`.
    async fn history(&self, path: &[&str], entries: &str) -> anyhow::Result<Option<Value>> {
        let mut history = self.json(path, &[]).await?;
        // The entries are in the order in which they were recorded, so an entry that is recorded
        // meanwhile is on the last page.
        while let Some(all) = &mut history
            && let Some(next) = all["next"].as_str().map(str::to_owned)
        {
            let page = self.json(path, &[("after", &next)]).await?;
            let mut page = page.context("the order was deleted while its history was read")?;
            if let (Some(known), Some(more)) =
                (all[entries].as_array_mut(), page[entries].as_array_mut())
            {
                known.append(more);
            }
            all["next"] = page["next"].take();
        }
        Ok(history)
    }

    /// Requests a path and returns the JSON of the answer, or `None` for 404.
    async fn json(
        &self,
        path: &[&str],
        parameters: &[(&str, &str)],
    ) -> anyhow::Result<Option<Value>> {
        let mut url = self.url(path);
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        let answer = self.reached(http::send(self.client.get(url)).await)?;
        let (status, body) = http::read_json(answer, self.name).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(body)),
            status => {
                let detail = body["detail"].as_str().unwrap_or("no details");
                anyhow::bail!("the {} service answered with {status}: {detail}", self.name)
            }
        }
    }

    /// Requests the records that were rejected with this key, also those that are settled; returns the
    /// first page, the newest.
    async fn rejected(&self, key: &str) -> anyhow::Result<Vec<Value>> {
        let page = self.json(&["rejected"], &[("key", key), ("settled", "any")]).await?;
        match page.map(|mut page| page["items"].take()) {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    /// Requests an order, and returns the cache level, the timing and the version in the headers.
    async fn served(&self, path: &[&str]) -> anyhow::Result<Option<Value>> {
        let answer = self.reached(http::send(self.client.head(self.url(path))).await)?;
        if !answer.status().is_success() {
            return Ok(None);
        }
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        Ok(Some(json!({
            "cache": header("x-cache"),
            "server_timing": header("server-timing"),
            "version": header("x-order-version"),
            "etag": header("etag"),
        })))
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("an HTTP address has a path").pop_if_empty().extend(path);
        url
    }

    fn reached(&self, answer: reqwest::Result<Response>) -> anyhow::Result<Response> {
        answer.map_err(|error| {
            let service = format!("the {} service", self.name);
            http::explain(error, &service, self.base, self.flag)
        })
    }
}
