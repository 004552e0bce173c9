//! Manual actions at the courier services while the run lasts: orders are moved, taken from their
//! couriers, queued again and assigned manually, and couriers are paused.
//!
//! The judge needs no list of them: whatever they have done must be in the log, and the tables, the
//! log and the deliveries topic must agree.

use std::{collections::BTreeMap, time::Duration};

use reqwest::{Client, Method};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::system::{Replica, Role, System};

/// The pause between two actions.
const PAUSE: Duration = Duration::from_millis(100);

/// The number of actions that the service has done, by their name. An action that is refused or not
/// answered is not counted; it may have been done.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Actions(pub BTreeMap<&'static str, u64>);

/// The running dispatcher.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    task: JoinHandle<Actions>,
    stop: CancellationToken,
}

impl Dispatcher {
    pub(crate) fn start(system: &System) -> Self {
        let services = system.replicas.iter().filter(|replica| replica.role() == Role::Couriers);
        let urls: Vec<String> = services.map(Replica::url).collect();
        let stop = CancellationToken::new();
        let task = tokio::spawn(act(system.http.clone(), urls, stop.clone()));
        Self { task, stop }
    }

    /// Ends the dispatcher after its current action.
    pub(crate) async fn finish(self) -> Actions {
        self.stop.cancel();
        self.task.await.expect("the dispatcher does not panic")
    }
}

async fn act(http: Client, urls: Vec<String>, stop: CancellationToken) -> Actions {
    let mut actions = Actions::default();
    let mut paused = None;
    for number in 0.. {
        if stop.run_until_cancelled(sleep(PAUSE)).await.is_none() {
            break;
        }
        let Some(url) = urls.get(number % urls.len().max(1)) else { break };
        let call = Calls { http: &http, url };
        let done = match number % 6 {
            0 => call.move_order(number).await,
            1 => call.unassign(number, "hold").await,
            2 => call.unassign(number, "wait").await,
            3 => call.assign("held").await,
            4 => call.assign("released").await,
            _ => call.pause_or_resume(&mut paused).await,
        };
        if let Some(name) = done {
            *actions.0.entry(name).or_default() += 1;
        }
    }
    actions
}

/// The calls to one replica. Each action returns its name if the service has done it.
struct Calls<'a> {
    http: &'a Client,
    url: &'a str,
}

impl Calls<'_> {
    async fn move_order(&self, number: usize) -> Option<&'static str> {
        let order_id = self.active_order(number).await?;
        let courier_id = self.available_courier().await?;
        let body = json!({ "order_id": order_id, "courier_id": courier_id });
        self.send(Method::POST, "/delivery/assign", &body, "moved").await
    }

    async fn unassign(&self, number: usize, then: &str) -> Option<&'static str> {
        let body = json!({ "order_id": self.active_order(number).await?, "then": then });
        let name = if then == "hold" { "held" } else { "queued again" };
        self.send(Method::POST, "/delivery/unassign", &body, name).await
    }

    async fn assign(&self, state: &str) -> Option<&'static str> {
        let queue = self.list(&format!("/queue?state={state}&limit=1")).await?;
        let body = json!({ "order_id": queue["items"][0]["order_id"].as_str()? });
        self.send(Method::POST, "/delivery/assign", &body, "assigned").await
    }

    /// Pauses a courier, or resumes the courier who was paused before.
    async fn pause_or_resume(&self, paused: &mut Option<i64>) -> Option<&'static str> {
        let (id, status) = match paused.take() {
            Some(id) => (id, "available"),
            None => (*paused.insert(self.available_courier().await?), "paused"),
        };
        let body = json!({ "id": id, "status": status });
        let name = if status == "paused" { "paused" } else { "resumed" };
        let done = self.send(Method::PUT, "/courier", &body, name).await;
        if done.is_none() {
            // The outcome is not known. To resume a courier who is available changes nothing.
            *paused = Some(id);
        }
        done
    }

    async fn active_order(&self, number: usize) -> Option<String> {
        let list = self.list("/deliveries?limit=50").await?;
        let items = list["items"].as_array().filter(|items| !items.is_empty())?;
        Some(items[number % items.len()]["order_id"].as_str()?.to_owned())
    }

    async fn available_courier(&self) -> Option<i64> {
        let list = self.list("/couriers?status=available&limit=1").await?;
        list["items"][0]["id"].as_i64()
    }

    async fn list(&self, path: &str) -> Option<Value> {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.ok()?;
        answer.json().await.ok()
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        name: &'static str,
    ) -> Option<&'static str> {
        let request = self.http.request(method, format!("{}{path}", self.url)).json(body);
        let answer = request.header("x-actor", "soak").send().await.ok()?;
        answer.status().is_success().then_some(name)
    }
}
