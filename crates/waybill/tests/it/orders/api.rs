//! The HTTP contract: lists in pages, posted orders, problems, health, metrics, the live feed.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use testkit::{TestEnvironment, order_json::SAMPLE, shared, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn posted_orders_are_taken_all_or_none_and_listed_in_pages() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let mut order: Value = serde_json::from_str(SAMPLE).unwrap();
    let orders: Vec<Value> = (0..7)
        .map(|number| {
            order["order_uid"] = json!(format!("uid-{number}"));
            order["customer_id"] = json!(if number < 3 { "few" } else { "many" });
            order.clone()
        })
        .collect();
    let post = |body: Value| service.http.post(service.at("/order")).json(&body).send();

    let mut broken = orders.clone();

    broken[4]["payment"]["amount"] = json!(-1);
    broken[6]["delivery"]["name"] = json!(" ");
    let refused = post(json!(broken)).await.unwrap();

    assert_eq!(refused.status(), 422);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");

    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["error"], problem["detail"]);

    let pointers: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|e| &e["pointer"]).collect();
    assert_eq!(pointers, ["/4/payment/amount", "/6/delivery/name"]);

    let accepted = post(json!(orders)).await.unwrap();
    assert_eq!(accepted.status(), 202);
    assert_eq!(accepted.json::<Value>().await.unwrap()["accepted"].as_array().unwrap().len(), 7);

    let one = post(orders[0].clone()).await.unwrap();
    assert_eq!(one.headers()["location"], "/order/uid-0");

    env.wait_until_drained().await;
    assert_eq!(env.count("orders.orders").await, 7, "nothing of the refused request was sent");

    let mut listed = Vec::new();
    let mut path = "/orders?limit=2".to_owned();
    loop {
        let answer = service.get(&path).await;
        let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let page: Value = answer.json().await.unwrap();
        listed.extend(page["items"].as_array().unwrap().iter().map(|o| o["order_uid"].to_string()));
        assert_eq!(page["next"].is_null(), link.is_none());
        let Some(link) = link else { break };
        path = link.split(['<', '>']).nth(1).unwrap().to_owned();
    }
    let mut distinct = listed.clone();
    distinct.sort();
    distinct.dedup();

    assert_eq!((listed.len(), distinct.len()), (7, 7), "every order is listed once: {listed:?}");

    let few = service.json("/orders?customer_id=few").await;
    assert_eq!(few["items"].as_array().unwrap().len(), 3);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn problems_name_the_error() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    for (path, status, words) in [
        ("/order/nobody", 404, "no order with this id"),
        ("/order/%20", 400, "must not be blank"),
        ("/order/%ff", 400, "UTF-8"),
        ("/order/%ff/status", 400, "UTF-8"),
        ("/rejected/%ff", 400, "UTF-8"),
        ("/assets/%ff", 400, "UTF-8"),
        ("/order/a?wait=1h", 400, "wait"),
        ("/orders?limit=501", 400, "limit"),
        ("/orders?after=x", 400, "after"),
        ("/rejected/orders", 400, "orders:3:18204"),
        ("/rejected/orders:1:1", 404, "no rejected record"),
        ("/orders?customer_id=%00", 400, "NUL"),
        ("/orders?track_number=%00", 400, "NUL"),
        ("/orders?after=-219960000000000000.a", 400, "after"),
        ("/rejected?reason=%00", 400, "NUL"),
        ("/rejected/a%00:1:1", 400, "orders:3:18204"),
        ("/nowhere", 404, "/docs"),
    ] {
        let answer = service.get(path).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["status"], status, "{path}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{path}: {problem}");
    }

    let forged = service.http.post(service.at("/order")).header("sec-fetch-site", "cross-site");
    assert_eq!(forged.body(SAMPLE).send().await.unwrap().status(), 403);

    let compressed = service.http.post(service.at("/order")).header("content-encoding", "gzip");
    let compressed = compressed.header("content-type", "application/json");
    let answer = compressed.body(SAMPLE).send().await.unwrap();
    assert_eq!(answer.status(), 415);
    let problem: Value = answer.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("Content-Encoding"), "{problem}");

    let head = service.http.head(service.at("/order/nobody")).send().await.unwrap();
    assert_eq!(head.status(), 404);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_counts_rejected_records_up_to_a_limit() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let page = async || {
        let page = service.http.get(service.at("/")).header("accept", "text/html").send().await;
        page.unwrap().text().await.unwrap()
    };
    let mut offset = 0;

    for (more, counted) in [(10_000, "> 10,000<"), (500, "> more than 10,000<")] {
        let rows = "INSERT INTO orders.rejected_records \
             (topic, \"partition\", \"offset\", record_timestamp, reason, violations) \
             SELECT 'some', 0, $1 + number, now(), 'missing', '[]' \
             FROM generate_series(1, $2) AS number";
        sqlx::query(rows).bind(offset).bind(more).execute(&env.pool).await.unwrap();
        offset += more;
        let page = page().await;
        assert!(page.contains(counted), "{counted} is not in {page}");
    }
    service.stop().await.unwrap();
}

/// The queries of a page and of its side list run together, with one limit of two seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_waits_once_for_all_its_queries() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    env.wait_until_drained().await;
    env.wait_until_status_drained().await;
    let mut lock = env.pool.begin().await.unwrap();
    let tables = "LOCK TABLE orders.orders, orders.order_status IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(tables).execute(&mut *lock).await.unwrap();
    let mut shortest = Duration::MAX;

    for _ in 0..2 {
        let since = Instant::now();
        let page = service.http.get(service.at("/order/b563feb7b2b84b6test"));
        let page = page.header("accept", "text/html").send().await.unwrap();
        assert_eq!(page.status(), 200);
        shortest = shortest.min(since.elapsed());
    }
    assert!(shortest < Duration::from_millis(3_900), "{shortest:?}");
    lock.rollback().await.unwrap();
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_the_contract_is_documented_and_answers() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let api = service.json("/openapi.json").await;

    for (path, method) in [
        ("/order/{order_uid}", "get"),
        ("/order", "post"),
        ("/orders", "get"),
        ("/rejected", "get"),
        ("/rejected/{id}", "get"),
        ("/rejected/{id}/replay", "post"),
        ("/live", "get"),
        ("/livez", "get"),
        ("/readyz", "get"),
        ("/metrics", "get"),
    ] {
        assert!(api["paths"][path][method].is_object(), "{method} {path} is not in openapi.json");
    }
    assert_eq!(service.get("/livez").await.status(), 200);

    let metrics = service.get("/metrics").await.text().await.unwrap();
    for name in [
        "messaging_client_consumed_messages_total",
        "http_server_request_duration_seconds_bucket",
        "waybill_cache_hits_total",
        "waybill_consumer_lag_seconds",
    ] {
        assert!(metrics.contains(name), "{name} is missing");
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_feed_shows_orders_and_rejections_and_resumes() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    // The feed shows only records sent after it has reached the ends of its topics.
    let mut uids = 0;
    let feed = service.http.get(service.at("/live")).send().await.unwrap();
    let mut feed = feed.bytes_stream();
    let mut text = String::new();
    let mut order: Value = serde_json::from_str(SAMPLE).unwrap();

    wait_until("an order in the feed", async || {
        uids += 1;
        order["order_uid"] = json!(format!("live-{uids}"));
        env.send(None, None, Some(order.to_string().as_bytes())).await;
        env.send(None, None, Some(b"no order")).await;
        let more = tokio::time::timeout(Duration::from_millis(300), feed.next()).await;
        if let Ok(Some(Ok(bytes))) = more {
            text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        text.contains("event: order")
            && text.contains("event: rejection")
            && text.contains("event: rates")
    })
    .await;
    assert!(text.contains("\"order_uid\":\"live-"));
    assert!(text.contains(&format!("\"id\":\"{}:", env.orders_topic())), "{text}");

    let first = text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    let again =
        service.http.get(service.at("/live")).header("last-event-id", &first).send().await.unwrap();
    let bytes = again.bytes_stream().next().await.unwrap().unwrap();
    let resumed = std::str::from_utf8(&bytes).unwrap();

    assert!(resumed.starts_with("id: ") && !resumed.contains("event: reset"), "{resumed}");

    let strange =
        service.http.get(service.at("/live")).header("last-event-id", "1-1").send().await.unwrap();
    let bytes = strange.bytes_stream().next().await.unwrap().unwrap();
    assert!(bytes.starts_with(b"event: reset"), "an id of another process resets the feed");
    service.stop().await.unwrap();
}
