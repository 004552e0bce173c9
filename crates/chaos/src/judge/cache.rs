//! The caches: the answer of each replica for each order, compared with the row.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use futures_util::{TryStreamExt as _, future::try_join_all};
use serde_json::Value;
use sqlx::PgConnection;
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
    time::timeout,
};
use url::Url;

use super::{
    Case,
    difference::difference,
    http::{Answer, Connection, encode},
    orders::{SELECT, StoredOrder},
    progress::Progress,
};
use crate::finding::{CheckResult, FindingKind::WrongCache};

/// The connections to each replica. A service answers the requests of one connection one after the
/// other, and most orders are not in its memory.
const CONNECTIONS: usize = 32;
/// The requests that are sent on a connection before the first answer is read.
const PIPELINED: usize = 16;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The order that a replica must serve.
struct Question {
    uid: String,
    /// The canonical order; `None` if there is no such order.
    body: Option<String>,
    version: i32,
    etag: String,
}

pub(super) async fn check(case: &Case, database: &mut PgConnection) -> anyhow::Result<CheckResult> {
    let mut check = CheckResult::new(5, "cache: each answer equals the database");
    if case.order_services.is_empty() {
        check.not_checked = Some("no replica of the order service runs".to_owned());
        return Ok(check);
    }
    let mut replicas = JoinSet::new();
    let mut senders = Vec::new();
    for url in &case.order_services {
        let (sender, receiver) = mpsc::channel(2 * CONNECTIONS * PIPELINED);
        let receiver = Arc::new(Mutex::new(receiver));
        let url: Url = url.parse().context("the URL of a replica")?;
        senders.push(sender);
        for _ in 0..CONNECTIONS {
            replicas.spawn(check_replica(url.clone(), Arc::clone(&receiver)));
        }
    }
    let progress = Progress::new("caches", case.traffic.orders.cast_signed());
    let mut rows = sqlx::query(SELECT).fetch(database);
    while let Some(row) = rows.try_next().await? {
        progress.advance();
        let stored = StoredOrder::read(&row)?;
        let number = case.traffic.order_number(&stored.uid);
        if number.is_some_and(|number| number % case.cache_step.max(1) != 0) {
            continue;
        }
        let Some(order) = stored.order else { continue };
        let hash = stored.hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let question = Arc::new(Question {
            body: Some(order.canonical()),
            version: stored.version,
            etag: format!("\"{hash}\""),
            uid: stored.uid,
        });
        let sends = senders.iter().map(|sender| sender.send(Arc::clone(&question)));
        if try_join_all(sends).await.is_err() {
            // A replica has failed; its error is returned below.
            break;
        }
    }
    let unknown = case.traffic.order_numbers();
    for number in unknown..unknown + 10 {
        let uid = case.traffic.id(number);
        let question = Arc::new(Question { uid, body: None, version: 0, etag: String::new() });
        let sends = senders.iter().map(|sender| sender.send(Arc::clone(&question)));
        let _ = try_join_all(sends).await;
    }
    drop(senders);
    while let Some(result) = replicas.join_next().await {
        let (checked, findings) = result.context("a check of a replica has failed")??;
        check.checked += checked;
        for finding in findings {
            check.find(WrongCache, || finding);
        }
    }
    Ok(check)
}

/// Requests orders from one replica, on one of its connections. Returns the number of answers and
/// the differences.
async fn check_replica(
    url: Url,
    questions: Arc<Mutex<mpsc::Receiver<Arc<Question>>>>,
) -> anyhow::Result<(u64, Vec<String>)> {
    let mut connection = Connection::open(&url).await?;
    let (mut checked, mut findings) = (0, Vec::new());
    let mut asked = Vec::with_capacity(PIPELINED);
    // The lock is released when the requests are taken, so another connection takes the next ones.
    while questions.lock().await.recv_many(&mut asked, PIPELINED).await > 0 {
        let paths = asked.iter().map(|question| format!("/order/{}", encode(&question.uid)));
        connection.request(paths).await?;
        for question in asked.drain(..) {
            let answer = timeout(ANSWER_TIMEOUT, connection.answer()).await;
            let answer = match answer {
                Ok(answer) => answer.with_context(|| format!("reading an answer of {url}"))?,
                Err(_) => bail!("{url} does not answer"),
            };
            checked += 1;
            if let Some(found) = wrong(&question, &answer) {
                findings.push(format!("{url} {}: {found}", question.uid));
            }
        }
    }
    Ok((checked, findings))
}

/// Returns the first difference of an answer from the row.
fn wrong(question: &Question, answer: &Answer) -> Option<String> {
    let Question { body, version, etag, .. } = question;
    let Some(body) = body else {
        return (answer.status != 404).then(|| format!("status {} instead of 404", answer.status));
    };
    // A body that is not JSON differs as a whole.
    let json = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or(Value::Null);
    let headers = [("x-order-version", &version.to_string()), ("etag", etag)];
    if answer.status != 200 {
        return Some(format!("status {}", answer.status));
    }
    if answer.body != body.as_bytes() {
        return Some(difference(&json(body.as_bytes()), &json(&answer.body)));
    }
    headers.into_iter().find_map(|(name, expected)| {
        let found = answer.header(name);
        (found != Some(expected.as_str()))
            .then(|| format!("{name} {found:?} instead of {expected}"))
    })
}
