//! The life of an order on its page, in a real browser: what is told shows by itself, cancelling and
//! completing work with and without JavaScript, and the courier is asked for where he is known.

use serde_json::{Value, json};
use testkit::{
    Service, TestEnvironment,
    browser::{Page, Reader},
    order_json::SAMPLE,
    shared,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const UID: &str = "b563feb7b2b84b6test";

async fn with_sample(env: &TestEnvironment, more: &[&str]) -> Service {
    let service = env.start(more).await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    env.drained().await;
    env.status_drained().await;
    service
}

async fn tell(env: &TestEnvironment, word: &str) {
    env.send_status(Some(UID), json!({ "order_id": UID, "status": word }).to_string().as_bytes())
        .await;
}

/// Answers every request with this delivery, as the courier service would.
async fn couriers_who_say(delivery: Value) -> String {
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

/// Waits until the page says that the order has come so far.
async fn is(page: &Page, status: &str) {
    let expression = format!("document.querySelector('#status')?.textContent === '{status}'");
    page.until(status, &expression).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_an_order_shows_by_itself_and_a_click_cancels_it() {
    let env = TestEnvironment::new(shared()).await;
    let couriers = couriers_who_say(json!({
        "order_id": UID, "state": "assigned", "position": null, "why_not_assigned": null,
        "assignment": {
            "courier_id": 7, "courier_name": "Анна К.", "transport_type": "scooter",
            "deadline": "2026-11-26T06:37:00Z", "completed_at": null,
        },
    }))
    .await;
    let service = with_sample(&env, &["--couriers-url", &couriers]).await;
    let page = Page::open(Reader::default(), &service.at(&format!("/order/{UID}"))).await;
    page.shows("Published as created").await;
    page.shows("Анна К., by scooter, until").await;

    for word in ["created", "delivering", "lost"] {
        tell(&env, word).await;
    }
    page.shows("created again, ignored: nothing new").await;
    page.shows("nobody here knows this status").await;
    assert_eq!(page.text("#status").await, "delivering");
    page.is_sound().await;
    page.picture("status-light").await;

    page.click_on("Cancel order").await;
    is(&page, "cancelled").await;
    page.until("no button to be left", "!document.querySelector('#tell button')").await;
    assert_eq!(page.path().await, format!("/order/{UID}"));
    assert!(page.complaints().is_empty(), "{:?}", page.complaints());
    env.status_drained().await;
    assert_eq!(service.json(&format!("/order/{UID}/status")).await["status"], "cancelled");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_shows_even_if_it_is_recorded_late() {
    let env = TestEnvironment::new(shared()).await;
    let service = with_sample(&env, &[]).await;
    let page = Page::open(Reader::default(), &service.at(&format!("/order/{UID}"))).await;
    page.shows("Published as created").await;

    let mut lock = env.pool.begin().await.unwrap();
    let table = "LOCK TABLE orders.order_status IN EXCLUSIVE MODE";
    sqlx::query(table).execute(&mut *lock).await.unwrap();
    let asked = format!(
        "performance.getEntriesByType('resource').filter(({{ name }}) => name.endsWith('/order/{UID}')).length"
    );
    let before: usize = page.value(&asked).await;
    tell(&env, "delivering").await;
    // Once more than it asks before it pauses.
    page.until("the page to have asked in vain", &format!("{asked} >= {}", before + 8)).await;
    is(&page, "created").await;
    lock.rollback().await.unwrap();
    is(&page, "delivering").await;
    assert_eq!(page.complaints(), [""; 0]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_completed_and_cancelled_without_javascript() {
    let env = TestEnvironment::new(shared()).await;
    let service = with_sample(&env, &[]).await;
    let reader = Reader { javascript: false, ..Reader::default() };
    let page = Page::open(reader, &service.at(&format!("/order/{UID}?lang=ru"))).await;
    page.click_on("Отметить выполненным").await;
    is(&page, "выполнен").await;
    assert_eq!(page.path().await, format!("/order/{UID}"));
    page.click_on("Отменить заказ").await;
    is(&page, "отменён").await;
    page.is_sound().await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn why_there_is_no_courier_yet_is_said_in_the_readers_language() {
    let env = TestEnvironment::new(shared()).await;
    let couriers = couriers_who_say(json!({
        "order_id": UID, "state": "waiting", "position": 3, "assignment": null,
        "why_not_assigned": { "code": "all_couriers_busy", "message": "no courier is free" },
    }))
    .await;
    let service = with_sample(&env, &["--couriers-url", &couriers]).await;
    tell(&env, "cooking").await;
    tell(&env, "created").await;
    env.status_drained().await;
    let reader = Reader { dark: true, window: (390, 844), ..Reader::default() };
    let page = Page::open(reader, &service.at(&format!("/order/{UID}?lang=ru"))).await;
    page.shows("Свободных курьеров нет: все везут заказы, 3-й в очереди").await;
    page.shows("Запоздалое «создан» — пропущено, заказ уже дальше").await;
    page.is_sound().await;
    page.picture("status-dark-phone-ru").await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_courier_service_is_no_failure_of_the_page() {
    let env = TestEnvironment::new(shared()).await;
    // Nobody listens on the discard port.
    let service = with_sample(&env, &["--couriers-url", "http://127.0.0.1:9"]).await;
    let page = Page::open(Reader::default(), &service.at(&format!("/order/{UID}"))).await;
    page.shows("The courier service does not answer just now").await;
    page.shows("Published as created").await;
    service.stop().await.unwrap();
}
