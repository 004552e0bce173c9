//! The board of the courier service, as a dispatcher uses it.

use serde_json::json;
use testkit::{
    CourierDatabase, Service, TestEnvironment,
    browser::{Page, Reader},
    shared,
};

use super::{NARROW, WIDE, russian};
use crate::support::{add_courier, send_keyed_status};

const SCRIPT: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>";

async fn start_couriers(more: &[&str]) -> (TestEnvironment, CourierDatabase, Service) {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let service = env.start_couriers(&database, more).await;
    (env, database, service)
}

/// Sends a status event and waits until the courier service has committed it.
async fn send_and_commit(env: &TestEnvironment, order_id: &str, status: &str) {
    send_keyed_status(env, order_id, status).await;
    env.wait_until_couriers_drained().await;
}

/// Waits until the lane shows this text; lanes are `waiting`, `road` and `couriers`.
async fn wait_for_lane_text(page: &Page, lane: &str, text: &str) {
    let text = text.replace('\u{a0}', " ");
    let shown = format!(
        "document.querySelector('[data-lane={lane}]').innerText.replaceAll('\\u00a0', ' ').includes({})",
        json!(text)
    );
    page.wait_for(&format!("{text:?} in {lane}"), &shown).await;
}

/// Waits until the courier is in the list of couriers who are free.
async fn wait_for_free(page: &Page, courier: &str) {
    let shown = format!("document.querySelector('#free').innerText.includes('{courier}')");
    page.wait_for(&format!("{courier} to be free"), &shown).await;
}

async fn wait_for_card_count(page: &Page, lane: &str, count: usize) {
    let expression =
        format!("document.querySelectorAll('[data-lane={lane}] .row').length === {count}");
    page.wait_for(&format!("{count} cards in {lane}"), &expression).await;
}

/// Presses Tab until the element that `selector` finds has the focus.
async fn tab_to(page: &Page, selector: &str) {
    let has_focus = format!("document.activeElement.matches({})", json!(selector));
    for _ in 0..60 {
        if page.value::<bool>(&has_focus).await {
            return;
        }
        page.press_key("Tab").await;
    }
    panic!("Tab does not reach {selector}");
}

#[tokio::test(flavor = "multi_thread")]
async fn couriers_and_the_queue_are_shown_and_updated_live() {
    let (env, _database, service) = start_couriers(&[]).await;
    let pages = [
        Page::open(Reader::default(), &service.at("/")).await,
        Page::open(russian(), &service.at("/")).await,
    ];
    let [english, russian] = &pages;

    english.wait_for_text("No orders are waiting.").await;
    russian.wait_for_text("Ожидающих заказов нет.").await;
    send_and_commit(&env, "first", "created").await;
    wait_for_lane_text(english, "waiting", "No courier is registered yet").await;
    wait_for_lane_text(russian, "waiting", "Курьеров пока нет").await;

    add_courier(&service, "Anna", "car", "paused").await;
    wait_for_lane_text(english, "waiting", "Every courier is paused").await;
    wait_for_lane_text(russian, "waiting", "Все курьеры на паузе").await;
    wait_for_lane_text(russian, "couriers", "на паузе").await;
    add_courier(&service, "Борис", "scooter", "available").await;
    wait_for_lane_text(english, "road", "Борис").await;
    wait_for_lane_text(english, "road", "first").await;
    wait_for_lane_text(english, "road", "deadline").await;
    wait_for_lane_text(russian, "road", "самокат").await;
    for order_id in ["second", "third"] {
        send_and_commit(&env, order_id, "created").await;
    }
    wait_for_lane_text(english, "waiting", "No courier is free: 1 carries, 1 is paused").await;
    wait_for_lane_text(english, "waiting", "Number 2 in the queue").await;
    wait_for_lane_text(russian, "waiting", "Свободных нет: в пути 1 курьер, 1 на паузе").await;
    wait_for_lane_text(russian, "waiting", "В очереди 2-й").await;
    english.wait_for_text("orders waiting, oldest").await;
    let age = "document.querySelector('#waiting time').textContent";
    let before: String = english.value(age).await;
    english.wait_for("the age to grow", &format!("{age} !== {}", json!(before))).await;

    // The courier is free again and gets the order that has waited longest.
    send_and_commit(&env, "first", "completed").await;
    wait_for_lane_text(english, "road", "second").await;
    wait_for_card_count(english, "waiting", 1).await;
    wait_for_lane_text(english, "waiting", "third").await;
    send_and_commit(&env, "third", "cancelled").await;
    wait_for_card_count(english, "waiting", 0).await;
    send_and_commit(&env, "second", "cancelled").await;
    wait_for_free(english, "Борис").await;
    wait_for_lane_text(russian, "couriers", "1 доставка").await;
    english.wait_for_text("completed in total; mean time").await;
    english.wait_for_text("No active deliveries.").await;

    for page in &pages {
        assert_eq!(page.errors(), [""; 0]);
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_changes_couriers_and_assignments() {
    let (env, _database, service) = start_couriers(&[]).await;
    let page = Page::open(Reader::default(), &service.at("/")).await;

    page.click_on("Add a courier").await;
    page.click("#add input[name=name]").await;
    page.type_text("Ada").await;
    page.click("#add input[name=phone]").await;
    page.type_text("+4917000000001").await;
    page.click_on("Add").await;
    wait_for_lane_text(&page, "couriers", "Ada").await;
    page.wait_for("the form to fold", "!document.querySelector('#add').open").await;

    page.click_on("Pause: Ada").await;
    wait_for_lane_text(&page, "couriers", "paused").await;
    send_and_commit(&env, "order-1", "created").await;
    page.click_on("Assign: order-1").await;
    page.wait_for_text("No courier is free. Nothing was changed.").await;
    page.click_on("Resume: Ada").await;
    wait_for_lane_text(&page, "road", "order-1").await;

    page.click_on("Unassign: order-1").await;
    wait_for_lane_text(&page, "waiting", "Unassigned manually").await;
    wait_for_lane_text(&page, "waiting", "held").await;
    wait_for_free(&page, "Ada").await;
    page.click_on("Assign: order-1").await;
    wait_for_lane_text(&page, "road", "order-1").await;

    assert_eq!(service.json("/delivery/order-1").await["assignment"]["by_hand"], true);

    // An order without any event.
    page.click_on("Assign an order by its id").await;
    page.click("#assign input").await;
    page.type_text("order-2").await;
    page.press_key("Enter").await;
    page.wait_for_text("No courier is free. Nothing was changed.").await;
    add_courier(&service, "Bob", "car", "available").await;
    page.click("#assign button").await;
    wait_for_lane_text(&page, "road", "order-2").await;

    // The phone number of another courier, in Russian.
    let page = Page::open(russian(), &service.at("/")).await;
    page.click_on("Добавить курьера").await;
    page.click("#add input[name=name]").await;
    page.type_text("Ада").await;
    page.click("#add input[name=phone]").await;
    page.type_text("+4917000000001").await;
    page.click_on("Добавить").await;
    page.wait_for_text("Этот телефон уже указан у другого курьера.").await;

    assert_eq!(page.errors(), [""; 0]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_by_keyboard_in_a_narrow_window() {
    let (env, _database, service) = start_couriers(&[]).await;
    let reader = Reader { window: NARROW, ..Reader::default() };
    let page = Page::open(reader, &service.at("/")).await;

    tab_to(&page, "#add summary").await;
    page.press_key("Enter").await;
    tab_to(&page, "#add input[name=name]").await;
    page.type_text("Ada").await;
    page.press_key("Tab").await;
    page.type_text("+4917000000001").await;
    page.press_key("Enter").await;
    wait_for_lane_text(&page, "couriers", "Ada").await;
    send_and_commit(&env, "order-1", "created").await;
    wait_for_lane_text(&page, "road", "order-1").await;
    tab_to(&page, "[data-act=unassign]").await;
    page.press_key("Enter").await;
    wait_for_lane_text(&page, "waiting", "order-1").await;
    // The button with the focus is gone, so its lane has the focus, and Enter presses no other
    // button.
    page.wait_for("the lane to have the focus", "document.activeElement.id === 'road-title'").await;
    page.press_key("Enter").await;
    tab_to(&page, "[data-act=status]").await;
    page.press_key(" ").await;
    wait_for_lane_text(&page, "couriers", "paused").await;

    // It is still the same button, with another text.
    assert!(page.value::<bool>("document.activeElement.matches('[data-act=status]')").await);

    page.press_key(" ").await;
    wait_for_free(&page, "Ada").await;
    for _ in 0..30 {
        page.press_key("Shift+Tab").await;
        if page.value::<bool>("document.activeElement.matches('[data-act=assign]')").await {
            break;
        }
    }
    page.press_key("Enter").await;
    wait_for_lane_text(&page, "road", "order-1").await;

    assert_eq!(page.errors(), [""; 0]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_gap_the_board_shows_the_newest_state() {
    let (env, database, service) = start_couriers(&[]).await;
    let address = service.address();
    let pages = [
        (Page::open(Reader::default(), &service.at("/")).await, "no live data since", "live"),
        (Page::open(russian(), &service.at("/")).await, "нет свежих данных с", "онлайн"),
    ];
    let live = |word: &str| {
        format!(
            "document.querySelector('#feed:not([hidden], .cut)')?.innerText.trim() === '{word}'"
        )
    };

    for (page, _, word) in &pages {
        page.wait_for("the board to be live", &live(word)).await;
    }
    add_courier(&service, "Anna", "car", "available").await;
    let (page, ..) = &pages[0];
    wait_for_lane_text(page, "couriers", "Anna").await;
    service.stop().await.unwrap();
    for (page, cut, _) in &pages {
        page.wait_for_text(cut).await;
    }
    page.click_on("Pause: Anna").await;
    page.wait_for_text("The courier service does not answer.").await;
    env.send_status(None, br#"{"order_id":"meanwhile","status":"created"}"#).await;

    let service = env.start_couriers_at(address, &database, &[]).await;
    for (page, _, word) in &pages {
        page.wait_for("the board to be live again", &live(word)).await;
        wait_for_lane_text(page, "road", "meanwhile").await;
        wait_for_lane_text(page, "road", "Anna").await;
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_board_is_accessible_and_runs_no_injected_script() {
    let (env, database, service) = start_couriers(&["--delivery-time-car", "0s"]).await;
    add_courier(&service, SCRIPT, "car", "available").await;
    send_and_commit(&env, SCRIPT, "created").await;
    add_courier(&service, &"Wide".repeat(50), "on_foot", "available").await;
    send_and_commit(&env, &"9".repeat(100), "created").await;
    add_courier(&service, "Paused", "scooter", "paused").await;
    for order_id in ["held", "waits-0123456789-0123456789-0123456789-0123456789"] {
        send_and_commit(&env, order_id, "created").await;
    }
    testkit::wait_until("both couriers to be busy", async || {
        service.json("/statistics").await["active"] == 2
    })
    .await;
    let event = json!({ "order_id": SCRIPT, "status": 7, "x": "9".repeat(200) }).to_string();
    let (partition, offset) = env.send_status(Some(SCRIPT), event.as_bytes()).await;
    env.wait_until_couriers_drained().await;
    let rejected = format!("/rejected/{}:{partition}:{offset}", env.status_topic());
    // Held, although it never had a courier.
    sqlx::query("UPDATE couriers.order_states SET held_at = now() WHERE order_id = 'held'")
        .execute(&database.pool)
        .await
        .unwrap();

    let mut faults = Vec::new();
    for (lang, dark, window, javascript) in [
        ("en", false, WIDE, true),
        ("ru", true, NARROW, true),
        ("ru", false, NARROW, false),
        ("en", true, WIDE, true),
    ] {
        let reader = Reader { lang, dark, window, javascript, ..Reader::default() };
        let page = Page::open(reader, &service.at("/")).await;
        for path in ["/", "/docs", "/nowhere", "/rejected", &rejected] {
            page.go(&service.at(path)).await;
            if javascript && path == "/" {
                page.wait_for("it to be live", "!document.querySelector('#feed').hidden").await;
                let _: Vec<bool> = page
                    .run(
                        "() => [...document.querySelectorAll('details')].map((one) => one.open = true)",
                        json!([]),
                    )
                    .await;
            }
            if javascript && path == "/docs" {
                page.wait_for("the calls", "document.querySelector('.call')").await;
            }
            for fault in page.accessibility_faults().await {
                faults.push(format!("{lang}, dark {dark}, {window:?}, {path}: {fault}"));
            }
        }
        page.go(&service.at("/")).await;
        page.wait_for_text(SCRIPT).await;
        for injected in ["img", "[onerror]", "body script"] {
            let count = format!("document.querySelectorAll({}).length", json!(injected));
            assert_eq!(page.value::<usize>(&count).await, 0, "{injected}");
        }
        page.save_screenshot(&format!("board-{lang}-{}", if dark { "dark" } else { "light" }))
            .await;
    }
    assert!(faults.is_empty(), "{faults:#?}");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_javascript_the_board_shows_one_moment() {
    let (env, _database, service) = start_couriers(&[]).await;
    add_courier(&service, "Anna", "car", "available").await;
    for order_id in ["first", "second"] {
        send_and_commit(&env, order_id, "created").await;
    }
    testkit::wait_until("Anna to be busy", async || {
        service.json("/statistics").await["active"] == 1
    })
    .await;
    let texts = [
        ("en", ["Without JavaScript the board is not updated", "No courier is free: 1 carries"]),
        ("ru", ["Без JavaScript панель не обновляется", "Свободных нет: в пути 1 курьер"]),
    ];

    for (lang, words) in texts {
        let reader = Reader { lang, javascript: false, ..Reader::default() };
        let page = Page::open(reader, &service.at("/")).await;
        for word in words.into_iter().chain(["Anna", "first", "second"]) {
            page.wait_for_text(word).await;
        }
        // Controls that need JavaScript are not shown. The search works without it.
        let controls = "[...document.querySelectorAll('main :is(button, summary, input)')]
            .filter((one) => one.checkVisibility() && !one.closest('.find')).length";
        assert_eq!(page.value::<usize>(controls).await, 0);
        page.click(".find input").await;
        page.type_text("sec").await;
        page.press_key("Enter").await;
        page.wait_for_text("sec").await;
        page.wait_for("the order", "document.querySelectorAll('#orders .row').length === 1").await;
        assert_eq!(page.path().await, "/?q=sec");
    }
    service.stop().await.unwrap();
}
