//! The records of a run: orders with a key, invalid records between them, and the events of
//! `service-order`.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use testkit::{
    TestEnvironment,
    bad_records::{BadRecord, bad_records},
    order_json::SAMPLE,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Orders that are sent together; the pause after them spreads the traffic over the faults.
const CHUNK: usize = 40;
const PAUSE: Duration = Duration::from_millis(100);

/// The words that `service-order` publishes for an order that is delivered. It waits for a second
/// after `created`.
const DELIVERED: [&str; 6] =
    ["created", "pending", "confirmed", "cooking", "delivering", "completed"];
/// The words for an order that the client changes and then deletes.
const DELETED: [&str; 4] = ["created", "pending", "updated", "deleted"];

/// Records of the status topic that are not events, with the reason of their rejection.
const BAD_EVENTS: [(&[u8], &str); 4] = [
    (b"created", "invalid_json"),
    (b"{\"order_id\":\"\",\"status\":\"created\"}", "blank"),
    (b"{\"status\":\"created\"}", "missing"),
    (b"\xff\xfe", "invalid_utf8"),
];

/// The ranks of the statuses with which the two histories end.
const COMPLETED: i16 = 5;
const CANCELLED: i16 = 6;

/// Everything that was sent and acknowledged.
pub(super) struct Sent {
    /// The amount of each valid order, by its id.
    pub(super) amounts: BTreeMap<String, i64>,
    /// The position and the reason of each invalid record of the orders topic.
    pub(super) rejected: BTreeMap<(i32, i64), &'static str>,
    /// The same of the status topic.
    pub(super) rejected_events: BTreeMap<(i32, i64), &'static str>,
    /// The rank of the last status and the number of events of each order of `service-order`.
    pub(super) foreign: BTreeMap<String, (i16, usize)>,
}

impl Sent {
    /// Returns the number of events of `service-order`.
    pub(super) fn foreign_events(&self) -> usize {
        self.foreign.values().map(|(_, events)| events).sum()
    }
}

/// Sends all records, and returns when Kafka has acknowledged them.
pub(super) async fn send_all(env: &TestEnvironment, own: usize, foreign: usize) -> Sent {
    let (orders, events) = tokio::join!(send_orders(env, own), send_events(env, foreign));
    let (amounts, rejected) = orders;
    let (foreign, rejected_events) = events;
    Sent { amounts, rejected, rejected_events, foreign }
}

type Rejected = BTreeMap<(i32, i64), &'static str>;

async fn send_orders(env: &TestEnvironment, count: usize) -> (BTreeMap<String, i64>, Rejected) {
    let sample: Value = serde_json::from_str(SAMPLE).expect("the sample is JSON");
    let bad = bad_records();
    let mut bad = bad.iter();
    let (mut amounts, mut rejected) = (BTreeMap::new(), BTreeMap::new());
    for start in (0..count).step_by(CHUNK) {
        let numbers = start..count.min(start + CHUNK);
        let orders = numbers.map(|number| order(&sample, number)).collect::<Vec<_>>();
        amounts.extend(orders.iter().map(|(id, amount, _)| (id.clone(), *amount)));
        let records = orders.into_iter().map(|(id, _, value)| (id.into_bytes(), value));
        env.send_all(records).await;
        // All invalid records are sent at least once if there are enough orders.
        for BadRecord { bytes, reason, .. } in bad.by_ref().take(2) {
            let position = env.send(None, Some(b"invalid"), bytes.as_deref()).await;
            rejected.insert(position, *reason);
        }
        tokio::time::sleep(PAUSE).await;
    }
    (amounts, rejected)
}

fn order(sample: &Value, number: usize) -> (String, i64, Vec<u8>) {
    let id = format!("compat-{number:07}");
    let amount = i64::try_from(number).expect("a small number") + 1_500;
    let mut order = sample.clone();
    order["order_uid"] = json!(id);
    order["payment"]["amount"] = json!(amount);
    order["delivery"]["name"] = json!(format!("Клиент № {number}"));
    (id, amount, order.to_string().into_bytes())
}

async fn send_events(
    env: &TestEnvironment,
    orders: usize,
) -> (BTreeMap<String, (i16, usize)>, Rejected) {
    let mut rejected = BTreeMap::new();
    for step in 0..DELIVERED.len() {
        for (value, reason) in BAD_EVENTS.iter().skip(step).take(1) {
            rejected.insert(env.send_status(None, value).await, *reason);
        }
        let words = (0..orders).filter_map(|number| Some((number, *words(number).get(step)?)));
        let records = words.map(|(number, word)| (Vec::new(), event(number, word)));
        env.send_all_to(&env.status_topic(), records).await;
        // The service waits for a second before it confirms an order.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let sent = (0..orders).map(|number| {
        let last = if is_deleted(number) { CANCELLED } else { COMPLETED };
        (foreign_id(number), (last, words(number).len()))
    });
    (sent.collect(), rejected)
}

/// Returns true for each fifth order.
fn is_deleted(number: usize) -> bool {
    number % 5 == 4
}

fn words(number: usize) -> &'static [&'static str] {
    if is_deleted(number) { &DELETED } else { &DELIVERED }
}

fn foreign_id(number: usize) -> String {
    format!("8d3e2f54-0000-4000-8000-{number:012}")
}

/// Returns an event as `service-order` writes it: no version, no headers, whole seconds.
fn event(number: usize, word: &str) -> Vec<u8> {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).expect("0 is a valid value");
    let at = now.format(&Rfc3339).expect("the year is 1970 to 9999");
    json!({"order_id": foreign_id(number), "status": word, "created_at": at})
        .to_string()
        .into_bytes()
}
