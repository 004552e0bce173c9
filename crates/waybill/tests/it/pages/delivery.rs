//! The courier's delivery on the page of an order: from the order service, live, in both languages,
//! and while the courier service is down.

use testkit::{
    TestEnvironment,
    browser::{Page, Reader},
    order_json::SAMPLE_UID,
    shared,
};

use super::{russian, start_with_sample};
use crate::{
    deliveries::{delivery_event, send_deliveries, wait_until_shown},
    support::{add_courier, wait_for_delivery, waybill},
};

/// The text of the stored delivery on the page.
const DELIVERY: &str = "document.querySelector('#delivery').innerText.replace(/\\s+/g, ' ')";

/// Waits until the page shows this text as the stored delivery.
async fn wait_for_stored(page: &Page, text: &str) {
    let is_shown = format!(
        "!document.querySelector('#courier').hidden && !document.querySelector('#delivery').hidden
            && {DELIVERY}.includes('{text}')"
    );
    page.wait_for(text, &is_shown).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_appears_and_changes_live() {
    let env = TestEnvironment::new(shared()).await;
    let service = start_with_sample(&env).await;
    let path = service.at(&format!("/order/{SAMPLE_UID}"));
    let page = Page::open(Reader::default(), &path).await;
    page.wait_for("the feed", "!document.querySelector('#rates').hidden").await;
    assert!(page.value::<bool>("document.querySelector('#courier').hidden").await);

    send_deliveries(&env, [delivery_event(SAMPLE_UID, "assigned", 1)]).await;
    wait_for_stored(&page, "Assigned · courier 7 · by scooter · deadline 6 Aug 2099, 12:59").await;
    page.assert_accessible().await;
    page.save_screenshot("delivery-assigned").await;

    let mut moved = delivery_event(SAMPLE_UID, "reassigned", 2);
    (moved["courier_id"], moved["transport_type"]) = (8.into(), "car".into());
    let overdue = delivery_event(SAMPLE_UID, "overdue", 3);
    send_deliveries(&env, [moved]).await;
    wait_for_stored(&page, "Moved to another courier · courier 8 · by car").await;
    send_deliveries(&env, [overdue]).await;
    wait_for_stored(&page, "Overdue · courier 7").await;
    assert!(page.value::<bool>("document.querySelector('#delivery.late') !== null").await);
    page.assert_accessible().await;

    // An earlier event that comes late changes nothing.
    send_deliveries(&env, [delivery_event(SAMPLE_UID, "released", 2)]).await;
    env.wait_until_deliveries_drained().await;
    wait_for_stored(&page, "Overdue · courier 7").await;
    let completed = delivery_event(SAMPLE_UID, "completed", 4);
    send_deliveries(&env, [completed.clone()]).await;
    wait_for_stored(&page, "Delivered · courier 7 · by scooter").await;
    wait_until_shown(&service, &completed).await;

    assert_eq!(page.errors(), [""; 0]);

    // Without scripts, and in Russian.
    let reader = Reader { javascript: false, ..russian() };
    let page = Page::open(reader, &path).await;
    page.wait_for_text("Доставлен · курьер 7 · на самокате").await;
    page.assert_accessible().await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delivery_is_shown_while_the_courier_service_is_down() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;
    let anna = add_courier(&couriers, "Анна К.", "scooter", "available").await;
    env.send(None, None, Some(crate::support::order(SAMPLE_UID, 1).to_string().as_bytes())).await;
    wait_for_delivery(&couriers, SAMPLE_UID, "assigned").await;
    let mut assigned = delivery_event(SAMPLE_UID, "assigned", 1);
    assigned["courier_id"] = anna.into();
    send_deliveries(&env, [assigned.clone()]).await;
    wait_until_shown(&orders, &assigned).await;

    // The answer of the courier service has the name, and replaces the stored delivery.
    let page = Page::open(Reader::default(), &orders.at(&format!("/order/{SAMPLE_UID}"))).await;
    page.wait_for_text("Анна К., by scooter, deadline").await;
    assert!(page.value::<bool>("document.querySelector('#delivery').hidden").await);

    let at_couriers = couriers.url.clone();
    couriers.stop().await.unwrap();
    page.wait_for_text("The courier service does not answer, trying again").await;
    wait_for_stored(&page, &format!("Assigned · courier {anna} · by scooter")).await;
    assigned["status"] = "overdue".into();
    (assigned["number"], assigned["at"]) = (2.into(), "2099-08-06T13:00:00Z".into());
    send_deliveries(&env, [assigned]).await;
    wait_for_stored(&page, &format!("Overdue · courier {anna} · by scooter")).await;

    let flags =
        ["explain", SAMPLE_UID, "--orders-url", &orders.url, "--couriers-url", &at_couriers];
    let output = waybill(&flags, &[]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = format!("delivery  overdue since 2099-08-06T13:00:00Z, courier {anna}, scooter");
    assert!(text.contains(&expected), "{text}");
    assert_eq!(output.status.code(), Some(69));
    orders.stop().await.unwrap();
}
