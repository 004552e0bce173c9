//! `waybill explain`: one order's whole life, as both services tell it over HTTP.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use chassis::exit::Ending;
use clap::Args;
use events::OrderUid;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::{fail, say};

const PATIENCE: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  waybill explain b563feb7b2b84b6test
  waybill explain b563feb7b2b84b6test --json | jq '.history.events[] | select(.ignored)'
                                     what was ignored, and why

Exit codes: 0 told, 1 neither service knows the order, 2 usage, 69 a service was silent for 10
seconds, 78 bad configuration.";

/// Tell one order's whole life: its records and versions, each event and what was ignored and why,
/// where it is cached, its place in the queue or its courier.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExplainArgs {
    /// The order.
    order_uid: OrderUid,
    /// Where the order service answers.
    #[arg(long, env = "ORDERS_URL", value_name = "URL", default_value = "http://127.0.0.1:8081")]
    orders_url: String,
    /// Where the courier service answers.
    #[arg(long, env = "COURIERS_URL", value_name = "URL", default_value = "http://127.0.0.1:8082")]
    couriers_url: String,
    /// Give JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: ExplainArgs) -> ExitCode {
    match gather(&args).await {
        Ok(life) if life.is_unknown() => fail(&anyhow::anyhow!(
            "neither service knows the order {}; if it was rejected, waybill rejected list tells",
            args.order_uid
        )),
        Ok(life) => {
            say(&if args.json { life.json(&args.order_uid) } else { life.text(&args.order_uid) });
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

/// What the services tell; `None` is what they do not know.
struct Life {
    served: Option<Value>,
    history: Option<Value>,
    delivery: Option<Value>,
}

async fn gather(args: &ExplainArgs) -> anyhow::Result<Life> {
    let client = Client::builder().timeout(PATIENCE).build()?;
    let orders =
        Service { client: &client, name: "order", flag: "--orders-url", base: &args.orders_url };
    let couriers = Service {
        client: &client,
        name: "courier",
        flag: "--couriers-url",
        base: &args.couriers_url,
    };
    let uid = args.order_uid.as_str();
    let mut history = orders.json(&["order", uid, "history"], None).await?;
    // A long life comes in pages.
    while let Some(life) = &mut history
        && let Some(next) = life["next"].as_str().map(str::to_owned)
    {
        let page = orders.json(&["order", uid, "history"], Some(&next)).await?;
        let page = page.context("the order was forgotten while it was told of")?;
        if let (Some(all), Some(more)) = (life["events"].as_array_mut(), page["events"].as_array())
        {
            all.extend(more.iter().cloned());
        }
        life["next"] = page["next"].clone();
    }
    Ok(Life {
        served: orders.served(&["order", uid]).await?,
        history,
        delivery: couriers.json(&["delivery", uid], None).await?,
    })
}

struct Service<'a> {
    client: &'a Client,
    name: &'static str,
    flag: &'static str,
    base: &'a str,
}

impl Service<'_> {
    /// A call's answer; `None` is 404.
    async fn json(&self, path: &[&str], after: Option<&str>) -> anyhow::Result<Option<Value>> {
        let mut url = self.url(path)?;
        if let Some(after) = after {
            url.query_pairs_mut().append_pair("after", after);
        }
        let answer = self.client.get(url).send().await.map_err(|error| self.silent(error))?;
        let status = answer.status();
        let body = answer.json::<Value>().await;
        let body = body.with_context(|| {
            format!("the answer is no JSON: is this the {} service?", self.name)
        })?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(body)),
            _ => anyhow::bail!("the {} service: {}", self.name, text(&body, "detail")),
        }
    }

    /// How an order is served: from where, how fast, which version.
    async fn served(&self, path: &[&str]) -> anyhow::Result<Option<Value>> {
        let url = self.url(path)?;
        let answer = self.client.head(url).send().await.map_err(|error| self.silent(error))?;
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

    fn url(&self, path: &[&str]) -> anyhow::Result<url::Url> {
        let wrong = || format!("{} is not an address of HTTP", self.flag);
        let mut url =
            url::Url::parse(self.base).with_context(wrong).context(Ending::Configuration)?;
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().extend(path);
            }
            Err(()) => return Err(anyhow::anyhow!(wrong()).context(Ending::Configuration)),
        }
        Ok(url)
    }

    fn silent(&self, error: reqwest::Error) -> anyhow::Error {
        let Self { name, base, flag, .. } = self;
        anyhow::Error::new(error).context(Ending::Silence(format!(
            "the {name} service does not answer at {base}; start it, or give {flag}"
        )))
    }
}

impl Life {
    fn is_unknown(&self) -> bool {
        self.served.is_none() && self.history.is_none() && self.delivery.is_none()
    }

    fn json(&self, order_uid: &OrderUid) -> String {
        json!({
            "order_uid": order_uid,
            "served": self.served,
            "history": self.history,
            "delivery": self.delivery,
        })
        .to_string()
    }

    fn text(&self, order_uid: &OrderUid) -> String {
        let mut lines = vec![order_uid.to_string()];
        let stored = self.history.as_ref().map(|history| &history["stored"]);
        lines.push(match stored.filter(|stored| !stored.is_null()) {
            None => "  order     not stored".to_owned(),
            Some(stored) => format!(
                "  order     version {}, first stored {}, latest record {}",
                self.history.as_ref().map_or(&Value::Null, |history| &history["version"]),
                text(stored, "at"),
                text(stored, "record")
            ),
        });
        if let Some(served) = &self.served {
            let (cache, etag) = (text(served, "cache"), text(served, "etag"));
            lines.push(format!("  served    from {cache}, ETag {etag}"));
        }
        if let Some(history) = &self.history {
            match history["status"].as_str() {
                None => lines.push("  status    none told yet".to_owned()),
                Some(status) => {
                    lines.push(format!("  status    {status} since {}", text(history, "since")));
                }
            }
            let events = history["events"].as_array();
            lines.extend(events.into_iter().flatten().map(event));
        }
        lines.push(match &self.delivery {
            None => "  delivery  the courier service has not heard of it".to_owned(),
            Some(delivery) => format!("  delivery  {}", standing(delivery)),
        });
        lines.join("\n")
    }
}

fn event(event: &Value) -> String {
    let mut line =
        format!("    {}  {}  {}", text(event, "at"), text(event, "record"), text(event, "word"));
    if !event["version"].is_null() {
        line += &format!(", version {}", event["version"]);
    }
    if !event["ignored"].is_null() {
        line += &format!(", ignored: {}", text(&event["ignored"], "detail"));
    }
    line
}

fn standing(delivery: &Value) -> String {
    let mut line = text(delivery, "state").to_owned();
    let assignment = &delivery["assignment"];
    if !assignment.is_null() {
        line += &format!(
            ", courier {} ({}, {}) since {}, until {}",
            assignment["courier_id"],
            text(assignment, "courier_name"),
            text(assignment, "transport_type"),
            text(assignment, "assigned_at"),
            text(assignment, "deadline")
        );
    }
    if !delivery["position"].is_null() {
        line += &format!(", number {} in the queue", delivery["position"]);
    }
    if !delivery["why_not_assigned"].is_null() {
        line += &format!(": {}", text(&delivery["why_not_assigned"], "message"));
    }
    line
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_reads_from_top_to_bottom() {
        let life = Life {
            served: Some(json!({ "cache": "memory", "etag": "\"ab\"" })),
            history: Some(json!({
                "status": "created", "since": "T1", "version": 2,
                "stored": { "at": "T0", "record": "orders:3:18" },
                "events": [
                    { "at": "T1", "record": "s:0:1", "word": "created", "version": 2, "ignored": null },
                    { "at": "T2", "record": "s:0:2", "word": "created", "version": null,
                      "ignored": { "detail": "the order had this status already" } },
                ],
            })),
            delivery: Some(json!({
                "state": "waiting", "assignment": null, "position": 1,
                "why_not_assigned": { "message": "no courier is free: 2 carry, 0 are paused" },
            })),
        };
        assert_eq!(
            life.text(&"123".parse().unwrap()),
            "\
123
  order     version 2, first stored T0, latest record orders:3:18
  served    from memory, ETag \"ab\"
  status    created since T1
    T1  s:0:1  created, version 2
    T2  s:0:2  created, ignored: the order had this status already
  delivery  waiting, number 1 in the queue: no courier is free: 2 carry, 0 are paused"
        );
    }

    #[test]
    fn what_is_not_known_is_said() {
        let life = Life { served: None, history: None, delivery: None };
        assert!(life.is_unknown());
        let text = life.text(&"123".parse().unwrap());
        assert!(text.contains("not stored") && text.contains("has not heard of it"), "{text}");
    }
}
