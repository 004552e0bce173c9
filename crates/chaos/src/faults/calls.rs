//! Failpoints that only a call of an operator fires: an order that is posted, a replay, and manual
//! assignments. They are fired after the judge has read everything, because these calls change what
//! the senders have sent.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::replicas::{firings, restart};
use crate::system::{Replica, Role, System};

const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Bounds the repetition of a call until it succeeds.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The actions that a point gets in turn.
const ACTIONS: [&str; 3] = ["1*kill", "1*delay(700)", "1*panic"];

/// A point and what was seen when it fired.
#[derive(Debug, Clone, Serialize)]
pub struct CallFault {
    pub point: &'static str,
    pub action: &'static str,
    /// The time from the call to its success, repeated where the first one was not answered.
    pub succeeded_after: Option<Duration>,
    pub has_fired: bool,
    pub error: Option<String>,
}

/// Fires each point of a call a number of times.
pub(crate) async fn fire_by_calls(system: &System, times: usize) -> Result<Vec<CallFault>> {
    let mut done = Vec::new();
    let points = [
        ("order-posted", Role::Orders),
        ("before-replay", Role::Orders),
        ("after-replay", Role::Couriers),
        ("assign-manually", Role::Couriers),
        ("unassign", Role::Couriers),
    ];
    for (point, role) in points {
        for number in 0..times {
            let action = ACTIONS[number % ACTIONS.len()];
            let replica = system.first_of(role)?;
            done.push(fire(system, replica, point, action, number).await?);
        }
    }
    Ok(done)
}

async fn fire(
    system: &System,
    replica: &Replica,
    point: &'static str,
    action: &'static str,
    number: usize,
) -> Result<CallFault> {
    let before = firings(&system.failpoint_log())?.len();
    restart(replica, Signal::TERM, Some(&format!("{point}={action}"))).await?;
    replica.wait_until_ready(&system.http, READY_TIMEOUT).await?;
    let started = Instant::now();
    let mut outcome = call(system, replica, point, number).await;
    // A call that was not answered is repeated, as an operator would do.
    while outcome.is_err() && started.elapsed() < CALL_TIMEOUT {
        sleep(Duration::from_millis(100)).await;
        outcome = call(system, replica, point, number).await;
    }
    let fired = firings(&system.failpoint_log())?;
    Ok(CallFault {
        point,
        action,
        succeeded_after: outcome.is_ok().then(|| started.elapsed()),
        has_fired: fired[before..].iter().any(|name| name == point),
        error: outcome.err().map(|error| format!("{error:#}")),
    })
}

/// Makes the call once. It fails if it is not answered, or not with success.
async fn call(system: &System, replica: &Replica, point: &str, number: usize) -> Result<()> {
    match point {
        "order-posted" => {
            let mut order: Value = serde_json::from_str(testkit::order_json::SAMPLE)?;
            order["order_uid"] = json!(format!("posted-{number}"));
            post(system, replica, "/order", &order, &[202]).await
        }
        "before-replay" | "after-replay" => {
            let list = format!("{}/rejected?limit=1", replica.url());
            let list: Value = system.http.get(list).send().await?.json().await?;
            let id = list["items"][0]["id"].as_str().context("there is a rejected record")?;
            post(system, replica, &format!("/rejected/{id}/replay"), &Value::Null, &[200, 202])
                .await
        }
        "assign-manually" => {
            let id = system.database.waiting_order().await?;
            let id = id.unwrap_or_else(|| format!("unknown-{number}"));
            // 409: no courier is available, or the order was assigned before the answer was lost.
            post(system, replica, "/delivery/assign", &json!({ "order_id": id }), &[200, 409]).await
        }
        "unassign" => {
            let id = system.database.active_order().await?.context("there is a delivery")?;
            let body = json!({ "order_id": id });
            post(system, replica, "/delivery/unassign", &body, &[200, 404, 409]).await
        }
        _ => bail!("no call fires {point}"),
    }
}

async fn post(
    system: &System,
    replica: &Replica,
    path: &str,
    body: &Value,
    accepted: &[u16],
) -> Result<()> {
    let mut request = system.http.post(format!("{}{path}", replica.url()));
    if !body.is_null() {
        request = request.json(body);
    }
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    if !accepted.contains(&status) {
        bail!("{path} answered {status}: {}", answer.text().await.unwrap_or_default());
    }
    Ok(())
}
