//! The pages of both services together: a cancelled order on its page frees its courier on the
//! board.

use couriers::delivery::{WaitReason, courier::Transport};
use serde_json::{Value, json};
use testkit::{
    TestEnvironment,
    browser::{Page, Reader},
    shared,
};

use crate::support::order;

/// The words of the pages in one language.
struct Words {
    lang: &'static str,
    carried: &'static str,
    cancel: &'static str,
    cancelled: &'static str,
    no_delivery: &'static str,
    couriers: &'static str,
    free: &'static str,
}

const LANGUAGES: [Words; 2] = [
    Words {
        lang: "en",
        carried: "Анна К., by scooter, deadline",
        cancel: "Cancel order",
        cancelled: "cancelled",
        no_delivery: "No delivery",
        couriers: "Couriers",
        free: "free",
    },
    Words {
        lang: "ru",
        carried: "Анна К., на самокате, доставить до",
        cancel: "Отменить заказ",
        cancelled: "отменён",
        no_delivery: "Доставки нет",
        couriers: "Курьеры",
        free: "свободен",
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_an_order_on_its_page_frees_its_courier() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;
    let anna = json!({
        "name": "Анна К.", "phone": "+70000000001", "transport_type": "scooter", "status": "available",
    });
    let added = couriers.http.post(couriers.at("/courier")).json(&anna).send().await.unwrap();

    assert_eq!(added.status(), 201);
    for words in LANGUAGES {
        let uid = format!("order-{}", words.lang);
        env.send(None, Some(uid.as_bytes()), Some(order(&uid, 1).to_string().as_bytes())).await;
        let reader = Reader { lang: words.lang, ..Reader::default() };
        let board = Page::open(reader, &couriers.url).await;
        board.wait_for("the order on the road", &on_the_road(&uid)).await;

        let page = Page::open(reader, &orders.url).await;
        page.click(".find input").await;
        page.type_text(&uid).await;
        page.press_key("Enter").await;
        page.wait_for_text(words.carried).await;
        assert_every_code_is_translated(&page, words.lang).await;

        page.click_on(words.cancel).await;
        let status =
            format!("document.querySelector('#status').textContent === '{}'", words.cancelled);
        page.wait_for("the order to be cancelled", &status).await;
        page.wait_for_text(words.no_delivery).await;
        board.wait_for("its courier to be free", &is_idle(words.free)).await;
        // The link to the board leads to the courier service.
        page.click_on(words.couriers).await;
        page.wait_for("the board", &is_idle(words.free)).await;
        assert_eq!(page.value::<String>("location.origin").await, couriers.url);
        assert_eq!(page.errors(), [""; 0]);
        assert_eq!(board.errors(), [""; 0]);
    }
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

fn on_the_road(order_id: &str) -> String {
    format!("document.querySelector('#road').innerText.includes({})", json!(order_id))
}

/// A JavaScript expression: Anna is in the list of free couriers, and no courier is on the road.
fn is_idle(free: &str) -> String {
    format!(
        "['Анна К.', '{free}'].every((text) => document.querySelector('#free')?.innerText.includes(text))
            && !document.querySelector('#road').children.length"
    )
}

/// Asserts that the order page has a text for each code that the courier service may answer.
async fn assert_every_code_is_translated(page: &Page, lang: &str) {
    let words: Value =
        page.value("JSON.parse(document.querySelector('meta[name=words]').content)").await;
    let reasons = WaitReason::ALL.map(WaitReason::as_str);
    let transports = Transport::ALL.map(Transport::as_str);
    for code in reasons.into_iter().chain(transports) {
        let said = words[code].as_str().unwrap_or_else(|| panic!("no text for {code} in {lang}"));
        let is_russian = said.chars().any(|letter| ('а'..='я').contains(&letter));
        assert_eq!(is_russian, lang == "ru", "{code}: {said}");
    }
}
