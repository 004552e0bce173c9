//! Tests of all pages: they escape all values, comply with the security policy, and show the right
//! texts.

use std::time::Duration;

use chassis::{
    rejected::{
        Filter, Header, Outcome, RejectedRecord, RejectedRow, Replay, Stored,
        calls::{Checked, RejectedList},
    },
    web::Lang,
};
use events::{
    DeliveryCause, DeliveryEvent, DeliveryStatus, InvalidOrderUid, OrderStatus, Transport,
};
use serde::Deserialize as _;
use serde_json::{Value, json};
use sqlx::types::Json;
use time::macros::datetime;

use super::{
    ASSETS, Frame,
    delivery::DeliveryView,
    docs::docs,
    history::OrderHistory,
    home::home,
    messages::{
        Dependency, MissingOrder, malformed, missing, no_rejection, no_such_page,
        order_unavailable, rejected_unavailable,
    },
    order::OrderPage,
    rejected::rejected,
    rejection::{check_part, rejection},
    sums::sums,
};
use crate::{
    http::OPENAPI,
    lookup::{AnsweredBy, queries::NewestOrder},
    order::{Order, violation::Violation},
    status::{
        history::{EventRow, StoredOrder},
        verdict::Ignored,
    },
};

/// Markup, and characters that cannot be seen.
const EVIL: &str = "<script>alert(1)</script>\"'&\u{202e}\u{200b}";

fn model() -> Value {
    json!({
        "order_uid": "b563feb7b2b84b6test", "track_number": "WBILMTESTTRACK", "entry": "WBIL",
        "delivery": {
            "name": "Test Testov", "phone": "+9720000000", "zip": "2639809",
            "city": "Kiryat Mozkin", "address": "Ploshad Mira 15", "region": "Kraiot",
            "email": "test@gmail.com"
        },
        "payment": {
            "transaction": "b563feb7b2b84b6test", "request_id": "", "currency": "USD",
            "provider": "wbpay", "amount": 1817, "payment_dt": 1_637_907_727, "bank": "alpha",
            "delivery_cost": 1500, "goods_total": 317, "custom_fee": 0
        },
        "items": [{
            "chrt_id": 9_934_930, "track_number": "WBILMTESTTRACK", "price": 453,
            "rid": "ab4219087a764ae0btest", "name": "Mascaras", "sale": 30, "size": "0",
            "total_price": 317, "nm_id": 2_389_212, "brand": "Vivienne Sabo", "status": 202
        }],
        "locale": "en", "internal_signature": "", "customer_id": "test",
        "delivery_service": "meest", "shardkey": "9", "sm_id": 99,
        "date_created": "2021-11-26T06:22:19Z", "oof_shard": "1"
    })
}

fn order_of(model: &Value) -> Order<'_> {
    Order::deserialize(model).unwrap()
}

fn frame(lang: Lang, newest: &[NewestOrder]) -> Frame<'static> {
    let now = datetime!(2021-11-26 06:30 UTC);
    Frame {
        shared: chassis::web::Frame { lang, here: "/", now, assets: &ASSETS },
        board: Some("http://couriers.example"),
        newest: newest.to_vec(),
        rejected: Some(1_417),
        live: "7-41".to_owned(),
    }
}

fn page_of(lang: Lang, order: &Order<'_>, newest: &[NewestOrder]) -> String {
    let stored = StoredOrder {
        version: 1,
        ingested_at: datetime!(2021-11-26 06:22:19.112 UTC),
        record_timestamp: datetime!(2021-11-26 06:22:19.100 UTC),
        partition: 3,
        offset: 18_204,
    };
    let page = OrderPage {
        frame: frame(lang, newest),
        order,
        version: 2,
        source: AnsweredBy::Memory,
        took: Duration::from_micros(214),
        history: Some(OrderHistory {
            status: OrderStatus::Delivering,
            stored: &stored,
            orders_topic: "orders",
            events: &events(),
            more: true,
        }),
        delivery: Some(&delivery()),
        delivery_url: Some("http://127.0.0.1:8082/delivery/x".to_owned()),
    };
    page.html()
}

fn delivery() -> DeliveryEvent {
    DeliveryEvent {
        order_id: "b563feb7b2b84b6test".parse().unwrap(),
        courier_id: Some(7.try_into().unwrap()),
        status: DeliveryStatus::Assigned,
        at: datetime!(2021-11-26 06:23:00.123456 UTC),
        number: 41,
        transport_type: Some(Transport::Scooter),
        deadline: Some(datetime!(2021-11-26 06:38 UTC)),
        cause: Some(DeliveryCause::Match),
    }
}

fn events() -> [EventRow; 4] {
    let event = |second, word: &str, status, ignored| EventRow {
        at: datetime!(2021-11-26 06:22:19.121 UTC) + Duration::from_secs(second),
        topic: "order.status.changed".to_owned(),
        partition: 1,
        offset: 771,
        word: word.to_owned(),
        status,
        created_at: None,
        version: (second == 0).then_some(1),
        ignored,
    };
    [
        event(0, "created", Some(OrderStatus::Created), None),
        event(1, "created", Some(OrderStatus::Created), Some(Ignored::Repeated)),
        event(2, EVIL, None, Some(Ignored::UnknownStatus)),
        event(90, "delivering", Some(OrderStatus::Delivering), None),
    ]
}

/// Replaces every text of the order by a script. A currency is always one of a list.
fn replace_texts(value: &mut Value) {
    match value {
        Value::String(text) if !text.ends_with('Z') => EVIL.clone_into(text),
        Value::Array(all) => all.iter_mut().for_each(replace_texts),
        Value::Object(all) => {
            let is_text = |key: &String| key != "currency";
            all.iter_mut().filter(|(key, _)| is_text(key)).for_each(|(_, one)| replace_texts(one));
        }
        _ => {}
    }
}

/// A rejected record, every text of which is a script.
fn evil_record(value: &[u8]) -> RejectedRecord {
    let stored = |bytes: &[u8]| Some(Stored { bytes: bytes.to_vec(), whole: None });
    let header = Header { name: EVIL.to_owned(), value: Some(value.to_vec()) };
    RejectedRecord {
        row: evil_row(),
        key: stored(EVIL.as_bytes()),
        value: stored(value),
        headers: Some(vec![header]),
        headers_left_out: None,
    }
}

fn evil_row() -> RejectedRow {
    let violation =
        Violation { pointer: EVIL.to_owned(), code: EVIL.to_owned(), message: EVIL.to_owned() };
    let at = datetime!(2021-11-26 06:22 UTC);
    RejectedRow {
        topic: EVIL.to_owned(),
        partition: 3,
        offset: 18_204,
        record_timestamp: at,
        reason: EVIL.to_owned(),
        violations: Json(vec![violation; 5]),
        replays: Json(vec![Replay {
            at,
            partition: 3,
            offset: 18_205,
            edited: true,
            by: Some(EVIL.to_owned()),
            outcome: Some(Outcome::Rejected),
        }]),
        rejected_at: at,
        settled_at: Some(at),
        settled_by: Some(EVIL.to_owned()),
        settled_why: Some(EVIL.to_owned()),
    }
}

/// Every page, each with scripts in place of all its texts.
fn evil_pages(lang: Lang) -> Vec<String> {
    let mut evil = model();
    replace_texts(&mut evil);
    let evil = order_of(&evil);
    let at = datetime!(2021-11-26 06:22 UTC);
    let newest = [NewestOrder { uid: EVIL.parse().unwrap(), ingested_at: at }];
    let mut frame = frame(lang, &newest);
    frame.shared.here = "/order/%22?q=\"><script>";
    let list = RejectedList {
        rows: vec![evil_row()],
        filter: Filter {
            reason: Some(EVIL.to_owned()),
            key: Some(EVIL.to_owned()),
            field: Some(EVIL.to_owned()),
            text: Some(EVIL.to_owned()),
            ..Filter::default()
        },
        next: Some(EVIL.to_owned()),
        limit: 50,
        continues: false,
    };
    let rejection_of = |value: &[u8]| rejection(&frame, &evil_record(value), EVIL);
    let not_utf8 = [EVIL.as_bytes(), b"\xff"].concat();
    vec![
        page_of(lang, &evil, &newest),
        home(&frame),
        missing(&MissingOrder {
            frame: &frame,
            uid: EVIL,
            by_track: &newest,
            waited: None,
            events: None,
            delivery: None,
        }),
        missing(&MissingOrder {
            frame: &frame,
            uid: EVIL,
            by_track: &[],
            waited: None,
            events: Some(None),
            delivery: Some(&delivery()),
        }),
        malformed(&frame, EVIL, InvalidOrderUid::ControlCharacter),
        order_unavailable(&frame, EVIL),
        rejected_unavailable(&frame, Dependency::Database, "/rejected?reason=\"'><script>"),
        no_rejection(&frame, EVIL),
        no_such_page(&frame),
        rejected(&frame, &list, None),
        rejection_of(EVIL.as_bytes()),
        rejection_of(&not_utf8),
        rejection_of(b"</textarea></pre><script>alert(1)</script>"),
        docs(&frame),
    ]
}

#[test]
fn data_are_text_and_never_markup() {
    for html in Lang::ALL.into_iter().flat_map(evil_pages) {
        let scripts = html.matches("<script").count();
        let ours = html.matches("<script type=\"module\" src=\"/assets/").count();
        assert_eq!(scripts, ours, "{html}");
        assert!(!html.contains("alert(1)</"), "{html}");
        assert!(!html.contains("\"'&"), "{html}");
        assert_eq!(html.matches("</main>").count(), 1);
        assert_eq!(html.matches("<textarea").count(), html.matches("</textarea>").count());
    }
}

/// The check of an edited record is a part of a page.
#[test]
fn the_check_of_a_record_is_text_too() {
    for lang in Lang::ALL {
        let violations = evil_row().violations.0.into_iter().map(|one| (one, Some((7, 8))));
        let html = check_part(&frame(lang, &[]), &Checked { violations: violations.collect() });
        assert!(!html.contains("<script") && !html.contains('\u{202e}'), "{html}");
        assert_eq!(html.matches("data-to-line=\"7\"").count(), 5);
        let valid = check_part(&frame(lang, &[]), &Checked { violations: Vec::new() });
        assert!(valid.contains("class=\"good\"") && !html.contains("class=\"good\""), "{valid}");
    }
}

#[test]
fn characters_that_cannot_be_seen_are_shown() {
    for html in Lang::ALL.into_iter().flat_map(evil_pages) {
        // The text of a form is sent back as it is.
        let shown = html
            .split("<textarea")
            .map(|part| part.split_once("</textarea>").map_or(part, |(_, rest)| rest));
        for text in shown.flat_map(|part| part.split('<')).filter_map(|tag| tag.split_once('>')) {
            assert!(!text.1.contains(['\u{202e}', '\u{200b}']), "{}", text.1);
        }
        assert!(html.contains("[U+202E][U+200B]") || !html.contains("alert(1)"), "{html}");
    }
}

#[test]
fn pages_need_nothing_that_the_security_policy_forbids() {
    for html in evil_pages(Lang::En) {
        let tags = html.split('<').filter_map(|part| part.split_once('>')).map(|(tag, _)| tag);
        for tag in tags {
            assert!(!tag.contains(" style=") && !tag.starts_with("style"), "{tag}");
            assert!(!tag.contains(" onclick=") && !tag.contains("javascript:"), "{tag}");
        }
        // Links and a question to the courier service, whose addresses are given.
        let html = ["http://couriers.example", "http://127.0.0.1:8082"]
            .into_iter()
            .fold(html, |html, address| html.replace(address, ""));
        assert!(!html.contains("http:") && !html.contains("https:"));
    }
    assert!(!chassis::web::CONTENT_SECURITY_POLICY.contains("unsafe"));
    assert!(!chassis::web::CONTENT_SECURITY_POLICY.contains("  "));
}

#[test]
fn an_order_is_shown_with_everything_it_holds() {
    let html = page_of(Lang::En, &order_of(&model()), &[]);
    for text in [
        "<html lang=\"en\">",
        "<h1>b563feb7b2b84b6test</h1>",
        "WBILMTESTTRACK",
        "Test Testov",
        "Ploshad Mira 15",
        "Kiryat Mozkin, Kraiot 2639809",
        "+9720000000",
        "test@gmail.com",
        "1,817 USD",
        "wbpay",
        "alpha",
        "1 item",
        "Mascaras",
        "Vivienne Sabo",
        "453",
        "1,500",
        "<bdi>ab4219087a764ae0btest</bdi> · chrt 9934930 · nm 2389212 · status 202",
        "WBIL",
        "meest",
        "from memory · 0.2\u{a0}ms",
        "version 2",
        "orders/3 @ 18204",
        "06:22:19.112",
        "/order/b563feb7b2b84b6test?format=json",
        "aria-label=\"Bar code of WBILMTESTTRACK\"",
    ] {
        assert!(html.contains(text), "{text}\n{html}");
    }
    assert!(!html.contains("chip warn"), "sums that add up are not marked");
}

#[test]
fn the_history_says_what_was_ignored_and_why() {
    let html = page_of(Lang::En, &order_of(&model()), &[]);
    for text in [
        "id=\"status\">delivering<",
        "Received and stored",
        "Event “created” published",
        "06:22:19.121\u{a0}UTC · +9.0\u{a0}ms",
        "<li class=\"ignored\" data-record=\"1/771\">",
        "created again, ignored: nothing new",
        "order.status.changed/1 @ 771",
        "ignored: unknown status",
        "action=\"/order/b563feb7b2b84b6test/cancel\"",
        "action=\"/order/b563feb7b2b84b6test/complete\"",
        "href=\"/order/b563feb7b2b84b6test/history\"",
        "data-delivery=\"http://127.0.0.1:8082/delivery/x\"",
    ] {
        assert!(html.contains(text), "{text}\n{html}");
    }
    let russian = page_of(Lang::Ru, &order_of(&model()), &[]);
    assert!(russian.contains("Повторный статус «создан» не учтён: ничего нового"), "{russian}");
}

#[test]
fn the_delivery_says_who_has_the_order_and_until_when() {
    let html = page_of(Lang::En, &order_of(&model()), &[]);
    for text in [
        "Assigned · courier 7 · by scooter",
        " · deadline <time datetime=\"2021-11-26T06:38:00.000Z\">26\u{a0}Nov\u{a0}2021, 06:38\u{a0}UTC</time>",
        "datetime=\"2021-11-26T06:23:00.123Z\"",
    ] {
        assert!(html.contains(text), "{text}\n{html}");
    }
    let view = |lang, status| DeliveryView::of(lang, &DeliveryEvent { status, ..delivery() });
    let overdue = view(Lang::Ru, DeliveryStatus::Overdue);
    assert!(overdue.is_late && overdue.deadline.is_some());
    assert_eq!(overdue.text, "Срок доставки истёк · курьер 7 · на самокате");
    let requeued = view(Lang::En, DeliveryStatus::Requeued);
    assert_eq!((requeued.text.as_str(), requeued.deadline), ("Waiting for a courier again", None));
    let unknown = DeliveryEvent { courier_id: None, transport_type: None, ..delivery() };
    assert_eq!(DeliveryView::of(Lang::En, &unknown).text, "Assigned");
}

#[test]
fn russian_is_written_in_russian() {
    let html = page_of(Lang::Ru, &order_of(&model()), &[]);
    for text in [
        "<html lang=\"ru\">",
        "1\u{a0}817 USD",
        "1 товар",
        "из памяти · 0,2\u{a0}мс",
        "Кому",
        "Итого",
        "26\u{a0}нояб.\u{a0}2021",
    ] {
        assert!(html.contains(text), "{text}");
    }
}

#[test]
fn sums_that_do_not_add_up_are_marked_with_the_difference() {
    let mut model = model();
    model["payment"]["goods_total"] = json!(300);
    model["payment"]["amount"] = json!(i64::MAX);
    let order = order_of(&model);
    let notes: Vec<_> = sums(Lang::En, &order).into_iter().map(|sum| sum.note).collect();
    assert_eq!(notes[0].as_deref(), Some("17 less than the sum of the items"));
    assert_eq!((&notes[1], &notes[2]), (&None, &None));
    let above = "9,223,372,036,854,774,007 more than the sum of goods, delivery and fee";
    assert_eq!(notes[3].as_deref(), Some(above));
}

#[test]
fn a_track_number_without_bars_is_still_shown() {
    let mut model = model();
    model["track_number"] = json!("Накладная №7");
    let html = page_of(Lang::En, &order_of(&model), &[]);
    assert!(html.contains("Накладная №7</figcaption>"));
    assert!(!html.contains("class=\"bars\""));
}

#[test]
fn an_order_that_is_not_here_offers_a_way_on() {
    let at = datetime!(2021-11-26 06:29 UTC);
    let by_track = [NewestOrder { uid: "b563feb7b2b84b6test".parse().unwrap(), ingested_at: at }];
    let html = missing(&MissingOrder {
        frame: &frame(Lang::En, &[]),
        uid: "a/b",
        by_track: &by_track,
        waited: Some(Duration::from_secs(30)),
        events: None,
        delivery: None,
    });
    assert!(html.contains("href=\"/order/a%2Fb?wait=30s\""));
    assert!(html.contains("It is the track number of 1 order"));
    assert!(html.contains("href=\"/order/b563feb7b2b84b6test\""));
    assert!(html.contains("Waited 30\u{a0}s"));
    assert!(
        html.contains("waybill load --count 10"),
        "with no orders yet it says how to send some"
    );
}

#[test]
fn the_documented_sample_is_an_order_with_the_keys_of_the_schema() {
    let document: Value = serde_json::from_str(&OPENAPI).unwrap();
    let sample = &document["components"]["examples"]["order"]["value"];
    assert_eq!(&serde_json::to_value(order_of(sample)).unwrap(), sample);
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let schema = |name: &str| keys(&document["components"]["schemas"][name]["properties"]);
    assert_eq!(keys(sample), schema("Order"));
    assert_eq!(keys(&sample["delivery"]), schema("Delivery"));
    assert_eq!(keys(&sample["payment"]), schema("Payment"));
    assert_eq!(keys(&sample["items"][0]), schema("Item"));
}

#[test]
fn the_scripts_use_only_texts_that_the_page_has() {
    let texts: Value = serde_json::from_str(&frame(Lang::En, &[]).live_words()).unwrap();
    for name in ASSETS.texts_used("app.js") {
        assert_ne!(texts[name], Value::Null, "{name}");
    }
}

#[test]
fn all_assets_together_stay_light() {
    // Not compressed. Compression makes text about a third of that.
    let bytes = ASSETS.weight();
    assert!(bytes < 120_000, "{bytes} bytes");
}
