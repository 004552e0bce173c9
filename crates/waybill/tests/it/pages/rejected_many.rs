//! Rejected records in the browser: editing with a check, settling, and the replay of many.

use testkit::{
    TestEnvironment,
    browser::{Page, Reader},
    shared, wait_until,
};

use super::*;

/// Inserts valid orders as rejected records, as if a rule was changed since they were rejected, and
/// one record that is not valid. The newest has the greatest number. The topic has no partition 8, so no
/// replay that is rejected again gets the place of one of them.
async fn insert_rejected(env: &TestEnvironment, count: i64) {
    for number in 0..count {
        let value = match number {
            1 => "{".to_owned(),
            _ => order(&format!("order-{number}"), 5).to_string(),
        };
        sqlx::query(
            "INSERT INTO orders.rejected_records (topic, \"partition\", \"offset\", \
                 record_timestamp, value, reason, violations, rejected_at) \
             VALUES ($1, 8, $2, date_trunc('milliseconds', now()), $3, 'unknown_currency', \
                 '[{\"pointer\":\"/payment/currency\",\"code\":\"unknown_currency\",\"message\":\"x\"}]', \
                 now() - interval '1 hour' + $2 * interval '1 second')",
        )
        .bind(env.orders_topic())
        .bind(number)
        .bind(value.as_bytes())
        .execute(&env.pool)
        .await
        .unwrap();
    }
}

const LEFT: &str = "orders.rejected_records WHERE settled_at IS NULL";

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_record_is_sent_only_if_it_is_valid() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let mut bad = order("edited", -5);
    bad["delivery"]["email"] = json!("nowhere");
    env.send(Some(0), None, Some(bad.to_string().as_bytes())).await;
    env.wait_until_drained().await;
    let id = service.json("/rejected").await["items"][0]["id"].as_str().unwrap().to_owned();
    let page = Page::open(Reader::default(), &service.at(&format!("/rejected/{id}"))).await;

    // Each violation is below its line, although the record has one line only.
    let noted = "[...document.querySelectorAll('.code .noted')].map((line) =>
        [line.querySelector('mark').textContent, line.dataset.line !== '1'])";
    page.wait_for_text("Shown on several lines").await;
    assert_eq!(
        page.value::<Value>(noted).await,
        json!([["\"email\"", true], ["\"amount\"", true]])
    );
    page.click("tbody tr:first-child .to-line").await;
    page.wait_for("the line", "document.querySelector('.code :target.noted')").await;

    page.click_on("Edit before replay").await;
    page.wait_for_text("2 violations, not sent").await;
    let edit = "(from, to) => {
        const area = document.querySelector('#edit textarea');
        area.value = area.value.replace(from, to);
        area.dispatchEvent(new InputEvent('input', { bubbles: true }));
    }";
    page.run::<()>(edit, json!(["nowhere", "a@b.example"])).await;
    page.wait_for_text("1 violation, not sent").await;
    page.click("#check [data-to-line]").await;
    let selected = "(() => {
        const area = document.querySelector('#edit textarea');
        return area.value.slice(area.selectionStart, area.selectionEnd).trim();
    })()";
    assert_eq!(page.value::<String>(selected).await, "\"amount\": -5,");
    page.assert_accessible().await;

    page.click_on("Replay with edits").await;
    page.wait_for_text("Not sent: the record violates rules.").await;
    page.run::<()>(edit, json!(["-5", "5"])).await;
    page.wait_for_text("No rule is violated.").await;
    page.click("#actor").await;
    page.type_text("Анна").await;
    page.click_on("Replay with edits").await;
    page.wait_for_text("Replayed with edits by Анна, not verified").await;
    page.wait_for_text("Settled by a replay").await;

    bad["payment"]["amount"] = json!(5);
    bad["delivery"]["email"] = json!("a@b.example");
    assert_eq!(service.json("/order/edited?wait=30s").await, bad);
    assert_eq!(env.count("orders.rejected_records").await, 1, "only the valid text was sent");
    assert_eq!(page.errors(), [""; 0]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_settled_with_a_note_and_reopened() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    env.send(Some(0), None, Some(b"{")).await;
    wait_until("the rejection", async || env.count("orders.rejected_records").await == 1).await;
    let page = Page::open(russian(), &service.at("/rejected")).await;

    page.wait_for_text("Осталось разобрать 1 запись").await;
    page.click("tbody a").await;
    page.wait_for_text("строка 1").await;
    page.click("#actor").await;
    page.type_text("Борис").await;
    page.click("#note").await;
    page.type_text("Спросили отправителя <b>").await;
    page.click_on("Отметить как разобранную").await;
    page.wait_for_text("кем: Борис, не проверено").await;
    page.wait_for_text("Спросили отправителя <b>").await;
    page.assert_accessible().await;

    page.go(&service.at("/rejected")).await;
    page.wait_for_text("Неразобранных записей нет.").await;
    let choose = "() => {
        const select = document.querySelector('#state');
        select.value = 'true';
        select.dispatchEvent(new Event('change', { bubbles: true }));
    }";
    page.run::<()>(choose, json!([])).await;
    page.wait_for("the settled records", "location.search === '?settled=true'").await;
    page.wait_for_text("Подходит 1 запись").await;
    page.click("tbody a").await;
    page.click_on("Вернуть в работу").await;
    page.wait_for("the form", "document.querySelector('#settle')").await;
    assert_eq!(env.count(LEFT).await, 1);
    // The name is kept for the next page.
    page.wait_for("the name", "document.querySelector('#actor').value === 'Борис'").await;
    assert_eq!(page.errors(), [""; 0]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_records_of_a_filter_are_replayed_and_a_fault_stays_in_sight() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    insert_rejected(&env, 40).await;
    let page =
        Page::open(Reader::default(), &service.at("/rejected?reason=unknown_currency")).await;

    page.wait_for_text("40 records match").await;
    page.click_on("Replay all of these").await;
    page.click("#actor").await;
    page.type_text("ada").await;
    page.run::<()>("() => { document.querySelector('#rate').value = 2; }", json!([])).await;
    page.click_on("Start").await;
    page.wait_for("two results", "document.querySelectorAll('#results li').length >= 2").await;
    page.click_on("Stop").await;
    page.wait_for_text("Stopped.").await;
    let results = "document.querySelectorAll('#results li').length";
    let stopped: usize = page.value(results).await;
    // The newest records come first, and the invalid one is the last but one.
    assert!((2..39).contains(&stopped), "{stopped}");
    assert_eq!(env.count(LEFT).await, 40 - stopped as i64);

    page.run::<()>("() => { document.querySelector('#rate').value = 20; }", json!([])).await;
    page.click_on("Continue").await;
    page.wait_for_text("Done: no further record matches.").await;
    assert_eq!(page.value::<usize>(results).await, 40);
    let counts = "[...document.querySelectorAll('#run-counts li')].map((one) => one.textContent)";
    assert_eq!(
        page.value::<Value>(counts).await,
        json!(["40 of 40", "39 accepted", "1 rejected again"])
    );
    let total = "document.querySelector('#rejected-total').textContent.trim() === '1'";
    page.wait_for("the number of records that are left", total).await;
    assert_eq!(page.value::<f64>("document.querySelector('progress').position").await, 1.0);
    page.assert_accessible().await;
    let faults = "[...document.querySelectorAll('#results li:not([data-passing])')].map((line) =>
        [...line.querySelectorAll('a')].map((link) => link.textContent))";
    let faults = page.value::<Value>(faults).await;
    let topic = env.orders_topic();
    assert_eq!(faults[0][0], format!("{topic}:8:1"));
    assert_eq!(faults.as_array().unwrap().len(), 1);

    page.click("#results li:not([data-passing]) a:last-child").await;
    page.wait_for_text("invalid_json").await;
    for number in [0, 2, 39] {
        assert_eq!(service.get(&format!("/order/order-{number}")).await.status(), 200);
    }
    let replayed = service.json(&format!("/rejected/{topic}:8:1")).await;
    assert_eq!(replayed["replays"][0]["by"], "ada");
    assert_eq!(env.count(LEFT).await, 1, "the record that was rejected again is left");
    assert_eq!(page.errors(), [""; 0]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_javascript_many_are_replayed_and_one_is_settled() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    insert_rejected(&env, 53).await;
    let reader = Reader { javascript: false, window: NARROW, ..Reader::default() };
    let page = Page::open(reader, &service.at("/rejected?q=currency")).await;

    page.wait_for_text("53 records match").await;
    page.click_on("Replay all of these").await;
    page.click_on("Replay the newest 50").await;
    page.wait_for_text("Replayed records").await;
    page.assert_accessible().await;
    assert_eq!(page.value::<usize>("document.querySelectorAll('main ol li').length").await, 50);
    page.click_on("Replay the next 50").await;
    page.wait_for("the rest", "document.querySelectorAll('main ol li').length === 3").await;
    page.wait_for_text("replay rejected").await;
    assert_eq!(env.count(LEFT).await, 1);

    page.go(&service.at("/rejected")).await;
    page.click("tbody a").await;
    page.click_on("Settle").await;
    page.wait_for("the record", "document.querySelector('#reopen')").await;
    assert_eq!(env.count(LEFT).await, 0);
    page.click_on("Reopen").await;
    page.wait_for("the record again", "document.querySelector('#settle')").await;
    assert_eq!(env.count(LEFT).await, 1);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_rejected_status_events_are_accessible() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let service = env.start_couriers(&database, &[]).await;
    env.send_status(Some("a"), br#"{"order_id":"a","status":7}"#).await;
    wait_until("the rejection", async || database.count("couriers.rejected_records").await == 1)
        .await;
    let id = service.json("/rejected").await["items"][0]["id"].as_str().unwrap().to_owned();
    for (reader, list, edit) in [
        (
            Reader { dark: true, window: NARROW, ..russian() },
            "Отправить все эти записи",
            "Изменить и отправить",
        ),
        (Reader::default(), "Replay all of these", "Edit before replay"),
    ] {
        let page = Page::open(reader, &service.at("/rejected?field=/status")).await;
        page.click_on(list).await;
        page.assert_accessible().await;
        page.go(&service.at(&format!("/rejected/{id}"))).await;
        page.click_on(edit).await;
        page.wait_for("the check", "document.querySelector('#check [data-to-line]')").await;
        page.assert_accessible().await;
        assert_eq!(page.errors(), [""; 0]);
    }
    service.stop().await.unwrap();
}
