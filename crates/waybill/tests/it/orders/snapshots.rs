//! Snapshots of the wire format: answers, events and dead letters change only on purpose.
//!
//! The times and traces of the run and the names of its topics are redacted.

use std::fmt::Write as _;

use serde_json::json;
use testkit::{Received, TestEnvironment, order_json::SAMPLE, shared};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    deliveries::{delivery_event, send_deliveries},
    support::{order, record},
};

/// Replaces the instants, the traces and the name of this run by constant words.
fn redacted(env: &TestEnvironment, text: &str) -> String {
    let begun = OffsetDateTime::now_utc() - time::Duration::hours(1);
    let word = |word: &str| match OffsetDateTime::parse(word, &Rfc3339) {
        Ok(instant) if instant > begun => "<now>".to_owned(),
        Err(_) if word.len() == 55 && word.starts_with("00-") => "<trace>".to_owned(),
        _ => word.to_owned(),
    };
    let words: Vec<String> = text.replace(&env.name, "<env>").split('"').map(word).collect();
    words.join("\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_keep_their_wire_format() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    env.send(Some(0), None, Some(SAMPLE.as_bytes())).await;
    env.send(Some(1), Some(b"key"), Some(br#"{"order_uid":" "}"#)).await;
    env.wait_until_drained().await;
    env.wait_until_status_drained().await;
    let mut assigned = delivery_event("b563feb7b2b84b6test", "assigned", 41);
    assigned["at"] = json!("2021-11-26T06:23:00.123456Z");
    assigned["deadline"] = json!("2021-11-26T06:38:00Z");
    send_deliveries(&env, [assigned]).await;
    env.wait_until_deliveries_drained().await;
    let mut wire = String::new();
    let rejected = format!("/rejected/{}:1:0", env.orders_topic());
    for path in [
        "/order/b563feb7b2b84b6test",
        "/order/b563feb7b2b84b6test/status",
        "/order/b563feb7b2b84b6test/history",
        "/orders",
        "/rejected",
        &rejected,
        "/order/nobody",
    ] {
        let answer = service.get(path).await;
        let (status, kind) = (answer.status().as_u16(), answer.headers()["content-type"].clone());
        let body = answer.text().await.unwrap();
        writeln!(wire, "GET {path}\n{status} {}\n{body}\n", kind.to_str().unwrap()).unwrap();
    }
    let mut wrong = order("wrong", -1);
    wrong["delivery"]["email"] = json!("nowhere");
    for body in [order("posted", 1), wrong] {
        let post = service
            .http
            .post(service.at("/order"))
            .header("content-type", "application/json")
            .body(body.to_string());
        let answer = post.send().await.unwrap();
        let (status, body) = (answer.status().as_u16(), answer.text().await.unwrap());
        writeln!(wire, "POST /order\n{status}\n{body}\n").unwrap();
    }
    service.stop().await.unwrap();

    insta::assert_snapshot!(redacted(&env, &wire), @r#"
GET /order/b563feb7b2b84b6test
200 application/json
{"order_uid":"b563feb7b2b84b6test","track_number":"WBILMTESTTRACK","entry":"WBIL","delivery":{"name":"Test Testov","phone":"+9720000000","zip":"2639809","city":"Kiryat Mozkin","address":"Ploshad Mira 15","region":"Kraiot","email":"test@gmail.com"},"payment":{"transaction":"b563feb7b2b84b6test","request_id":"","currency":"USD","provider":"wbpay","amount":1817,"payment_dt":1637907727,"bank":"alpha","delivery_cost":1500,"goods_total":317,"custom_fee":0},"items":[{"chrt_id":9934930,"track_number":"WBILMTESTTRACK","price":453,"rid":"ab4219087a764ae0btest","name":"Mascaras","sale":30,"size":"0","total_price":317,"nm_id":2389212,"brand":"Vivienne Sabo","status":202}],"locale":"en","internal_signature":"","customer_id":"test","delivery_service":"meest","shardkey":"9","sm_id":99,"date_created":"2021-11-26T06:22:19Z","oof_shard":"1"}

GET /order/b563feb7b2b84b6test/status
200 application/json
{"delivery":{"at":"2021-11-26T06:23:00.123456Z","cause":"match","courier_id":7,"deadline":"2021-11-26T06:38:00Z","number":41,"order_id":"b563feb7b2b84b6test","status":"assigned","transport_type":"scooter"},"explanation":null,"order_uid":"b563feb7b2b84b6test","record":"<env>.orders:0:0","since":"<now>","status":"created","stored":{"at":"<now>","record":"<env>.orders:0:0","record_timestamp":"<now>"},"version":1}

GET /order/b563feb7b2b84b6test/history
200 application/json
{"delivery":{"at":"2021-11-26T06:23:00.123456Z","cause":"match","courier_id":7,"deadline":"2021-11-26T06:38:00Z","number":41,"order_id":"b563feb7b2b84b6test","status":"assigned","transport_type":"scooter"},"events":[{"at":"<now>","created_at":null,"ignored":null,"record":"<env>.orders:0:0","status":"created","version":1,"word":"created"}],"explanation":null,"next":null,"order_uid":"b563feb7b2b84b6test","record":"<env>.orders:0:0","since":"<now>","status":"created","stored":{"at":"<now>","record":"<env>.orders:0:0","record_timestamp":"<now>"},"version":1}

GET /orders
200 application/json
{"items":[{"order_uid":"b563feb7b2b84b6test","track_number":"WBILMTESTTRACK","entry":"WBIL","delivery":{"name":"Test Testov","phone":"+9720000000","zip":"2639809","city":"Kiryat Mozkin","address":"Ploshad Mira 15","region":"Kraiot","email":"test@gmail.com"},"payment":{"transaction":"b563feb7b2b84b6test","request_id":"","currency":"USD","provider":"wbpay","amount":1817,"payment_dt":1637907727,"bank":"alpha","delivery_cost":1500,"goods_total":317,"custom_fee":0},"items":[{"chrt_id":9934930,"track_number":"WBILMTESTTRACK","price":453,"rid":"ab4219087a764ae0btest","name":"Mascaras","sale":30,"size":"0","total_price":317,"nm_id":2389212,"brand":"Vivienne Sabo","status":202}],"locale":"en","internal_signature":"","customer_id":"test","delivery_service":"meest","shardkey":"9","sm_id":99,"date_created":"2021-11-26T06:22:19Z","oof_shard":"1"}],"next":null}

GET /rejected
200 application/json
{"items":[{"id":"<env>.orders:1:0","offset":0,"partition":1,"reason":"blank","record_timestamp":"<now>","rejected_at":"<now>","replays":[],"settled":null,"topic":"<env>.orders","violations":[{"code":"blank","message":"must not be blank","pointer":"/order_uid"},{"code":"missing","message":"this field is required","pointer":"/track_number"},{"code":"missing","message":"this field is required","pointer":"/delivery"},{"code":"missing","message":"this field is required","pointer":"/payment"},{"code":"missing","message":"this field is required","pointer":"/items"},{"code":"missing","message":"this field is required","pointer":"/customer_id"},{"code":"missing","message":"this field is required","pointer":"/delivery_service"},{"code":"missing","message":"this field is required","pointer":"/date_created"}]}],"next":null}

GET /rejected/<env>.orders:1:0
200 application/json
{"headers":[],"headers_left_out":null,"id":"<env>.orders:1:0","key":"key","key_cut":null,"key_encoding":"utf-8","offset":0,"partition":1,"reason":"blank","record_timestamp":"<now>","rejected_at":"<now>","replays":[],"settled":null,"topic":"<env>.orders","value":"{\"order_uid\":\" \"}","value_cut":null,"value_encoding":"utf-8","violations":[{"code":"blank","message":"must not be blank","pointer":"/order_uid"},{"code":"missing","message":"this field is required","pointer":"/track_number"},{"code":"missing","message":"this field is required","pointer":"/delivery"},{"code":"missing","message":"this field is required","pointer":"/payment"},{"code":"missing","message":"this field is required","pointer":"/items"},{"code":"missing","message":"this field is required","pointer":"/customer_id"},{"code":"missing","message":"this field is required","pointer":"/delivery_service"},{"code":"missing","message":"this field is required","pointer":"/date_created"}]}

GET /order/nobody
404 application/problem+json
{"type":"/docs#no-such-order","title":"no such order","status":404,"detail":"no order with this id is stored; if it was sent just now, ask again with ?wait=5s","error":"no order with this id is stored; if it was sent just now, ask again with ?wait=5s"}

POST /order
202
{"accepted":["posted"]}

POST /order
422
{"type":"/docs#invalid-order","title":"invalid order","status":422,"detail":"2 violations, the first: /delivery/email must be an e-mail address: one @ between two parts without spaces","error":"2 violations, the first: /delivery/email must be an e-mail address: one @ between two parts without spaces","errors":[{"pointer":"/delivery/email","code":"implausible_email","message":"must be an e-mail address: one @ between two parts without spaces"},{"pointer":"/payment/amount","code":"negative","message":"must not be negative"}]}
"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_dead_letters_keep_their_wire_format() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    for amount in [1, 2] {
        env.send_all([record(&order("uid", amount))]).await;
        env.wait_until_drained().await;
    }
    let cancel = service.http.post(service.at("/order/uid/cancel")).send().await.unwrap();
    assert_eq!(cancel.status(), 202);

    env.send(Some(3), Some(b"key"), Some(br#"{"order_uid":" "}"#)).await;
    env.wait_until_drained().await;
    let mut wire = String::new();
    for topic in [env.status_topic(), env.dead_letter_topic()] {
        let mut records = env.read_all(&topic).await;
        records.sort_by_key(|record| record.offset);
        for Received { partition, key, value, headers, .. } in records {
            let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap()).unwrap();
            let (key, value) = (text(key), text(value));
            writeln!(wire, "{topic}, partition {partition}\n{key}\n{value}").unwrap();
            for (name, value) in headers {
                writeln!(wire, "  {name}: \"{value}\"").unwrap();
            }
            writeln!(wire).unwrap();
        }
    }
    service.stop().await.unwrap();

    insta::assert_snapshot!(redacted(&env, &wire), @r#"
<env>.status, partition 3
uid
{"order_id":"uid","status":"created","created_at":"<now>","version":1}
  ce_id: "uid:1:created"
  ce_source: "waybill/<env>/orders"
  ce_specversion: "1.0"
  ce_time: "<now>"
  ce_type: "created"
  traceparent: "<trace>"

<env>.status, partition 3
uid
{"order_id":"uid","status":"created","created_at":"<now>","version":2}
  ce_id: "uid:2:created"
  ce_source: "waybill/<env>/orders"
  ce_specversion: "1.0"
  ce_time: "<now>"
  ce_type: "created"
  traceparent: "<trace>"

<env>.status, partition 3
uid
{"order_id":"uid","status":"updated","created_at":"<now>","version":2}
  ce_id: "uid:2:updated"
  ce_source: "waybill/<env>/orders"
  ce_specversion: "1.0"
  ce_time: "<now>"
  ce_type: "updated"
  traceparent: "<trace>"

<env>.status, partition 3
uid
{"order_id":"uid","status":"cancelled","created_at":"<now>","version":2}
  ce_id: "uid:2:cancelled"
  ce_source: "waybill/<env>/orders"
  ce_specversion: "1.0"
  ce_time: "<now>"
  ce_type: "cancelled"
  traceparent: "<trace>"

<env>.orders.dlq, partition 1
key
{"order_uid":" "}
  __connect.errors.exception.message: "blank"
  __connect.errors.offset: "0"
  __connect.errors.partition: "3"
  __connect.errors.topic: "<env>.orders"
  waybill.error.detail: "/order_uid blank: must not be blank
/track_number missing: this field is required
/delivery missing: this field is required
/payment missing: this field is required
/items missing: this field is required
/customer_id missing: this field is required
/delivery_service missing: this field is required
/date_created missing: this field is required"
  waybill.error.reason: "blank"
"#);
}
