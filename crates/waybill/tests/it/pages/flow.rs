//! The charts of the flow of both services: their values, marks, gaps, and what a reader can do with
//! them.

use std::{cell::Cell, collections::BTreeSet, time::Duration};

use reqwest::header;
use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::{
    OwnServers, Service, TestEnvironment,
    browser::{Page, Reader},
    eventually, shared, wait_until,
};

use super::{NARROW, WIDE, russian, send_and_wait};
use crate::support::{
    Program, Redis, add_courier, metric, order, record, send_keyed_status, wait_for_delivery,
};

/// The limit for the page with its style, scripts and library, compressed, without the samples.
const MAX_PAGE_BYTES: usize = 100_000;

/// Returns the known values of a series.
fn known(flow: &Value, id: &str) -> Vec<f64> {
    let series = flow["series"].as_array().unwrap();
    let series = series.iter().find(|series| series["id"] == id).unwrap();
    series["values"].as_array().unwrap().iter().filter_map(Value::as_f64).collect()
}

/// Returns the sum of the rates of stored orders.
fn orders_in(flow: &Value) -> f64 {
    known(flow, "orders").iter().sum()
}

/// Returns the marks of a kind.
fn marks(flow: &Value, kind: &str) -> Vec<Value> {
    let marks = flow["marks"].as_array().unwrap().iter();
    marks.filter(|mark| mark["kind"] == kind).cloned().collect()
}

async fn flow_at(url: &str) -> Option<Value> {
    reqwest::get(format!("{url}/flow.json")).await.ok()?.json().await.ok()
}

/// Waits until every chart in the window is drawn.
async fn wait_for_drawing(page: &Page) {
    page.wait_for("the drawing of the first chart", "document.querySelector('.plot canvas')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_orders_of_a_second_are_in_the_json_and_in_the_chart() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let page = Page::open(Reader::default(), &service.at("/flow")).await;
    wait_for_drawing(&page).await;

    env.send(Some(0), None, Some(b"no order")).await;
    let sent = Cell::new(0);
    let sampling = eventually("the sample of 300 orders", async || {
        let before = orders_in(&service.json("/flow.json").await);
        let numbers = sent.get()..sent.get() + 300;
        sent.set(numbers.end);
        let orders: Vec<_> = numbers.map(|number| order(&format!("flow-{number}"), 1)).collect();
        env.send_all(orders.iter().map(record)).await;
        env.wait_until_drained().await;
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let flow = service.json("/flow.json").await;
        // A rate multiplied by its second is the number of orders, unless the sample was late.
        let is_complete = (orders_in(&flow) - before - 300.0).abs() < 15.0
            && known(&flow, "rejections").iter().sum::<f64>() > 0.5;
        is_complete.then_some(flow)
    });
    // The newest value is shown for a second.
    let shown = "/[1-9]/.test(document.querySelector('[data-line=orders]').textContent)";
    let (flow, ()) = tokio::join!(sampling, page.wait_for("the orders in the newest value", shown));

    assert_eq!(flow["range"], "15m");
    assert_eq!(flow["times"]["step_seconds"], 1);
    assert_eq!(flow["replica"]["address"], service.address().to_string());
    assert_ne!(flow["replica"]["host"], "");
    let freshness = known(&flow, "freshness_p99");
    assert!(freshness.iter().any(|seconds| *seconds > 0.0), "{freshness:?}");
    assert!(known(&flow, "batch_size").iter().any(|records| *records > 1.0));
    assert!(known(&flow, "batch_time_p50").iter().all(|seconds| *seconds >= 0.0));
    let count = flow["times"]["count"].as_u64().unwrap();
    for series in flow["series"].as_array().unwrap() {
        assert_eq!(series["values"].as_array().unwrap().len() as u64, count, "{series}");
    }
    let routes = flow["routes"].as_array().unwrap();
    assert!(routes.iter().any(|route| route["route"] == "/flow.json"), "{routes:?}");
    for range in ["24h", "7d"] {
        let flow = service.json(&format!("/flow.json?range={range}")).await;
        assert!(orders_in(&flow) > 0.0, "{flow}");
    }

    assert_eq!(page.errors(), [""; 0]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_or_enter_leads_to_what_was_rejected_then() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let page = Page::open(Reader::default(), &service.at("/flow")).await;
    wait_for_drawing(&page).await;

    page.click("#throughput .u-over").await;
    page.wait_for("a link", "!document.querySelector('#throughput .moment').hidden").await;
    let href: String = page.value("document.querySelector('#throughput .moment a').href").await;
    assert!(href.contains("/rejected?from=20") && href.contains("&to=20"), "{href}");

    let _: bool = page.value("(document.querySelector('#lag .plot').focus(), true)").await;
    page.press_key("ArrowLeft").await;
    page.press_key("ArrowLeft").await;
    let time: String = page.value("document.activeElement.ariaValueText").await;
    assert!(time.contains(':'), "{time}");
    page.press_key("Enter").await;
    page.wait_for("the link to have the focus", "document.activeElement.matches('#lag .moment a')")
        .await;
    page.press_key("Enter").await;
    page.wait_for("the rejected records", "location.pathname === '/rejected'").await;
    assert_eq!(page.errors(), [""; 0]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_of_the_courier_service_is_a_value_of_the_whole() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let service = env.start_couriers(&database, &[]).await;
    send_keyed_status(&env, "waits", "created").await;
    wait_for_delivery(&service, "waits", "waiting").await;

    let flow = eventually("the queue to be measured", async || {
        let flow = service.json("/flow.json").await;
        (known(&flow, "waiting").last() == Some(&1.0)).then_some(flow)
    })
    .await;
    let scope = |id: &str| {
        let series = flow["series"].as_array().unwrap();
        series.iter().find(|series| series["id"] == id).unwrap()["scope"].clone()
    };
    assert_eq!((scope("waiting"), scope("events")), (json!("whole"), json!("replica")));
    assert!(known(&flow, "events").iter().sum::<f64>() > 0.5);
    assert!(known(&flow, "oldest_wait").last().is_some_and(|seconds| *seconds >= 0.0));
    assert_eq!(known(&flow, "on_time"), [0.0; 0], "no delivery was completed");

    add_courier(&service, "Anna", "car", "available").await;
    wait_for_delivery(&service, "waits", "assigned").await;
    send_keyed_status(&env, "waits", "completed").await;
    wait_for_delivery(&service, "waits", "completed").await;
    wait_until("the assignment, and an empty queue", async || {
        let flow = service.json("/flow.json").await;
        known(&flow, "assignments").iter().sum::<f64>() > 0.5
            && known(&flow, "waiting").last() == Some(&0.0)
    })
    .await;
    wait_until("the delivery that was on time", async || {
        known(&service.json("/flow.json").await, "on_time").last() == Some(&100.0)
    })
    .await;

    let page = Page::open(russian(), &service.at("/flow")).await;
    wait_for_drawing(&page).await;
    page.wait_for_text("Заказы без курьера · весь сервис").await;
    page.wait_for_text("Данные с").await;
    page.wait_for_text("Эта реплика запустилась").await;
    assert_eq!(page.errors(), [""; 0]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_postgresql_leaves_a_mark() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let service = env.start(&[]).await;
    send_and_wait(&env, &service, &order("before", 1)).await;
    let page = Page::open(Reader::default(), &service.at("/flow")).await;
    wait_for_drawing(&page).await;

    own.local.postgres.as_mut().unwrap().kill().await.unwrap();
    let (key, value) = record(&order("meanwhile", 1));
    env.send(None, Some(&key), Some(&value)).await;
    wait_until("the beginning of the outage", async || {
        let outages = marks(&service.json("/flow.json").await, "postgres");
        outages.len() == 1 && outages[0]["to"].is_null()
    })
    .await;
    page.wait_for_text("PostgreSQL did not accept changes").await;
    // The page needs no database.
    let plain = Reader { javascript: false, ..Reader::default() };
    let during = Page::open(plain, &service.at("/flow")).await;
    during.wait_for_text("PostgreSQL did not accept changes").await;

    own.local.postgres.as_mut().unwrap().restart().await.unwrap();
    env.wait_until_drained().await;
    wait_until("the end of the outage", async || {
        let outages = marks(&service.json("/flow.json?range=7d").await, "postgres");
        outages.len() == 1 && outages[0]["to"].as_str() > outages[0]["from"].as_str()
    })
    .await;
    page.wait_for(
        "the end on the page",
        "!document.querySelector('#marks').innerText.includes('still')",
    )
    .await;
    assert_eq!(page.errors(), [""; 0]);
    service.stop().await.unwrap();
    own.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_kafka_leaves_a_mark() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let service = env.start(&[]).await;
    wait_until("a connection to Kafka, and the partitions", async || {
        let flow = service.json("/flow.json").await;
        !marks(&flow, "rebalance").is_empty()
            && metric(&service, "waybill_kafka_unreachable").await == 0.0
    })
    .await;

    own.local.kafka.as_mut().unwrap().kill().await.unwrap();
    wait_until("the outage", async || {
        marks(&service.json("/flow.json").await, "kafka")
            .last()
            .is_some_and(|one| one["to"].is_null())
    })
    .await;
    own.local.kafka.as_mut().unwrap().restart().await.unwrap();
    wait_until("the end of the outage", async || {
        marks(&service.json("/flow.json").await, "kafka")
            .last()
            .is_some_and(|one| !one["to"].is_null())
    })
    .await;
    service.stop().await.unwrap();
    own.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_stops_leaves_a_mark() {
    let env = TestEnvironment::new(shared()).await;
    let mut redis = Redis::start(&env).await;
    let url = redis.url();
    // There is no room in memory: every read goes to Redis.
    let service = env.start(&["--redis-url", &url, "--cache-bytes", "100"]).await;
    let uid = "in-redis";
    send_and_wait(&env, &service, &order(uid, 1)).await;
    wait_until("Redis to be used", async || {
        metric(&service, "waybill_redis_unreachable").await == 0.0
    })
    .await;

    redis.kill().await;
    wait_until("the outage", async || {
        // A call that fails shows it.
        assert_eq!(service.get(&format!("/order/{uid}")).await.status(), 200);
        marks(&service.json("/flow.json").await, "redis")
            .last()
            .is_some_and(|one| one["to"].is_null())
    })
    .await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_leaves_a_gap_and_not_a_rate() {
    let env = TestEnvironment::new(shared()).await;
    let program = Program::start(&env, None);
    program.wait_until_ready().await;
    wait_until("some samples", async || {
        flow_at(program.url()).await.is_some_and(|flow| known(&flow, "orders").len() > 2)
    })
    .await;

    program.signal(Signal::STOP);
    let orders: Vec<_> = (0..200).map(|number| order(&format!("stopped-{number}"), 1)).collect();
    env.send_all(orders.iter().map(record)).await;
    // The clock has to go on: the gap is the subject of this test.
    tokio::time::sleep(Duration::from_secs(6)).await;
    program.signal(Signal::CONT);
    env.wait_until_drained().await;

    let flow = eventually("the gap", async || {
        let flow = flow_at(program.url()).await?;
        let is_over = flow["series"][0]["values"].as_array()?.last()?.is_number();
        (is_over && !marks(&flow, "gap").is_empty()).then_some(flow)
    })
    .await;
    let values = flow["series"][0]["values"].as_array().unwrap();
    let missing = values.iter().skip_while(|value| value.is_null()).filter(|value| value.is_null());
    assert!(missing.count() >= 4, "{values:?}");
    assert!(program.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_page_says_since_when_there_are_samples() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let address = service.address();
    let page = Page::open(Reader::default(), &service.at("/flow")).await;
    wait_for_drawing(&page).await;
    let before: String = page.value("document.querySelector('#since time').dateTime").await;
    page.wait_for_text("Samples since").await;
    page.wait_for_text("when this replica started").await;

    service.stop().await.unwrap();
    page.wait_for_text("No live data since").await;
    let service = env.start_at(address, &[]).await;

    page.wait_for(
        "the new start",
        &format!("document.querySelector('#since time').dateTime > {}", json!(before)),
    )
    .await;
    page.wait_for("the stream", "!document.querySelector('#flow-live').textContent").await;
    let flow = service.json("/flow.json").await;
    assert!(flow["times"]["count"].as_u64().unwrap() < 120, "{}", flow["times"]);
    assert_eq!(marks(&flow, "start").len(), 1);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_range_is_a_problem_that_names_the_parameter() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;

    for service in [&orders, &couriers] {
        for query in ["range=1h", "range=", "range=15M", "range=15m&range=24h"] {
            for path in ["/flow.json", "/flow"] {
                let answer = service.get(&format!("{path}?{query}")).await;
                assert_eq!(answer.status(), 400, "{path}?{query}");
                let problem: Value = answer.json().await.unwrap();
                assert_eq!(problem["type"], "/docs#bad-parameter");
                assert!(problem["detail"].as_str().unwrap().contains("range"), "{problem}");
            }
        }
        for range in ["15m", "24h", "7d"] {
            let flow = service.json(&format!("/flow.json?range={range}")).await;
            assert_eq!(flow["range"], range);
        }
    }
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

/// Reads a stream for some samples, and returns the names of its events.
async fn names_of_events(service: &Service, path: &str) -> BTreeSet<String> {
    let mut stream = service.http.get(service.at(path)).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let mut text = String::new();
    while text.matches("event: ").count() < 4 {
        let chunk = stream.chunk().await.unwrap().expect("the stream continues");
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    text.lines().filter_map(|line| line.strip_prefix("event: ")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_watcher_that_asks_gets_samples_and_no_other_events() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;

    for service in [&orders, &couriers] {
        let names = names_of_events(service, "/live?flow").await;
        assert_eq!(names, BTreeSet::from(["flow".to_owned()]));
        let names = names_of_events(service, "/live").await;
        assert!(!names.is_empty() && !names.contains("flow"), "{names:?}");
        assert_eq!(service.get("/live?flow&flow").await.status(), 400);
    }
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_flow_of_both_services_is_accessible_and_light() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;
    let mut faults = Vec::new();

    for service in [&orders, &couriers] {
        for (lang, dark, window) in [("en", false, WIDE), ("ru", true, NARROW)] {
            let reader = Reader { lang, dark, window, ..Reader::default() };
            let page = Page::open(reader, &service.at("/flow")).await;
            wait_for_drawing(&page).await;
            let unfold =
                "[...document.querySelectorAll('details')].map((one) => one.open = true).length";
            assert!(page.value::<i32>(unfold).await >= 8);
            page.wait_for("the samples", "document.querySelector('.samples tbody a')").await;
            for fault in page.accessibility_faults().await {
                faults.push(format!("{}, {lang}, dark {dark}: {fault}", service.url));
            }
        }
        let html = service.http.get(service.at("/flow")).header(header::ACCEPT, "text/html");
        let html = html.header(header::ACCEPT_ENCODING, "gzip").send().await.unwrap();
        let mut bytes = html.bytes().await.unwrap().len();
        let plain = service.get("/flow").await.text().await.unwrap();
        let links: BTreeSet<&str> =
            plain.split('"').filter(|text| text.starts_with("/assets/")).collect();
        assert!(links.iter().any(|link| link.contains("/uplot.")), "{links:?}");
        for link in links {
            let asset = service.http.get(service.at(link)).header(header::ACCEPT_ENCODING, "gzip");
            let asset = asset.send().await.unwrap();
            assert_eq!(asset.status(), 200, "{link}");
            assert!(asset.headers()["cache-control"].to_str().unwrap().contains("immutable"));
            bytes += asset.bytes().await.unwrap().len();
        }
        assert!(bytes < MAX_PAGE_BYTES, "{bytes} bytes");
    }
    assert!(faults.is_empty(), "{faults:#?}");
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_javascript_the_tables_have_the_values() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    send_and_wait(&env, &service, &order("counted", 1)).await;
    wait_until("a sample of the order", async || {
        known(&service.json("/flow.json").await, "orders").iter().any(|rate| *rate > 0.0)
    })
    .await;

    let reader = Reader { javascript: false, window: NARROW, ..russian() };
    let page = Page::open(reader, &service.at("/flow")).await;
    page.wait_for_text("Графикам нужен JavaScript").await;
    page.wait_for_text("Заказы, события и отклонённые записи").await;
    page.click("#throughput summary").await;
    let maximum = page.text("#throughput tbody tr:first-child td:last-child").await;
    assert!(
        maximum.starts_with(|c: char| c.is_ascii_digit()) && maximum.ends_with("/с"),
        "{maximum}"
    );
    page.wait_for_text("/flow.json").await;
    page.assert_accessible().await;
    page.click_on("24 часа").await;
    page.wait_for_text("Данные с").await;
    assert_eq!(page.path().await, "/flow?range=24h");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_charts_follow_the_theme() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let mut pictures = Vec::new();
    for dark in [false, true] {
        let page = Page::open(Reader { dark, ..Reader::default() }, &service.at("/flow")).await;
        wait_for_drawing(&page).await;
        // The darkest and the lightest pixel of the axis texts.
        let ink = "(() => {
            const canvas = document.querySelector('#requests canvas, .plot canvas');
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            let sum = 0;
            let count = 0;
            for (let at = 0; at < data.length; at += 4) {
                if (data[at + 3] > 200) { sum += data[at]; count += 1; }
            }
            return count > 50 ? sum / count : -1;
        })()";
        let shade = eventually("an axis", async || {
            let shade: f64 = page.value(ink).await;
            (shade >= 0.0).then_some(shade)
        })
        .await;
        pictures.push(shade);
    }
    // Dark ink on a light sheet, and the other way round.
    assert!(pictures[0] + 15.0 < pictures[1] || pictures[1] + 15.0 < pictures[0], "{pictures:?}");
    service.stop().await.unwrap();
}
