//! The headers of requests and answers: encodings, types, languages, entity tags, caching.

use serde_json::{Value, json};
use testkit::{TestEnvironment, order_json::SAMPLE, shared};

use super::exchange;
use crate::support::{add_courier, order, post};

const LOCAL: &str = "Host: localhost\r\n";
const JSON: &str = "Host: localhost\r\nContent-Type: application/json\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_never_answered_with_406() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;

    for (number, encodings) in [
        "*;q=0",
        "identity;q=0",
        "gzip;q=0, identity;q=0",
        "*;q=0\r\nAccept-Encoding: identity;q=0",
        "br, *;q=0",
    ]
    .into_iter()
    .enumerate()
    {
        let lines = format!("{JSON}Accept-Encoding: {encodings}\r\n");
        let uid = format!("order-{number}");
        let posted =
            exchange(orders.address(), "POST /order", &lines, &order(&uid, 1).to_string()).await;
        assert_eq!(posted.status, 202, "{encodings}");
        let phone = format!("+7000000000{number}");
        let anna = json!({ "name": "Anna", "phone": phone, "transport_type": "car" });
        let added = exchange(couriers.address(), "POST /courier", &lines, &anna.to_string()).await;
        assert_eq!(added.status, 201, "{encodings}");
        let listed = exchange(couriers.address(), "GET /openapi.json", &lines, "").await;
        assert_eq!((listed.status, listed.header("content-encoding")), (200, ""), "{encodings}");
    }
    let gzip = format!("{LOCAL}Accept-Encoding: gzip\r\n");
    let listed = exchange(couriers.address(), "GET /openapi.json", &gzip, "").await;
    assert_eq!(listed.header("content-encoding"), "gzip");
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn json_with_personal_data_is_not_stored_by_caches() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    let (partition, offset) = env.send(Some(0), None, Some(b"no order")).await;
    env.send_status(None, b"no event").await;
    env.wait_until_drained().await;
    env.wait_until_couriers_drained().await;
    let id = add_courier(&couriers, "Anna", "car", "available").await;
    let uid = "b563feb7b2b84b6test";
    let rejected = format!("/rejected/{}:{partition}:{offset}", env.orders_topic());

    for (service, path) in [
        (&orders, "/orders".to_owned()),
        (&orders, format!("/order/{uid}")),
        (&orders, format!("/order/%62{}", &uid[1..])),
        (&orders, format!("/order/{uid}/status")),
        (&orders, format!("/order/{uid}/history")),
        (&orders, "/order/nobody".to_owned()),
        (&orders, "/rejected".to_owned()),
        (&orders, rejected),
        (&couriers, "/couriers".to_owned()),
        (&couriers, format!("/courier/{id}")),
        (&couriers, format!("/courier/{id}/statistics")),
        (&couriers, format!("/delivery/{uid}")),
        (&couriers, "/queue".to_owned()),
        (&couriers, "/statistics".to_owned()),
        (&couriers, "/rejected".to_owned()),
    ] {
        let answer = exchange(service.address(), &format!("GET {path}"), LOCAL, "").await;
        let caching = answer.header("cache-control");
        assert!(["no-store", "private, no-cache"].contains(&caching), "{path}: {caching}");
        let varies = answer.header("vary").to_lowercase();
        assert!(varies.split(", ").any(|name| name == "accept"), "{path}: {varies}");
    }
    let posted = post(&orders, "/order", SAMPLE).await;
    assert_eq!(posted.headers()["cache-control"], "no-store");
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn assets_understand_every_form_of_if_none_match() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let page = service.http.get(service.at("/docs")).header("accept", "text/html");
    let page = page.send().await.unwrap().text().await.unwrap();
    let url = page.split('"').find(|text| text.starts_with("/assets/")).unwrap();
    let whole = service.get(url).await;
    let tag = whole.headers()["etag"].to_str().unwrap().to_owned();
    let strong = tag.trim_start_matches("W/");

    for (tags, expected) in [
        (tag.clone(), 304),
        (strong.to_owned(), 304),
        (format!("\"other\", {tag}"), 304),
        (format!("\"other\",{strong}, \"third\""), 304),
        (format!("\"other\"\r\nIf-None-Match: {strong}"), 304),
        ("*".to_owned(), 304),
        ("\"other\"".to_owned(), 200),
        (strong.trim_matches('"').to_owned(), 200),
    ] {
        let lines = format!("{LOCAL}If-None-Match: {tags}\r\n");
        let answer = exchange(service.address(), &format!("GET {url}"), &lines, "").await;
        assert_eq!(answer.status, expected, "{tags}");
        assert_eq!(answer.header("etag"), tag, "{tags}");
        assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn accept_is_read_with_weights_lines_and_any_case() {
    let env = TestEnvironment::new(shared()).await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    let service = env.start(&[]).await;
    env.wait_until_drained().await;
    let kind_of = async |path: &str, lines: &str| {
        let lines = format!("{LOCAL}{lines}");
        let answer = exchange(service.address(), &format!("GET {path}"), &lines, "").await;
        answer.header("content-type").to_owned()
    };

    for path in ["/order/b563feb7b2b84b6test", "/rejected", "/no/such/page"] {
        for (lines, expected) in [
            ("", "json"),
            ("Accept: */*\r\n", "json"),
            ("Accept: text/html\r\n", "html"),
            ("Accept: Text/HTML\r\n", "html"),
            ("Accept: text/html,application/xml;q=0.9,*/*;q=0.8\r\n", "html"),
            ("Accept: application/json\r\nAccept: text/html;q=0.5\r\n", "json"),
            ("Accept: application/json;q=0.4\r\nAccept: text/html;q=0.5\r\n", "html"),
            ("Accept: text/html;q=0, application/json\r\n", "json"),
            ("Accept: text/html;q=0\r\n", "json"),
            ("Accept: application/json, text/html;q=0.1\r\n", "json"),
        ] {
            let kind = kind_of(path, lines).await;
            assert!(kind.contains(expected), "{path} {lines}: {kind}");
        }
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_language_is_read_with_weights_lines_and_any_case() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    for (lines, lang) in [
        ("", "en"),
        ("Accept-Language: RU-ru\r\n", "ru"),
        ("Accept-Language: en;q=0.5, ru;q=0.6\r\n", "ru"),
        ("Accept-Language: en;q=0.5\r\nAccept-Language: ru ; Q=0.6\r\n", "ru"),
        ("Accept-Language: ru;q=0, de\r\n", "en"),
        ("Accept-Language: en;q=0, *\r\n", "ru"),
        ("Accept-Language: truly\r\n", "en"),
    ] {
        let lines = format!("{LOCAL}Accept: text/html\r\n{lines}");
        let answer = exchange(service.address(), "GET /docs", &lines, "").await;
        assert!(answer.body.contains(&format!("<html lang=\"{lang}\">")), "{lines}");
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_language_links_stay_on_the_service() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;

    for service in [&orders, &couriers] {
        for path in
            ["//evil.example/", "//evil.example/x?a=b", "/\\evil.example/", "/%2F/evil.example"]
        {
            let lines = format!("{LOCAL}Accept: text/html\r\n");
            let answer = exchange(service.address(), &format!("GET {path}"), &lines, "").await;
            assert_eq!(answer.status, 404, "{path}");
            let links = answer.body.split("href=\"").skip(1);
            let links: Vec<&str> = links.map(|rest| rest.split('"').next().unwrap()).collect();
            assert!(links.iter().any(|link| link.ends_with("lang=ru")), "{links:?}");
            for link in links {
                let base = reqwest::Url::parse(&service.at(path)).unwrap();
                let host = base.join(link).unwrap().host_str().unwrap().to_owned();
                assert_eq!(host, "127.0.0.1", "{path}: {link}");
            }
        }
    }
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_has_its_own_limit_of_the_body() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;
    let (partition, offset) = env.send(Some(0), None, Some(b"no order")).await;
    env.wait_until_drained().await;

    // More than any call of the courier service needs, and not much for orders.
    let many: Vec<Value> = (0..100).map(|number| order(&format!("uid-{number}"), 1)).collect();
    let many = json!(many).to_string();
    assert!(many.len() > 70_000);
    assert_eq!(post(&orders, "/order", &many).await.status(), 202);
    let refused = post(&couriers, "/courier", &many).await;
    assert_eq!(refused.status(), 413);
    assert!(refused.text().await.unwrap().contains("64 KiB"));

    let replay = format!("/rejected/{}:{partition}:{offset}/replay", env.orders_topic());
    let refused = post(&orders, &replay, &" ".repeat(2 * 1_024 * 1_024 + 1)).await;
    assert_eq!(refused.status(), 413);
    assert!(refused.text().await.unwrap().contains("2048 KiB"));
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}
