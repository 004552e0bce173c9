//! Orders and rejected records that contain scripts.

use testkit::{
    TestEnvironment,
    browser::{Page, Reader},
    shared, wait_until,
};

use super::*;

const SCRIPT: &str =
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg onload=alert(3)>";
/// A valid e-mail address by the rules of the service: one `@`, and no blanks.
const EMAIL: &str = "\"'><svg/onload=alert(5)>@x";
const ID: &str = "<script>alert(4)</script>\"'&{{7*7}}";

/// Asserts that no text of the order has become an element, an attribute or a dialog.
async fn assert_harmless(page: &Page) {
    page.wait_for("the page", "document.readyState === 'complete'").await;
    for injected in ["img", "[onerror]", "[onload]", "svg:not(.bars, .brand *)", "body script"] {
        let count = format!("document.querySelectorAll({}).length", json!(injected));
        assert_eq!(page.value::<usize>(&count).await, 0, "{injected}");
    }
    assert_eq!(page.errors(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_every_field_is_a_script_runs_none() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let mut order: Value = serde_json::from_str(SAMPLE).unwrap();
    let texts = [
        "/track_number",
        "/entry",
        "/locale",
        "/internal_signature",
        "/customer_id",
        "/delivery_service",
        "/shardkey",
        "/oof_shard",
        "/delivery/name",
        "/delivery/zip",
        "/delivery/city",
        "/delivery/address",
        "/delivery/region",
        "/payment/transaction",
        "/payment/request_id",
        "/payment/provider",
        "/payment/bank",
        "/items/0/track_number",
        "/items/0/rid",
        "/items/0/name",
        "/items/0/size",
        "/items/0/brand",
    ];

    for pointer in texts {
        *order.pointer_mut(pointer).unwrap() = json!(SCRIPT);
    }
    order["delivery"]["email"] = json!(EMAIL);
    order["order_uid"] = json!(ID);
    env.send(None, None, Some(order.to_string().as_bytes())).await;
    let page = Page::open(Reader::default(), &service.at("/")).await;
    // In the list, after a click, and at its own address.
    page.click_on(ID).await;
    page.wait_for("the order", &format!("{HEADING} === {}", json!(ID))).await;
    page.wait_for_text(SCRIPT).await;
    page.wait_for_text(EMAIL).await;

    assert_harmless(&page).await;

    let path = page.path().await;
    page.go(&service.at(&path)).await;
    page.wait_for("the order", &format!("{HEADING} === {}", json!(ID))).await;
    page.click("details.raw summary").await;

    assert_harmless(&page).await;

    let shown: usize = page
        .value(&format!(
            "document.querySelector('main').innerText.split({}).length - 1",
            json!(SCRIPT)
        ))
        .await;
    // The track number of the item equals that of the order and is shown once.
    assert!(shown >= texts.len() - 1, "the fields are shown as text: {shown}");

    // No order has this id, but the page repeats it.
    page.go(&service.at("/")).await;
    page.click(".find input").await;
    page.type_text(SCRIPT).await;
    page.press_key("Enter").await;
    page.wait_for_text("Order not found").await;

    assert_harmless(&page).await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_record_that_is_a_script_runs_none() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let value = json!({ "order_uid": SCRIPT, SCRIPT: SCRIPT }).to_string();

    env.send(None, Some(SCRIPT.as_bytes()), Some(value.as_bytes())).await;
    wait_until("the rejection", async || env.count("orders.rejected_records").await == 1).await;
    let page = Page::open(Reader::default(), &service.at("/rejected")).await;

    assert_harmless(&page).await;

    page.click("tbody a").await;
    page.wait_for_text("As received").await;
    page.wait_for_text("onerror=alert(2)").await;

    assert_harmless(&page).await;
    service.stop().await.unwrap();
}
