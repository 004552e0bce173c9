//! The courier service's board in a real browser, as a dispatcher uses it: by mouse and by keyboard,
//! in both languages and themes, wide and narrow, with scripts and without.

use serde_json::{Value, json};
use testkit::{
    CourierDatabase, Service, TestEnvironment,
    browser::{Page, Reader},
    shared,
};

const SCRIPT: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>";
const NARROW: (u32, u32) = (320, 640);

fn russian() -> Reader {
    Reader { lang: "ru", ..Reader::default() }
}

async fn with_service(more: &[&str]) -> (TestEnvironment, CourierDatabase, Service) {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let service = env.start_couriers(&database, more).await;
    (env, database, service)
}

/// Registers a courier and gives his id.
async fn enlist(service: &Service, number: u32, name: &str, transport: &str, status: &str) -> i64 {
    let phone = format!("+7{number:010}");
    let courier =
        json!({ "name": name, "phone": phone, "transport_type": transport, "status": status });
    let answer = service.http.post(service.at("/courier")).json(&courier).send().await.unwrap();
    assert_eq!(answer.status(), 201, "{name}");
    answer.json::<Value>().await.unwrap()["id"].as_i64().unwrap()
}

/// Tells a status of an order and waits until the courier service has taken it in.
async fn tell(env: &TestEnvironment, order_id: &str, status: &str) {
    let event = json!({ "order_id": order_id, "status": status });
    env.send_status(Some(order_id), event.to_string().as_bytes()).await;
    env.events_drained().await;
}

/// Waits until the lane shows this text; lanes are `waiting`, `road` and `idle`.
async fn lane_shows(page: &Page, lane: &str, text: &str) {
    let text = text.replace('\u{a0}', " ");
    let shown = format!(
        "document.querySelector('#{lane}').innerText.replaceAll('\\u00a0', ' ').includes({})",
        json!(text)
    );
    page.until(&format!("{text:?} in {lane}"), &shown).await;
}

async fn has_cards(page: &Page, lane: &str, count: usize) {
    let expression = format!("document.querySelectorAll('#{lane} > *').length === {count}");
    page.until(&format!("{count} cards in {lane}"), &expression).await;
}

/// Presses Tab until what `selector` finds has the focus.
async fn tab_to(page: &Page, selector: &str) {
    let there = format!("document.activeElement.matches({})", json!(selector));
    for _ in 0..60 {
        if page.value::<bool>(&there).await {
            return;
        }
        page.key("Tab").await;
    }
    panic!("Tab does not reach {selector}");
}

#[tokio::test(flavor = "multi_thread")]
async fn couriers_by_state_and_the_queue_with_reasons_are_shown_and_move_by_themselves() {
    let (env, _database, service) = with_service(&[]).await;
    let pages = [
        Page::open(Reader::default(), &service.at("/")).await,
        Page::open(russian(), &service.at("/")).await,
    ];
    let [english, russian] = &pages;
    english.shows("No order waits.").await;
    russian.shows("Очереди нет.").await;
    tell(&env, "first", "created").await;
    lane_shows(english, "waiting", "No courier is registered yet").await;
    lane_shows(russian, "waiting", "Курьеров пока нет").await;

    enlist(&service, 1, "Anna", "car", "paused").await;
    lane_shows(english, "waiting", "Every courier is paused").await;
    lane_shows(russian, "waiting", "Все курьеры на паузе").await;
    lane_shows(russian, "idle", "на паузе").await;
    enlist(&service, 2, "Борис", "scooter", "available").await;
    lane_shows(english, "road", "Борис").await;
    lane_shows(english, "road", "first").await;
    lane_shows(english, "road", "until").await;
    lane_shows(russian, "road", "самокат").await;
    for order_id in ["second", "third"] {
        tell(&env, order_id, "created").await;
    }
    lane_shows(english, "waiting", "No courier is free: 1 carries, 1 is paused").await;
    lane_shows(english, "waiting", "Number 2 in the queue").await;
    lane_shows(russian, "waiting", "Свободных нет: в пути 1 курьер, 1 на паузе").await;
    lane_shows(russian, "waiting", "В очереди 2-й").await;
    english.shows("orders wait, oldest").await;
    let age = "document.querySelector('#waiting time').textContent";
    let before: String = english.value(age).await;
    english.until("the age to grow", &format!("{age} !== {}", json!(before))).await;

    // He is free, and the one who has waited longest is his.
    tell(&env, "first", "completed").await;
    lane_shows(english, "road", "second").await;
    has_cards(english, "waiting", 1).await;
    lane_shows(english, "waiting", "third").await;
    tell(&env, "third", "cancelled").await;
    has_cards(english, "waiting", 0).await;
    tell(&env, "second", "cancelled").await;
    lane_shows(english, "idle", "free").await;
    lane_shows(russian, "idle", "1 доставка").await;
    english.shows("completed in all; mean").await;
    english.shows("Nobody is on the road.").await;
    for page in &pages {
        assert_eq!(page.complaints(), [""; 0]);
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_adds_pauses_and_resumes_couriers_assigns_and_unassigns() {
    let (env, _database, service) = with_service(&[]).await;
    let page = Page::open(Reader::default(), &service.at("/")).await;
    page.click_on("Add a courier").await;
    page.click("#add input[name=name]").await;
    page.type_text("Ada").await;
    page.click("#add input[name=phone]").await;
    page.type_text("+4917000000001").await;
    page.click_on("Add").await;
    lane_shows(&page, "idle", "Ada").await;
    page.until("the form to fold", "!document.querySelector('#add').open").await;

    page.click_on("Pause: Ada").await;
    lane_shows(&page, "idle", "paused").await;
    tell(&env, "order-1", "created").await;
    page.click_on("Assign: order-1").await;
    page.shows("No courier is free. Nothing was changed.").await;
    page.click_on("Resume: Ada").await;
    lane_shows(&page, "road", "order-1").await;

    page.click_on("Unassign: order-1").await;
    lane_shows(&page, "waiting", "Unassigned by hand").await;
    lane_shows(&page, "waiting", "held").await;
    lane_shows(&page, "idle", "free").await;
    page.click_on("Assign: order-1").await;
    lane_shows(&page, "road", "order-1").await;
    assert_eq!(service.json("/delivery/order-1").await["assignment"]["by_hand"], true);

    // Of an order that nobody has told of.
    page.click_on("Assign an order by its id").await;
    page.click("#assign input").await;
    page.type_text("order-2").await;
    page.key("Enter").await;
    page.shows("No courier is free. Nothing was changed.").await;
    enlist(&service, 2, "Bob", "car", "available").await;
    page.click("#assign button").await;
    lane_shows(&page, "road", "order-2").await;

    // A telephone number that another has, in Russian.
    let page = Page::open(russian(), &service.at("/")).await;
    page.click_on("Добавить курьера").await;
    page.click("#add input[name=name]").await;
    page.type_text("Ада").await;
    page.click("#add input[name=phone]").await;
    page.type_text("+4917000000001").await;
    page.click_on("Добавить").await;
    page.shows("Этот телефон уже у другого курьера.").await;
    assert_eq!(page.complaints(), [""; 0]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_it_is_done_by_the_keyboard_alone_on_a_narrow_window() {
    let (env, _database, service) = with_service(&[]).await;
    let reader = Reader { window: NARROW, ..Reader::default() };
    let page = Page::open(reader, &service.at("/")).await;
    tab_to(&page, "#add summary").await;
    page.key("Enter").await;
    tab_to(&page, "#add input[name=name]").await;
    page.type_text("Ada").await;
    page.key("Tab").await;
    page.type_text("+4917000000001").await;
    page.key("Enter").await;
    lane_shows(&page, "idle", "Ada").await;
    tell(&env, "order-1", "created").await;
    lane_shows(&page, "road", "order-1").await;
    tab_to(&page, "[data-unassign]").await;
    page.key("Enter").await;
    lane_shows(&page, "waiting", "order-1").await;
    // What had the focus is gone; its lane has it, and no other button that Enter would press.
    page.until("the lane to have the focus", "document.activeElement.id === 'road-title'").await;
    page.key("Enter").await;
    tab_to(&page, "[data-courier]").await;
    page.key(" ").await;
    lane_shows(&page, "idle", "paused").await;
    // The button is the same one, with another word on it.
    assert!(page.value::<bool>("document.activeElement.matches('[data-courier]')").await);
    page.key(" ").await;
    lane_shows(&page, "idle", "free").await;
    for _ in 0..30 {
        page.key("Shift+Tab").await;
        if page.value::<bool>("document.activeElement.matches('[data-assign]')").await {
            break;
        }
    }
    page.key("Enter").await;
    lane_shows(&page, "road", "order-1").await;
    assert_eq!(page.complaints(), [""; 0]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_gap_the_board_says_so_and_shows_the_newest_state() {
    let (env, database, service) = with_service(&[]).await;
    let address = service.address();
    let pages = [
        (Page::open(Reader::default(), &service.at("/")).await, "not live since", "live"),
        (Page::open(russian(), &service.at("/")).await, "связи нет с", "вживую"),
    ];
    let live = |word: &str| {
        format!(
            "document.querySelector('#feed:not([hidden], .cut)')?.innerText.trim() === '{word}'"
        )
    };
    for (page, _, word) in &pages {
        page.until("the board to be live", &live(word)).await;
    }
    enlist(&service, 1, "Anna", "car", "available").await;
    let (page, ..) = &pages[0];
    lane_shows(page, "idle", "Anna").await;
    service.stop().await.unwrap();
    for (page, cut, _) in &pages {
        page.shows(cut).await;
    }
    page.click_on("Pause: Anna").await;
    page.shows("The courier service does not answer.").await;
    env.send_status(None, br#"{"order_id":"meanwhile","status":"created"}"#).await;

    let service = env.start_couriers_at(address, &database, &[]).await;
    for (page, _, word) in &pages {
        page.until("the board to be live again", &live(word)).await;
        lane_shows(page, "road", "meanwhile").await;
        lane_shows(page, "road", "Anna").await;
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_board_is_sound_in_both_themes_and_languages_and_runs_nobodys_script() {
    let (env, database, service) = with_service(&["--delivery-time-car", "0s"]).await;
    enlist(&service, 1, SCRIPT, "car", "available").await;
    tell(&env, SCRIPT, "created").await;
    enlist(&service, 2, &"Wide".repeat(50), "on_foot", "available").await;
    tell(&env, &"9".repeat(100), "created").await;
    enlist(&service, 3, "Paused", "scooter", "paused").await;
    for order_id in ["held", "waits-0123456789-0123456789-0123456789-0123456789"] {
        tell(&env, order_id, "created").await;
    }
    testkit::wait_until("both to carry", async || service.json("/statistics").await["active"] == 2)
        .await;
    // Held as if by a hand, without a courier of its own.
    sqlx::query("UPDATE couriers.order_states SET held_at = now() WHERE order_id = 'held'")
        .execute(&database.pool)
        .await
        .unwrap();

    let mut faults = Vec::new();
    for (lang, dark, window, javascript) in [
        ("en", false, (1280, 900), true),
        ("ru", true, NARROW, true),
        ("ru", false, NARROW, false),
        ("en", true, (1280, 900), true),
    ] {
        let reader = Reader { lang, dark, window, javascript, ..Reader::default() };
        let page = Page::open(reader, &service.at("/")).await;
        for path in ["/", "/docs", "/nowhere"] {
            page.go(&service.at(path)).await;
            if javascript && path == "/" {
                page.until("it to be live", "!document.querySelector('#feed').hidden").await;
                let _: Vec<bool> = page
                    .run(
                        "() => [...document.querySelectorAll('details')].map((one) => one.open = true)",
                        json!([]),
                    )
                    .await;
            }
            if javascript && path == "/docs" {
                page.until("the calls", "document.querySelector('.call')").await;
            }
            for fault in page.faults().await {
                faults.push(format!("{lang}, dark {dark}, {window:?}, {path}: {fault}"));
            }
        }
        page.go(&service.at("/")).await;
        page.shows(SCRIPT).await;
        for injected in ["img", "[onerror]", "body script"] {
            let count = format!("document.querySelectorAll({}).length", json!(injected));
            assert_eq!(page.value::<usize>(&count).await, 0, "{injected}");
        }
        page.picture(&format!("board-{lang}-{}", if dark { "dark" } else { "light" })).await;
    }
    assert!(faults.is_empty(), "{faults:#?}");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_javascript_the_board_shows_the_moment_and_says_so() {
    let (env, _database, service) = with_service(&[]).await;
    enlist(&service, 1, "Anna", "car", "available").await;
    for order_id in ["first", "second"] {
        tell(&env, order_id, "created").await;
    }
    testkit::wait_until("Anna to carry", async || service.json("/statistics").await["active"] == 1)
        .await;
    let told = [
        ("en", ["Without JavaScript the board shows this moment", "No courier is free: 1 carries"]),
        ("ru", ["Без JavaScript табло показывает этот миг", "Свободных нет: в пути 1 курьер"]),
    ];
    for (lang, words) in told {
        let reader = Reader { lang, javascript: false, ..Reader::default() };
        let page = Page::open(reader, &service.at("/")).await;
        for word in words.into_iter().chain(["Anna", "first", "second"]) {
            page.shows(word).await;
        }
        // Controls that would do nothing are not offered.
        let controls = "[...document.querySelectorAll('main :is(button, summary, input)')]
            .filter((one) => one.checkVisibility()).length";
        assert_eq!(page.value::<usize>(controls).await, 0);
    }
    service.stop().await.unwrap();
}
