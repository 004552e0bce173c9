//! Live updates of the pages, and the message when they stop.

use testkit::{
    TestEnvironment,
    browser::{Page, Reader},
    shared, wait_until,
};

use super::*;

/// A JavaScript expression that is true while the feed is disconnected.
const IS_CUT: &str = "document.querySelector('#rates').classList.contains('cut')";

#[tokio::test(flavor = "multi_thread")]
async fn orders_versions_and_rejections_appear_live() {
    let env = TestEnvironment::new(shared()).await;
    let service = start_with_sample(&env).await;
    let page = Page::open(Reader::default(), &service.at(&format!("/order/{SAMPLE_UID}"))).await;

    send_and_wait(&env, &service, &order("fresh", 1)).await;
    page.wait_for(
        "the order in the list",
        "document.querySelector('#newest').innerText.includes('fresh')",
    )
    .await;
    assert_eq!(page.text("#newest li:first-child a").await, "fresh");

    env.send(None, None, Some(order(SAMPLE_UID, 4_711).to_string().as_bytes())).await;
    page.click_on("new version 2: show").await;
    page.wait_for_text("4,711 USD").await;
    page.wait_for_text("version 2").await;

    page.click("nav a[href='/rejected']").await;
    page.wait_for_text("No rejected records are left to do.").await;
    env.send(None, None, Some(b"{")).await;
    page.click_on("1 new: show").await;
    page.wait_for_text("invalid_json").await;

    assert_eq!(page.errors(), [""; 0]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_between_the_page_and_its_feed_are_not_missed() {
    let env = TestEnvironment::new(shared()).await;
    let service = start_with_sample(&env).await;
    let page = service.http.get(service.at("/")).header("accept", "text/html").send().await;
    let page = page.unwrap().text().await.unwrap();
    let seen = page.split("name=\"live\" content=\"").nth(1).unwrap().split('"').next().unwrap();

    send_and_wait(&env, &service, &order("between", 1)).await;
    let live = service.http.get(service.at("/live")).header("last-event-id", seen).send().await;
    let (mut live, mut text) = (live.unwrap(), String::new());
    wait_until("the feed to contain it", async || {
        let chunk = live.chunk().await.unwrap().expect("the feed continues");
        text.push_str(&String::from_utf8_lossy(&chunk));
        text.contains("between")
    })
    .await;

    assert!(!text.contains("reset"), "the page does not have to be reloaded: {text}");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn new_orders_are_animated_unless_reduced_motion_is_set() {
    let env = TestEnvironment::new(shared()).await;
    let service = start_with_sample(&env).await;
    for (reduced_motion, animation) in [(false, "in"), (true, "none")] {
        let reader = Reader { reduced_motion, ..Reader::default() };
        let page = Page::open(reader, &service.at("/")).await;
        page.wait_for("the feed", "!document.querySelector('#rates').hidden").await;
        send_and_wait(&env, &service, &order(&format!("reduced-{reduced_motion}"), 1)).await;
        page.wait_for("the new order", "document.querySelector('#newest .new')").await;
        let expression = "getComputedStyle(document.querySelector('#newest .new')).animationName";
        assert_eq!(page.value::<String>(expression).await, animation);
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_feed_shows_since_when_and_reconnects() {
    let env = TestEnvironment::new(shared()).await;
    let service = start_with_sample(&env).await;
    let address = service.address();
    let pages = [
        (Page::open(Reader::default(), &service.at("/")).await, "No live data since"),
        (Page::open(russian(), &service.at("/")).await, "Нет свежих данных с"),
    ];

    for (page, _) in &pages {
        page.wait_for(
            "the feed",
            &format!("!document.querySelector('#rates').hidden && !{IS_CUT}"),
        )
        .await;
    }
    service.stop().await.unwrap();
    for (page, words) in &pages {
        page.wait_for_text(words).await;
        let text = page.text("#rates").await;
        // The hour of a minute ago is another one if it has just ended.
        let hours = "[0, 60000].map((before) =>
            new Intl.DateTimeFormat('en', { timeStyle: 'medium', hourCycle: 'h23' })
                .format(Date.now() - before).slice(0, 3))";
        let hours: Vec<String> = page.value(hours).await;
        let contains = |hour: &String| text.contains(hour);
        assert!(hours.iter().any(contains), "{text} contains a time of one of {hours:?}");
    }

    let (page, _) = &pages[0];
    page.click(".find input").await;
    page.type_text(SAMPLE_UID).await;
    page.press_key("Enter").await;
    page.wait_for_text("The service does not answer.").await;

    let service = env.start_at(address, &[]).await;
    for (page, _) in &pages {
        page.wait_for("the feed to be back", &format!("!{IS_CUT}")).await;
    }
    send_and_wait(&env, &service, &order("after-all", 1)).await;
    for (page, _) in &pages {
        page.move_mouse_away().await;
        page.wait_for_text("after-all").await;
    }
    service.stop().await.unwrap();
}
