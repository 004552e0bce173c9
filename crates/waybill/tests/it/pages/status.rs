//! The history of an order on its page: events appear live, the order is cancelled and completed
//! with and without JavaScript, and the courier service is asked for the courier.

use serde_json::{Value, json};
use testkit::{
    Service, TestEnvironment,
    browser::{Page, Reader},
    order_json::{SAMPLE, SAMPLE_UID},
    shared,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::support::send_keyed_status;

/// Starts the order service, with the sample order published as `created`.
async fn start_with_published_sample(env: &TestEnvironment, more: &[&str]) -> Service {
    let service = env.start(more).await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    env.wait_until_drained().await;
    env.wait_until_status_drained().await;
    service
}

/// Starts a server that answers every request with this delivery, as the courier service would, and
/// returns its URL.
async fn serve_delivery(delivery: Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = delivery.to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\naccess-control-allow-origin: *\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

/// Waits until the page shows the order in this status.
async fn wait_for_status(page: &Page, status: &str) {
    let expression = format!("document.querySelector('#status')?.textContent === '{status}'");
    page.wait_for(status, &expression).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_appear_live_and_a_click_cancels_the_order() {
    let env = TestEnvironment::new(shared()).await;
    let couriers = serve_delivery(json!({
        "order_id": SAMPLE_UID, "state": "assigned", "position": null, "why_not_assigned": null,
        "assignment": {
            "courier_id": 7, "courier_name": "Анна К.", "transport_type": "scooter",
            "deadline": "2026-11-26T06:37:00Z", "completed_at": null,
        },
    }))
    .await;
    let service = start_with_published_sample(&env, &["--couriers-url", &couriers]).await;
    let page = Page::open(Reader::default(), &service.at(&format!("/order/{SAMPLE_UID}"))).await;

    page.wait_for_text("Received and stored").await;
    page.wait_for_text("Анна К., by scooter, deadline").await;

    for word in ["created", "delivering", "lost"] {
        send_keyed_status(&env, SAMPLE_UID, word).await;
    }
    page.wait_for_text("created again, ignored: nothing new").await;
    page.wait_for_text("“lost” ignored: unknown status").await;

    assert_eq!(page.text("#status").await, "delivering");
    page.assert_accessible().await;

    page.save_screenshot("status-light").await;

    page.click_on("Cancel order").await;
    wait_for_status(&page, "cancelled").await;
    page.wait_for("no button to be left", "!document.querySelector('#status-actions button')")
        .await;

    assert_eq!(page.path().await, format!("/order/{SAMPLE_UID}"));
    assert!(page.errors().is_empty(), "{:?}", page.errors());

    env.wait_until_status_drained().await;
    assert_eq!(service.json(&format!("/order/{SAMPLE_UID}/status")).await["status"], "cancelled");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_recorded_late_still_appears() {
    let env = TestEnvironment::new(shared()).await;
    let service = start_with_published_sample(&env, &[]).await;
    let page = Page::open(Reader::default(), &service.at(&format!("/order/{SAMPLE_UID}"))).await;

    page.wait_for_text("Received and stored").await;

    let mut lock = env.pool.begin().await.unwrap();
    let table = "LOCK TABLE orders.order_status IN EXCLUSIVE MODE";
    sqlx::query(table).execute(&mut *lock).await.unwrap();
    let requests = format!(
        "performance.getEntriesByType('resource').filter(({{ name }}) => name.endsWith('/order/{SAMPLE_UID}')).length"
    );
    let before: usize = page.value(&requests).await;
    send_keyed_status(&env, SAMPLE_UID, "delivering").await;
    // One request more than the page sends before it pauses.
    page.wait_for(
        "the page to have requested it without success",
        &format!("{requests} >= {}", before + 8),
    )
    .await;
    wait_for_status(&page, "created").await;
    lock.rollback().await.unwrap();
    wait_for_status(&page, "delivering").await;

    assert_eq!(page.errors(), [""; 0]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_completed_and_cancelled_without_javascript() {
    let env = TestEnvironment::new(shared()).await;
    let service = start_with_published_sample(&env, &[]).await;
    let reader = Reader { javascript: false, ..Reader::default() };
    let page = Page::open(reader, &service.at(&format!("/order/{SAMPLE_UID}?lang=ru"))).await;

    page.click_on("Отметить выполненным").await;
    wait_for_status(&page, "выполнен").await;
    assert_eq!(page.path().await, format!("/order/{SAMPLE_UID}"));

    page.click_on("Отменить заказ").await;
    wait_for_status(&page, "отменён").await;
    page.assert_accessible().await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_for_no_courier_is_in_the_readers_language() {
    let env = TestEnvironment::new(shared()).await;
    let couriers = serve_delivery(json!({
        "order_id": SAMPLE_UID, "state": "waiting", "position": 3, "assignment": null,
        "why_not_assigned": { "code": "all_couriers_busy", "message": "no courier is available" },
    }))
    .await;
    let service = start_with_published_sample(&env, &["--couriers-url", &couriers]).await;

    send_keyed_status(&env, SAMPLE_UID, "cooking").await;
    send_keyed_status(&env, SAMPLE_UID, "created").await;
    env.wait_until_status_drained().await;
    let reader = Reader { dark: true, window: (390, 844), ..Reader::default() };
    let page = Page::open(reader, &service.at(&format!("/order/{SAMPLE_UID}?lang=ru"))).await;
    page.wait_for_text("Свободных курьеров нет: все везут заказы, 3-й в очереди").await;
    page.wait_for_text("Запоздавший статус «создан» не учтён").await;

    page.assert_accessible().await;

    page.save_screenshot("status-dark-phone-ru").await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_works_if_the_courier_service_is_down() {
    let env = TestEnvironment::new(shared()).await;
    // Nothing listens on the discard port.
    let service =
        start_with_published_sample(&env, &["--couriers-url", "http://127.0.0.1:9"]).await;
    let page = Page::open(Reader::default(), &service.at(&format!("/order/{SAMPLE_UID}"))).await;

    page.wait_for_text("The courier service does not answer").await;
    page.wait_for_text("Received and stored").await;
    service.stop().await.unwrap();
}
