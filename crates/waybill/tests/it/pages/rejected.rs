//! Pages of rejected records: the list, one record, and its replay.

use testkit::{
    TestEnvironment,
    browser::{Page, Reader},
    shared, wait_until,
};

use super::*;

/// Starts the order service, with one rejected record in it.
async fn start_with_rejection(env: &TestEnvironment) -> Service {
    let service = env.start(&[]).await;
    env.send(None, None, Some(b"{")).await;
    wait_until("the rejection", async || env.count("orders.rejected_records").await == 1).await;
    service
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_record_is_found_edited_and_replayed_by_clicks() {
    let env = TestEnvironment::new(shared()).await;
    let service = start_with_sample(&env).await;
    let mut bad = order("edited", 1);

    bad["payment"]["amount"] = json!(-5);
    bad["delivery"]["email"] = json!("nowhere");
    env.send(None, None, Some(bad.to_string().as_bytes())).await;
    env.send(None, None, Some(b"{")).await;
    wait_until("the rejections", async || env.count("orders.rejected_records").await == 2).await;

    let page = Page::open(Reader::default(), &service.at("/")).await;
    page.click("nav a[href='/rejected']").await;
    page.wait_for_text("invalid_json").await;
    // The number of stored records, not of those that this process has rejected.
    page.wait_for(
        "the number of them",
        "document.querySelector('#rejected-total').innerText.trim() === '2'",
    )
    .await;
    let choose = "() => {
        const select = document.querySelector('#reason');
        select.value = 'implausible_email';
        select.dispatchEvent(new Event('change', { bubbles: true }));
    }";
    page.run::<()>(choose, json!([])).await;
    page.wait_for("one row", "document.querySelectorAll('tbody tr').length === 1").await;
    page.wait_for_text("/payment/amount").await;
    page.click("tbody a").await;
    page.wait_for_text("2 violations").await;
    page.wait_for_text("/delivery/email").await;
    page.wait_for_text("Not replayed yet.").await;

    page.click_on("Replay unchanged").await;
    page.wait_for_text("Replayed unchanged").await;
    wait_until("it to be rejected again", async || env.count("orders.rejected_records").await == 3)
        .await;

    page.click_on("Edit before replay").await;
    let edit = "(order) => {
        document.querySelector('textarea').value = order;
    }";
    page.run::<()>(edit, json!([order("edited", 5).to_string()])).await;
    page.click_on("Replay with edits").await;
    page.wait_for_text("Replayed with edits").await;
    page.wait_for_text("Replayed unchanged").await;

    assert_eq!(service.get("/order/edited?wait=30s").await.status(), 200);
    assert_eq!(page.errors(), [""; 0]);
    service.stop().await.unwrap();
}

/// The check that begins when the form is opened ends the one that begins when it is sent.
#[tokio::test(flavor = "multi_thread")]
async fn an_edited_record_that_is_sent_as_soon_as_the_form_is_open_is_replayed() {
    let env = TestEnvironment::new(shared()).await;
    let service = start_with_rejection(&env).await;
    let page = Page::open(Reader::default(), &service.at("/rejected")).await;
    page.click("tbody a").await;
    page.wait_for("the form", "document.querySelector('#edit')?.hidden === false").await;
    let send = "(order) => {
        const edit = document.querySelector('#edit details');
        edit.open = true;
        edit.querySelector('textarea').value = order;
        edit.querySelector('form').requestSubmit();
    }";
    page.run::<()>(send, json!([order("edited", 5).to_string()])).await;
    page.wait_for_text("Replayed with edits").await;

    assert_eq!(service.get("/order/edited?wait=30s").await.status(), 200);
    assert_eq!(page.errors(), [""; 0]);
    service.stop().await.unwrap();
}

/// The page is read and can be used before its scripts have arrived.
#[tokio::test(flavor = "multi_thread")]
async fn a_reason_chosen_before_the_scripts_run_filters_the_list() {
    let env = TestEnvironment::new(shared()).await;
    let service = start_with_rejection(&env).await;
    let page = Page::open(Reader::default(), &service.at("/")).await;
    let choose_early = "() => addEventListener('readystatechange', () => {
        const select = document.querySelector('#reason');
        if (document.readyState === 'interactive' && !location.search) {
            select.value = 'implausible_email';
            select.dispatchEvent(new Event('change', { bubbles: true }));
        }
    }, true)";
    page.run_before_scripts(choose_early).await;
    page.go(&service.at("/rejected")).await;
    page.wait_for("the filtered list", "location.search === '?reason=implausible_email'").await;
    page.wait_for_text("No record matches this filter.").await;
    assert_eq!(page.errors(), [""; 0]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_javascript_a_record_is_replayed_too() {
    let env = TestEnvironment::new(shared()).await;
    let service = start_with_rejection(&env).await;
    let reader = Reader { javascript: false, ..russian() };
    let page = Page::open(reader, &service.at("/rejected")).await;
    page.click("tbody a").await;
    page.wait_for_text("некорректный JSON").await;
    page.click_on("Отправить без изменений").await;
    page.wait_for_text("Отправлена без изменений").await;
    wait_until("it to be rejected again", async || env.count("orders.rejected_records").await == 2)
        .await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_status_event_is_found_from_the_board_and_replayed() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let service = env.start_couriers(&database, &[]).await;

    env.send_status(Some("<b>"), br#"{"order_id":"<script>","status":7}"#).await;
    wait_until("the rejection", async || database.count("couriers.rejected_records").await == 1)
        .await;
    let reader = Reader { javascript: false, ..russian() };
    let page = Page::open(reader, &service.at("/")).await;
    page.click("nav a[href='/rejected']").await;
    page.wait_for_text("Отклонённые события статуса").await;
    page.click("tbody a").await;
    page.wait_for_text("статус — не текст").await;
    page.wait_for_text("<script>").await;
    page.click_on("Отправить без изменений").await;
    page.wait_for_text("Отправлена без изменений").await;
    wait_until("it to be rejected again", async || {
        database.count("couriers.rejected_records").await == 2
    })
    .await;

    let page = Page::open(Reader::default(), &service.at("/rejected?reason=missing")).await;
    page.wait_for_text("No record matches this filter.").await;
    assert_eq!(page.errors(), [""; 0]);
    let html = service.http.get(service.at("/rejected/x")).header("accept", "text/html");
    assert_eq!(html.send().await.unwrap().status(), 400);
    assert!(service.json("/rejected").await["items"].is_array(), "JSON unless HTML is asked for");
    service.stop().await.unwrap();
}
