//! The pages about orders: the search, an order, and why there is none to show.

use std::time::Duration;

use askama::Template;
use chassis::web::{
    Lang, time_markup,
    words::{counted, fill},
};
use events::InvalidOrderUid;
use time::OffsetDateTime;

use super::{
    Frame, NewestOrder,
    barcode::Bars,
    history::{Life, LifeView},
    order_href, render,
    words::{Words, uid_problem},
};
use crate::order::Order;

/// Where the answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The cache in this process.
    Memory,
    /// The cache shared by replicas.
    Redis,
    /// PostgreSQL.
    Database,
}

/// The server that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silent {
    /// PostgreSQL.
    Database,
    /// Kafka.
    Kafka,
}

/// An order, and how it was found.
#[derive(Debug)]
pub(crate) struct OrderPage<'a> {
    pub(crate) frame: Frame<'a>,
    pub(crate) order: &'a Order<'a>,
    pub(crate) version: i64,
    pub(crate) source: Source,
    pub(crate) took: Duration,
    /// What became of it, if the database tells.
    pub(crate) life: Option<Life<'a>>,
    /// Where its delivery is asked about.
    pub(crate) delivery_url: Option<&'a str>,
}

/// That an order is not here.
#[derive(Debug)]
pub(crate) struct Missing<'a> {
    pub(crate) frame: Frame<'a>,
    /// What was asked for.
    pub(crate) uid: &'a str,
    /// The orders that have it as their track number.
    pub(crate) by_track: &'a [NewestOrder],
    /// How long `?wait=` has waited in vain.
    pub(crate) waited: Option<Duration>,
}

/// `/`: the search and the newest orders.
pub(crate) fn home(frame: Frame<'_>) -> String {
    render(&HomeTemplate { w: frame.words(), f: &frame, tab: "orders" })
}

/// An order. 200.
pub(crate) fn order(page: &OrderPage<'_>) -> String {
    let (lang, w, order) = (page.frame.lang, page.frame.words(), page.order);
    let bars = Bars::of(&order.track_number);
    let details = |all: &[(&'static str, &str)]| {
        all.iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(label, value)| (*label, (*value).to_owned()))
            .collect::<Vec<_>>()
    };
    let (delivery, payment) = (&order.delivery, &order.payment);
    // Absent is 0 in the canonical order, and nobody pays on the first second of 1970.
    let paid_at = match payment.payment_dt {
        0 => None,
        seconds => Some(match OffsetDateTime::from_unix_timestamp(seconds) {
            Ok(at) => time_markup(lang, at),
            Err(_) => seconds.to_string(),
        }),
    };
    let sm_id = if order.sm_id == 0 { String::new() } else { order.sm_id.to_string() };
    render(&OrderTemplate {
        f: &page.frame,
        w,
        tab: "orders",
        lang,
        order,
        placed: fill(w.placed, lang.date_time(order.date_created)),
        delivered_by: fill(w.delivered_by, &*order.delivery_service),
        bars_width: bars.as_ref().map_or(0, drawn_width),
        bars_label: fill(w.bar_code_of, &*order.track_number),
        bars,
        place: joined(&[&joined(&[&delivery.city, &delivery.region], ", "), &delivery.zip], " "),
        paid_at,
        paid_details: details(&[
            (w.transaction, &payment.transaction),
            (w.request, &payment.request_id),
        ]),
        customer_details: details(&[
            (w.entry, &order.entry),
            (w.locale, &order.locale),
            (w.shard, &order.shardkey),
            ("oof", &order.oof_shard),
            ("sm", &sm_id),
            (w.signature, &order.internal_signature),
        ]),
        items_title: counted(lang, &w.items, order.items.len()),
        sums: sums(lang, order),
        source: match page.source {
            Source::Memory => w.from_memory,
            Source::Redis => w.from_redis,
            Source::Database => w.from_database,
        },
        source_good: page.source == Source::Memory,
        took: lang.span(page.took),
        version: page.version,
        version_words: fill(w.version, lang.number(page.version)),
        json_href: format!("{}?format=json", order_href(order.order_uid.as_str())),
        json: serde_json::to_string_pretty(order).expect("an order becomes JSON"),
        life: page.life.as_ref().map(|life| LifeView::of(lang, order.order_uid.as_str(), life)),
        delivery_url: page.delivery_url,
    })
}

/// The order is not here. 404.
pub(crate) fn missing(page: &Missing<'_>) -> String {
    let (lang, w) = (page.frame.lang, page.frame.words());
    let wait = format!("{}?wait=30s", order_href(page.uid));
    render(&MessageTemplate {
        query: page.uid,
        waited: page.waited.map(|waited| fill(w.waited, lang.span(waited))),
        by_track: page.by_track,
        by_track_title: counted(lang, &w.is_track, page.by_track.len()),
        actions: vec![
            Action { href: wait, label: w.wait_for_it, waits: true },
            Action { href: "/rejected".to_owned(), label: w.see_rejected, waits: false },
        ],
        ..MessageTemplate::new(&page.frame, w.missing_title, w.missing_text.to_owned())
    })
}

/// What was asked for cannot be an order's id. 400.
pub(crate) fn malformed(frame: Frame<'_>, asked: &str, why: InvalidOrderUid) -> String {
    // What is far too long to be an id is not worth repeating in full.
    let query = asked.char_indices().nth(200).map_or(asked, |(end, _)| &asked[..end]);
    let text = uid_problem(frame.lang, why);
    render(&MessageTemplate {
        query,
        ..MessageTemplate::new(&frame, frame.words().malformed_title, text)
    })
}

/// The order is not cached and the database is silent. 503.
pub(crate) fn order_trouble(frame: Frame<'_>, uid: &str) -> String {
    let w = frame.words();
    let again = Action { href: order_href(uid), label: w.try_again, waits: false };
    render(&MessageTemplate {
        query: uid,
        actions: vec![again],
        ..MessageTemplate::new(&frame, w.trouble_title, w.trouble_text.to_owned())
    })
}

/// Rejected records cannot be shown or sent again, because a server is silent. 503.
pub(crate) fn trouble(frame: Frame<'_>, silent: Silent, again: String) -> String {
    let w = frame.words();
    let text = match silent {
        Silent::Database => w.trouble_list_text,
        Silent::Kafka => w.live.not_sent,
    };
    let again = Action { href: again, label: w.try_again, waits: false };
    render(&MessageTemplate {
        searchable: false,
        tab: "rejected",
        actions: vec![again],
        ..MessageTemplate::new(&frame, w.rejected_title, text.to_owned())
    })
}

/// No rejected record is kept at this position. 404, or 400 if it is none.
pub(crate) fn no_rejection(frame: Frame<'_>, id: &str) -> String {
    let w = frame.words();
    let list = Action { href: "/rejected".to_owned(), label: w.see_rejected, waits: false };
    render(&MessageTemplate {
        searchable: false,
        tab: "rejected",
        query: id,
        actions: vec![list],
        ..MessageTemplate::new(&frame, w.no_rejection_title, w.no_rejection_text.to_owned())
    })
}

/// An address that nothing is at. 404.
pub(crate) fn no_page(frame: Frame<'_>) -> String {
    let w = frame.words();
    render(&MessageTemplate {
        tab: "",
        ..MessageTemplate::new(&frame, w.no_page_title, w.no_page_text.to_owned())
    })
}

#[derive(Template)]
#[template(path = "home.html")]
struct HomeTemplate<'a> {
    f: &'a Frame<'a>,
    w: &'static Words,
    tab: &'static str,
}

#[derive(Template)]
#[template(path = "order.html")]
struct OrderTemplate<'a> {
    f: &'a Frame<'a>,
    w: &'static Words,
    tab: &'static str,
    lang: Lang,
    order: &'a Order<'a>,
    placed: String,
    delivered_by: String,
    bars: Option<Bars>,
    bars_width: u32,
    bars_label: String,
    place: String,
    paid_at: Option<String>,
    paid_details: Vec<(&'static str, String)>,
    customer_details: Vec<(&'static str, String)>,
    items_title: String,
    sums: Vec<Sum>,
    source: &'static str,
    source_good: bool,
    took: String,
    version: i64,
    version_words: String,
    json_href: String,
    json: String,
    life: Option<LifeView>,
    delivery_url: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessageTemplate<'a> {
    f: &'a Frame<'a>,
    w: &'static Words,
    tab: &'static str,
    title: &'a str,
    text: String,
    searchable: bool,
    query: &'a str,
    waited: Option<String>,
    by_track: &'a [NewestOrder],
    by_track_title: String,
    actions: Vec<Action>,
}

impl<'a> MessageTemplate<'a> {
    fn new(f: &'a Frame<'a>, title: &'a str, text: String) -> Self {
        Self {
            f,
            w: f.words(),
            tab: "orders",
            title,
            text,
            searchable: true,
            query: "",
            waited: None,
            by_track: &[],
            by_track_title: String::new(),
            actions: Vec::new(),
        }
    }
}

struct Action {
    href: String,
    label: &'static str,
    waits: bool,
}

/// One line of how the order adds up.
struct Sum {
    label: &'static str,
    amount: String,
    /// That it does not, and by how much.
    note: Option<String>,
    last: bool,
}

/// Goods, delivery, fee and total; real producers send sums that do not add up, so each that can
/// be recounted is.
fn sums(lang: Lang, order: &Order<'_>) -> Vec<Sum> {
    let (w, payment) = (Words::of(lang), &order.payment);
    let line =
        |label, amount: i64| Sum { label, amount: lang.number(amount), note: None, last: false };
    // Two i64 differ by more than an i64 can tell, and 1,000 of them add up to more.
    let note = |stated: i64, counted: i128, above, below| {
        let difference = i128::from(stated) - counted;
        let words = if difference > 0 { above } else { below };
        let amount = lang.number(i128::try_from(difference.unsigned_abs()).unwrap_or(i128::MAX));
        (difference != 0).then(|| fill(words, amount))
    };
    let items = order.items.iter().map(|item| i128::from(item.total_price)).sum();
    let parts = [payment.goods_total, payment.delivery_cost, payment.custom_fee];
    let parts = parts.into_iter().map(i128::from).sum();
    vec![
        Sum {
            note: note(payment.goods_total, items, w.above_items, w.below_items),
            ..line(w.goods, payment.goods_total)
        },
        line(w.delivery, payment.delivery_cost),
        line(w.fee, payment.custom_fee),
        Sum {
            label: w.in_all,
            amount: format!("{} {}", lang.number(payment.amount), payment.currency),
            note: note(payment.amount, parts, w.above_parts, w.below_parts),
            last: true,
        },
    ]
}

/// Whole pixels a module, so that no bar is drawn wider than another of its kind.
fn drawn_width(bars: &Bars) -> u32 {
    const WIDEST: u32 = 440;
    if bars.modules * 2 <= WIDEST { bars.modules * 2 } else { bars.modules }
}

fn joined(parts: &[&str], by: &str) -> String {
    let parts: Vec<_> = parts.iter().filter(|part| !part.is_empty()).copied().collect();
    parts.join(by)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use serde_json::{Value, json};
    use time::macros::datetime;

    use super::*;
    use crate::{
        order::violation::Violation,
        pages::{
            Position, RejectedPage, RejectedRow, RejectionPage, Stored, Told, docs, rejected,
            rejection,
        },
        status::verdict::Ignored,
    };
    use events::OrderStatus;

    const EVIL: &str = "<script>alert(1)</script>\"'&";

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

    fn frame<'a>(lang: Lang, newest: &'a [NewestOrder]) -> Frame<'a> {
        let now = datetime!(2021-11-26 06:30 UTC);
        let shared = chassis::web::Frame { lang, here: "/", now, assets: &crate::pages::ASSETS };
        let board = Some("http://couriers.example");
        Frame { shared, board, newest, rejected: Some(1_417), live: "7-41" }
    }

    fn page_of(lang: Lang, order_: &Order<'_>, newest: &[NewestOrder]) -> String {
        order(&OrderPage {
            frame: frame(lang, newest),
            order: order_,
            version: 2,
            source: Source::Memory,
            took: Duration::from_micros(214),
            life: Some(Life {
                status: OrderStatus::Delivering,
                stored: Stored {
                    at: datetime!(2021-11-26 06:22:19.112 UTC),
                    version: 1,
                    record_timestamp: datetime!(2021-11-26 06:22:19.100 UTC),
                    position: Position { topic: "orders", partition: 3, offset: 18_204 },
                },
                events: &told(),
                more: true,
            }),
            delivery_url: Some("http://127.0.0.1:8082/delivery/x"),
        })
    }

    fn told<'a>() -> [Told<'a>; 4] {
        let event = |second, word, status, ignored| Told {
            at: datetime!(2021-11-26 06:22:19.121 UTC) + Duration::from_secs(second),
            position: Position { topic: "order.status.changed", partition: 1, offset: 771 },
            word,
            status,
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

    /// Every text of the order made a script; the rest as it was.
    fn bedevil(value: &mut Value) {
        match value {
            Value::String(text) if !text.ends_with('Z') => EVIL.clone_into(text),
            Value::Array(all) => all.iter_mut().for_each(bedevil),
            Value::Object(all) => all.values_mut().for_each(bedevil),
            _ => {}
        }
    }

    /// All pages there are, of data that are scripts throughout.
    fn evil_pages(lang: Lang) -> Vec<String> {
        let mut evil = model();
        bedevil(&mut evil);
        let evil = order_of(&evil);
        let at = datetime!(2021-11-26 06:22 UTC);
        let newest = [NewestOrder { uid: EVIL.parse().unwrap(), ingested_at: at }];
        let frame = frame(lang, &newest);
        let here = "/order/%22?q=\"><script>";
        let shared = chassis::web::Frame { here, ..frame.shared };
        let frame = Frame { shared, ..frame };
        let violations = vec![
            Violation {
                pointer: EVIL.to_owned(),
                code: EVIL.to_owned(),
                message: EVIL.to_owned()
            };
            5
        ];
        let position = Position { topic: EVIL, partition: 3, offset: 18_204 };
        let row = RejectedRow { id: EVIL, at, position, reason: EVIL, violations: &violations };
        let rejection_of = |value| {
            rejection(&RejectionPage {
                frame,
                id: EVIL,
                at,
                position,
                reason: EVIL,
                violations: &violations,
                key: Some(EVIL.as_bytes()),
                value: Some(value),
                replays: &[],
            })
        };
        let not_utf8 = [EVIL.as_bytes(), b"\xff"].concat();
        let area = b"</textarea></pre><script>alert(1)</script>";
        vec![
            page_of(lang, &evil, &newest),
            home(frame),
            missing(&Missing { frame, uid: EVIL, by_track: &newest, waited: None }),
            malformed(frame, EVIL, InvalidOrderUid::ControlCharacter),
            order_trouble(frame, EVIL),
            trouble(frame, Silent::Database, "/rejected?reason=\"'><script>".to_owned()),
            no_rejection(frame, EVIL),
            no_page(frame),
            rejected(&RejectedPage {
                frame,
                reason: Some(EVIL),
                key: Some(EVIL),
                reasons: &[EVIL],
                rows: &[row],
                next: Some(EVIL),
            }),
            rejection_of(EVIL.as_bytes()),
            rejection_of(&not_utf8),
            rejection_of(area),
            docs(frame, &[]),
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
            "ab4219087a764ae0btest · chrt 9934930 · nm 2389212 · status 202",
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
    fn the_life_of_an_order_tells_what_was_ignored_and_why() {
        let html = page_of(Lang::En, &order_of(&model()), &[]);
        for text in [
            "id=\"status\">delivering<",
            "Received and stored",
            "Published as created",
            "06:22:19.121\u{a0}UTC · +9.0\u{a0}ms",
            "<li class=\"off\" data-record=\"1/771\">created again, ignored: nothing new",
            "order.status.changed/1 @ 771",
            "ignored: nobody here knows this status",
            "action=\"/order/b563feb7b2b84b6test/cancel\"",
            "action=\"/order/b563feb7b2b84b6test/complete\"",
            "href=\"/order/b563feb7b2b84b6test/history\"",
            "data-delivery=\"http://127.0.0.1:8082/delivery/x\"",
        ] {
            assert!(html.contains(text), "{text}\n{html}");
        }
        let russian = page_of(Lang::Ru, &order_of(&model()), &[]);
        assert!(russian.contains("Снова «создан» — пропущено, ничего нового"), "{russian}");
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
        assert_eq!(notes[0].as_deref(), Some("17 less than the items add up to"));
        assert_eq!((&notes[1], &notes[2]), (&None, &None));
        let above = "9,223,372,036,854,774,007 more than goods, delivery and fee";
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
        let by_track =
            [NewestOrder { uid: "b563feb7b2b84b6test".parse().unwrap(), ingested_at: at }];
        let html = missing(&Missing {
            frame: frame(Lang::En, &[]),
            uid: "a/b",
            by_track: &by_track,
            waited: Some(Duration::from_secs(30)),
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
    fn the_sample_in_the_api_document_is_an_order_with_the_keys_of_the_schema() {
        let document: Value = serde_json::from_str(crate::pages::OPENAPI).unwrap();
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
}
