//! The history of one order as text and as JSON, from the answers of both services.

use events::OrderUid;
use serde_json::{Value, json};

use crate::escape;

/// The answers of the services; `None` for a service that did not answer.
pub(super) struct History {
    pub(super) order: Option<Answer>,
    pub(super) delivery: Option<Answer>,
}

/// The answer of one service. A part is `None` if the service does not know the order.
#[derive(Default)]
pub(super) struct Answer {
    /// The headers of the order's answer: cache level, timing, version.
    pub(super) served: Option<Value>,
    /// The order's history, or its delivery.
    pub(super) body: Option<Value>,
    /// The rejected records with the order's id as their key.
    pub(super) rejected: Vec<Value>,
}

impl History {
    pub(super) fn is_known(&self) -> bool {
        let mut answers = [&self.order, &self.delivery].into_iter().flatten();
        answers.any(|answer| answer.body.is_some() || !answer.rejected.is_empty())
    }

    pub(super) fn json(&self, order_uid: &OrderUid) -> String {
        let [order, delivery] = [&self.order, &self.delivery].map(Option::as_ref);
        let unreachable = [(order, "order"), (delivery, "courier")];
        let unreachable =
            unreachable.into_iter().filter(|(answer, _)| answer.is_none()).map(|(_, name)| name);
        json!({
            "order_uid": order_uid,
            "served": order.and_then(|answer| answer.served.as_ref()),
            "history": order.and_then(|answer| answer.body.as_ref()),
            "delivery": delivery.and_then(|answer| answer.body.as_ref()),
            "rejected": self.rejected().collect::<Vec<_>>(),
            "unreachable": unreachable.collect::<Vec<_>>(),
        })
        .to_string()
    }

    fn rejected(&self) -> impl Iterator<Item = &Value> {
        [&self.order, &self.delivery].into_iter().flatten().flat_map(|answer| &answer.rejected)
    }

    /// Describes the delivery without an answer of the courier service: the order service may have
    /// stored it.
    fn stored_delivery(&self) -> String {
        let history = self.order.as_ref().and_then(|answer| answer.body.as_ref());
        let event = history.map(|history| &history["delivery"]).filter(|event| !event.is_null());
        match event {
            None => "  delivery  unknown: the courier service did not answer".to_owned(),
            Some(event) => format!(
                "  delivery  {}; from the order service, because the courier service did not answer",
                delivery_event(event)
            ),
        }
    }

    pub(super) fn text(&self, order_uid: &OrderUid) -> String {
        let mut lines = vec![order_uid.to_string()];
        match &self.order {
            None => lines.push("  order     unknown: the order service did not answer".to_owned()),
            Some(answer) => describe_order(answer, &mut lines),
        }
        lines.push(match &self.delivery {
            None => self.stored_delivery(),
            Some(Answer { body: None, .. }) => {
                "  delivery  none: no event has given the order a status".to_owned()
            }
            Some(Answer { body: Some(delivery), .. }) => {
                format!("  delivery  {}", delivery_state(delivery))
            }
        });
        let delivery = self.delivery.as_ref().and_then(|answer| answer.body.as_ref());
        let entries = delivery.and_then(|delivery| delivery["history"].as_array());
        lines.extend(entries.into_iter().flatten().map(entry));
        lines.extend(self.rejected().map(|record| {
            let (id, at) = (text(record, "id"), text(record, "rejected_at"));
            format!("  rejected  {at}  {id}: {}", text(record, "reason"))
        }));
        // Each line contains texts of other systems: a line end in them does not begin a line.
        lines.iter().map(|line| escape::line(line)).collect::<Vec<_>>().join("\n")
    }
}

/// Describes the latest delivery event that the order service has stored.
fn delivery_event(event: &Value) -> String {
    let mut line = format!("{} since {}", text(event, "status"), text(event, "at"));
    if !event["courier_id"].is_null() {
        line += &format!(", courier {}", event["courier_id"]);
    }
    for (name, label) in [("transport_type", ""), ("deadline", "until ")] {
        if let Some(value) = event[name].as_str() {
            line += &format!(", {label}{value}");
        }
    }
    line
}

fn describe_order(answer: &Answer, lines: &mut Vec<String>) {
    let stored = answer.body.as_ref().map(|history| &history["stored"]);
    lines.push(match stored.filter(|stored| !stored.is_null()) {
        None => "  order     not stored".to_owned(),
        Some(stored) => format!(
            "  order     version {}, first stored {}, latest record {}",
            answer.body.as_ref().map_or(&Value::Null, |history| &history["version"]),
            text(stored, "at"),
            text(stored, "record")
        ),
    });
    if let Some(served) = &answer.served {
        let (cache, etag) = (text(served, "cache"), text(served, "etag"));
        lines.push(format!("  served    from {cache}, ETag {etag}"));
    }
    let Some(history) = &answer.body else { return };
    lines.push(match history["status"].as_str() {
        None => format!("  status    none: {}", text(history, "explanation")),
        Some(status) => format!("  status    {status} since {}", text(history, "since")),
    });
    let events = history["events"].as_array();
    lines.extend(events.into_iter().flatten().map(event));
}

fn event(event: &Value) -> String {
    // The record that created an order is not known any more if a later one replaced it.
    let record = event["record"].as_str().unwrap_or("-");
    let mut line = format!("    {}  {record}  {}", text(event, "at"), text(event, "word"));
    if !event["version"].is_null() {
        line += &format!(", version {}", event["version"]);
    }
    if !event["ignored"].is_null() {
        line += &format!(", ignored: {}", text(&event["ignored"], "detail"));
    }
    line
}

fn delivery_state(delivery: &Value) -> String {
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

fn entry(entry: &Value) -> String {
    let mut line = format!("    {}  {}", text(entry, "at"), text(entry, "status"));
    if !entry["courier_id"].is_null() {
        line += &format!(", courier {}", entry["courier_id"]);
    }
    if !entry["from_courier_id"].is_null() {
        line += &format!(" instead of courier {}", entry["from_courier_id"]);
    }
    line += &format!(", cause: {}", text(entry, "cause"));
    if let Some(record) = entry["record"].as_str() {
        line += &format!(" {record}");
    }
    if let Some(actor) = entry["actor"].as_str() {
        line += &format!(" by {actor} (not verified)");
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
    fn a_history_reads_from_top_to_bottom() {
        let order = Answer {
            served: Some(json!({ "cache": "memory", "etag": "\"ab\"" })),
            body: Some(json!({
                "status": "created", "since": "T1", "version": 2,
                "stored": { "at": "T0", "record": "orders:3:18" },
                "events": [
                    { "at": "T1", "record": null, "word": "created", "version": 1, "ignored": null },
                    { "at": "T2", "record": "s:0:2", "word": "created", "version": null,
                      "ignored": { "detail": "the order had this status already" } },
                ],
            })),
            rejected: vec![
                json!({ "id": "orders:3:19", "rejected_at": "T3", "reason": "missing" }),
            ],
        };
        let delivery = Answer {
            body: Some(json!({
                "state": "waiting", "assignment": null, "position": 1,
                "why_not_assigned": { "message": "no courier is available: 2 busy, 0 paused" },
                "history": [
                    { "at": "T3", "status": "reassigned", "courier_id": 7, "from_courier_id": 8,
                      "cause": "manual", "record": null, "actor": "Ann" },
                    { "at": "T4", "status": "cancelled", "courier_id": null,
                      "from_courier_id": null, "cause": "event", "record": "s:0:3", "actor": null },
                ],
            })),
            ..Answer::default()
        };
        let history = History { order: Some(order), delivery: Some(delivery) };
        assert_eq!(
            history.text(&"123".parse().unwrap()),
            "\
123
  order     version 2, first stored T0, latest record orders:3:18
  served    from memory, ETag \"ab\"
  status    created since T1
    T1  -  created, version 1
    T2  s:0:2  created, ignored: the order had this status already
  delivery  waiting, number 1 in the queue: no courier is available: 2 busy, 0 paused
    T3  reassigned, courier 7 instead of courier 8, cause: manual by Ann (not verified)
    T4  cancelled, cause: event s:0:3
  rejected  T3  orders:3:19: missing"
        );
    }

    #[test]
    fn an_order_with_only_unknown_words_has_events_and_no_status() {
        let order = Answer {
            body: Some(json!({
                "status": null, "explanation": "unknown words", "since": null, "stored": null,
                "events": [
                    { "at": "T1", "record": "s:0:1", "word": "lost", "version": null,
                      "ignored": { "detail": "this status is not known" } },
                ],
            })),
            ..Answer::default()
        };
        let history = History { order: Some(order), delivery: Some(Answer::default()) };
        assert!(history.is_known());
        assert_eq!(
            history.text(&"123".parse().unwrap()),
            "\
123
  order     not stored
  status    none: unknown words
    T1  s:0:1  lost, ignored: this status is not known
  delivery  none: no event has given the order a status"
        );
    }

    #[test]
    fn the_order_service_knows_the_delivery_while_the_other_one_is_down() {
        let history = |delivery: Value| {
            let body = json!({ "status": "created", "stored": null, "delivery": delivery });
            let order = Answer { body: Some(body), ..Answer::default() };
            History { order: Some(order), delivery: None }.text(&"123".parse().unwrap())
        };
        let assigned = json!({
            "status": "assigned", "at": "T1", "courier_id": 7, "transport_type": "car",
            "deadline": "T2",
        });
        let cancelled = json!({
            "status": "cancelled", "at": "T3", "courier_id": null, "transport_type": null,
            "deadline": null,
        });
        let end = "; from the order service, because the courier service did not answer";
        for (delivery, expected) in [
            (assigned, "delivery  assigned since T1, courier 7, car, until T2"),
            (cancelled, "delivery  cancelled since T3"),
        ] {
            let text = history(delivery);
            assert!(text.ends_with(&format!("{expected}{end}")), "{text}");
        }
        assert!(history(Value::Null).contains("delivery  unknown: the courier service"));
    }

    #[test]
    fn an_unknown_order_is_described() {
        let history = History { order: Some(Answer::default()), delivery: Some(Answer::default()) };
        assert!(!history.is_known());
        let text = history.text(&"123".parse().unwrap());
        assert!(text.contains("not stored") && text.contains("delivery  none:"), "{text}");
        let text = History { order: None, delivery: None }.text(&"123".parse().unwrap());
        assert!(text.contains("order service did not answer"), "{text}");
        assert!(text.contains("courier service did not answer"), "{text}");
    }
}
