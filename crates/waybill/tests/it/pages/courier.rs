//! A courier's page.

use testkit::{
    TestEnvironment,
    browser::{Page, Reader},
    shared,
};

use super::{NARROW, WIDE};
use crate::support::{add_courier, send_keyed_status, wait_for_delivery};

#[tokio::test(flavor = "multi_thread")]
async fn a_couriers_page_shows_their_day_and_changes_their_status() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let service = env.start_couriers(&database, &[]).await;
    let anna = add_courier(&service, "Anna", "scooter", "available").await;
    let path = format!("/courier/{anna}");
    for (order_id, end) in [("first", "completed"), ("gone", "cancelled")] {
        send_keyed_status(&env, order_id, "created").await;
        wait_for_delivery(&service, order_id, "assigned").await;
        send_keyed_status(&env, order_id, end).await;
        wait_for_delivery(&service, order_id, end).await;
    }
    let page = Page::open(Reader::default(), &service.at(&path)).await;

    for text in ["Anna", "scooter", "first", "on time", "Registered"] {
        page.wait_for_text(text).await;
    }
    // The cancelled order is no delivery.
    let rows = "document.querySelectorAll('tbody tr').length";
    assert_eq!(page.value::<usize>(rows).await, 1);
    assert_eq!(page.value::<usize>("document.querySelectorAll('.strip rect').length").await, 1);
    let strip = "document.querySelector('.strip').getAttribute('aria-label')";
    assert!(page.value::<String>(strip).await.contains("1 delivery"));

    // It is updated live.
    send_keyed_status(&env, "second", "created").await;
    page.wait_for("the second order", &format!("{rows} === 2")).await;
    page.wait_for_text("carries an order").await;
    page.click_on("Pause: Anna").await;
    page.wait_for_text("Anna was paused").await;
    page.wait_for_text("Paused").await;
    assert_eq!(service.json(&path).await["status"], "paused");
    page.click_on("Retire: Anna").await;
    page.wait_for_text("This courier carries an order: move or unassign it first.").await;
    page.click_on("Undo").await;
    page.wait_for_text("Resumed").await;
    assert_eq!(service.json(&path).await["status"], "busy");

    send_keyed_status(&env, "second", "completed").await;
    wait_for_delivery(&service, "second", "completed").await;
    page.click_on("Retire: Anna").await;
    page.wait_for_text("Anna was retired").await;
    page.click_on("Restore: Anna").await;
    page.wait_for_text("Restored").await;
    assert_eq!(service.json(&path).await["status"], "available");
    assert_eq!(page.errors(), [""; 0]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_couriers_page_is_accessible_and_a_missing_one_is_explained() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let service = env.start_couriers(&database, &["--delivery-time-car", "0s"]).await;
    let anna = add_courier(&service, "Анна", "car", "available").await;
    send_keyed_status(&env, &"9".repeat(100), "created").await;
    wait_for_delivery(&service, &"9".repeat(100), "overdue").await;
    let path = format!("/courier/{anna}");
    let mut faults = Vec::new();

    for (lang, dark, window, javascript) in [
        ("en", false, WIDE, true),
        ("ru", true, NARROW, true),
        ("ru", false, NARROW, false),
        ("en", true, WIDE, false),
    ] {
        let reader = Reader { lang, dark, window, javascript, ..Reader::default() };
        let page = Page::open(reader, &service.at(&path)).await;
        page.wait_for_text("Анна").await;
        for fault in page.accessibility_faults().await {
            faults.push(format!("{lang}, dark {dark}, {window:?}: {fault}"));
        }
        let buttons = "[...document.querySelectorAll('main button')]
            .filter((one) => one.checkVisibility()).length > 0";
        assert_eq!(page.value::<bool>(buttons).await, javascript);
        page.save_screenshot(&format!("courier-{lang}-{}", window.0)).await;
        for (missing, text) in [("/courier/999", "999"), ("/courier/x", "x")] {
            page.go(&service.at(missing)).await;
            let title =
                if lang == "en" { "No such courier" } else { "Такого курьера нет" };
            page.wait_for_text(title).await;
            assert!(page.path().await.ends_with(text));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    for (missing, status) in [("/courier/999", 404), ("/courier/x", 400)] {
        let request = service.http.get(service.at(missing)).header("accept", "text/html");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{missing}");
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    }
    service.stop().await.unwrap();
}
