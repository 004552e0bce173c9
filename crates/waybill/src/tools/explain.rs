//! `waybill explain`: one order's whole life, as both services tell it over HTTP.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use chassis::process::exit::ExitReason;
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
seconds, 78 bad configuration. What one service knows is told even if the other one is silent.";

/// Tell one order's whole life: its records and versions, each event and what was ignored and why,
/// where it is cached, its place in the queue or its courier, and what was rejected under its key.
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
    let client = match Client::builder().timeout(PATIENCE).build() {
        Ok(client) => client,
        Err(error) => return fail(&error.into()),
    };
    let orders =
        Service { client: &client, name: "order", flag: "--orders-url", base: &args.orders_url };
    let couriers = Service {
        client: &client,
        name: "courier",
        flag: "--couriers-url",
        base: &args.couriers_url,
    };
    let uid = args.order_uid.as_str();
    let (stored, delivered) =
        tokio::join!(told_of_order(&orders, uid), told_of_delivery(&couriers, uid));
    let mut exit_code = ExitCode::SUCCESS;
    let mut known = |told: anyhow::Result<Told>| match told {
        Ok(told) => Some(told),
        Err(error) => {
            exit_code = fail(&error);
            None
        }
    };
    let life = Life { order: known(stored), delivery: known(delivered) };
    if life.is_known() {
        say(&if args.json { life.json(&args.order_uid) } else { life.text(&args.order_uid) });
    } else if life.order.is_some() && life.delivery.is_some() {
        return fail(&anyhow::anyhow!(
            "neither service knows the order {}; if it was rejected under another key, waybill \
             rejected list tells",
            args.order_uid
        ));
    }
    exit_code
}

/// What the services tell; `None` is one that told nothing at all.
struct Life {
    order: Option<Told>,
    delivery: Option<Told>,
}

/// What one service tells; `None` is what it does not know.
#[derive(Default)]
struct Told {
    /// How the order is served.
    served: Option<Value>,
    /// The order's history, or its delivery.
    life: Option<Value>,
    /// Records with the order's id as their key.
    rejected: Vec<Value>,
}

async fn told_of_order(orders: &Service<'_>, uid: &str) -> anyhow::Result<Told> {
    let mut history = orders.json(&["order", uid, "history"], None).await?;
    // A long life comes in pages.
    while let Some(life) = &mut history
        && let Some(next) = life["next"].as_str().map(str::to_owned)
    {
        let page = orders.json(&["order", uid, "history"], Some(("after", &next))).await?;
        let page = page.context("the order was forgotten while it was told of")?;
        if let (Some(all), Some(more)) = (life["events"].as_array_mut(), page["events"].as_array())
        {
            all.extend(more.iter().cloned());
        }
        life["next"] = page["next"].clone();
    }
    Ok(Told {
        served: orders.served(&["order", uid]).await?,
        life: history,
        rejected: orders.rejected(uid).await?,
    })
}

async fn told_of_delivery(couriers: &Service<'_>, uid: &str) -> anyhow::Result<Told> {
    Ok(Told {
        served: None,
        life: couriers.json(&["delivery", uid], None).await?,
        rejected: couriers.rejected(uid).await?,
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
    async fn json(
        &self,
        path: &[&str],
        parameter: Option<(&str, &str)>,
    ) -> anyhow::Result<Option<Value>> {
        let mut url = self.url(path)?;
        if let Some((name, value)) = parameter {
            url.query_pairs_mut().append_pair(name, value);
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

    /// The newest of the records that were rejected under this key.
    async fn rejected(&self, key: &str) -> anyhow::Result<Vec<Value>> {
        let mut page = self.json(&["rejected"], Some(("key", key))).await?;
        let items = page.as_mut().map(|page| page["items"].take());
        Ok(match items {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        })
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
            url::Url::parse(self.base).with_context(wrong).context(ExitReason::Configuration)?;
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().extend(path);
            }
            Err(()) => return Err(anyhow::anyhow!(wrong()).context(ExitReason::Configuration)),
        }
        Ok(url)
    }

    fn silent(&self, error: reqwest::Error) -> anyhow::Error {
        let Self { name, base, flag, .. } = self;
        anyhow::Error::new(error).context(ExitReason::Unreachable(format!(
            "the {name} service does not answer at {base}; start it, or give {flag}"
        )))
    }
}

impl Life {
    fn is_known(&self) -> bool {
        let told = [&self.order, &self.delivery].into_iter().flatten();
        told.into_iter().any(|told| told.life.is_some() || !told.rejected.is_empty())
    }

    fn json(&self, order_uid: &OrderUid) -> String {
        let [order, delivery] = [&self.order, &self.delivery].map(Option::as_ref);
        let silent = [(order, "order"), (delivery, "courier")];
        let silent = silent.into_iter().filter(|(told, _)| told.is_none()).map(|(_, name)| name);
        json!({
            "order_uid": order_uid,
            "served": order.and_then(|told| told.served.as_ref()),
            "history": order.and_then(|told| told.life.as_ref()),
            "delivery": delivery.and_then(|told| told.life.as_ref()),
            "rejected": self.rejected().collect::<Vec<_>>(),
            "silent": silent.collect::<Vec<_>>(),
        })
        .to_string()
    }

    fn rejected(&self) -> impl Iterator<Item = &Value> {
        [&self.order, &self.delivery].into_iter().flatten().flat_map(|told| &told.rejected)
    }

    fn text(&self, order_uid: &OrderUid) -> String {
        let mut lines = vec![order_uid.to_string()];
        match &self.order {
            None => lines.push("  order     not known: the order service was silent".to_owned()),
            Some(told) => describe_order(told, &mut lines),
        }
        lines.push(match &self.delivery {
            None => "  delivery  not known: the courier service was silent".to_owned(),
            Some(Told { life: None, .. }) => {
                "  delivery  the courier service has not heard of it".to_owned()
            }
            Some(Told { life: Some(delivery), .. }) => {
                format!("  delivery  {}", standing(delivery))
            }
        });
        lines.extend(self.rejected().map(|record| {
            let (id, at) = (text(record, "id"), text(record, "rejected_at"));
            format!("  rejected  {at}  {id}: {}", text(record, "reason"))
        }));
        lines.join("\n")
    }
}

fn describe_order(told: &Told, lines: &mut Vec<String>) {
    let stored = told.life.as_ref().map(|history| &history["stored"]);
    lines.push(match stored.filter(|stored| !stored.is_null()) {
        None => "  order     not stored".to_owned(),
        Some(stored) => format!(
            "  order     version {}, first stored {}, latest record {}",
            told.life.as_ref().map_or(&Value::Null, |history| &history["version"]),
            text(stored, "at"),
            text(stored, "record")
        ),
    });
    if let Some(served) = &told.served {
        let (cache, etag) = (text(served, "cache"), text(served, "etag"));
        lines.push(format!("  served    from {cache}, ETag {etag}"));
    }
    let Some(history) = &told.life else { return };
    lines.push(match history["status"].as_str() {
        None => "  status    none told yet".to_owned(),
        Some(status) => format!("  status    {status} since {}", text(history, "since")),
    });
    let events = history["events"].as_array();
    lines.extend(events.into_iter().flatten().map(event));
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
        let order = Told {
            served: Some(json!({ "cache": "memory", "etag": "\"ab\"" })),
            life: Some(json!({
                "status": "created", "since": "T1", "version": 2,
                "stored": { "at": "T0", "record": "orders:3:18" },
                "events": [
                    { "at": "T1", "record": "s:0:1", "word": "created", "version": 2, "ignored": null },
                    { "at": "T2", "record": "s:0:2", "word": "created", "version": null,
                      "ignored": { "detail": "the order had this status already" } },
                ],
            })),
            rejected: vec![
                json!({ "id": "orders:3:19", "rejected_at": "T3", "reason": "missing" }),
            ],
        };
        let delivery = Told {
            life: Some(json!({
                "state": "waiting", "assignment": null, "position": 1,
                "why_not_assigned": { "message": "no courier is free: 2 carry, 0 are paused" },
            })),
            ..Told::default()
        };
        let life = Life { order: Some(order), delivery: Some(delivery) };
        assert_eq!(
            life.text(&"123".parse().unwrap()),
            "\
123
  order     version 2, first stored T0, latest record orders:3:18
  served    from memory, ETag \"ab\"
  status    created since T1
    T1  s:0:1  created, version 2
    T2  s:0:2  created, ignored: the order had this status already
  delivery  waiting, number 1 in the queue: no courier is free: 2 carry, 0 are paused
  rejected  T3  orders:3:19: missing"
        );
    }

    #[test]
    fn what_is_not_known_is_said() {
        let life = Life { order: Some(Told::default()), delivery: Some(Told::default()) };
        assert!(!life.is_known());
        let text = life.text(&"123".parse().unwrap());
        assert!(text.contains("not stored") && text.contains("has not heard of it"), "{text}");
        let text = Life { order: None, delivery: None }.text(&"123".parse().unwrap());
        assert!(text.contains("order service was silent"), "{text}");
        assert!(text.contains("courier service was silent"), "{text}");
    }
}
