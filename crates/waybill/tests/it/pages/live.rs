//! What comes by itself, and what is said when it does not.

use testkit::{
    TestEnvironment,
    browser::{Page, Reader},
    shared, wait_until,
};

use super::*;

/// The state of the live line.
const CUT: &str = "document.querySelector('#rates').classList.contains('cut')";

#[tokio::test(flavor = "multi_thread")]
async fn orders_and_versions_and_rejections_come_by_themselves() {
    let env = TestEnvironment::new(shared()).await;
    let service = with_sample(&env).await;
    let page = Page::open(Reader::default(), &service.at(&format!("/order/{UID}"))).await;
    send(&env, &service, &order("fresh", 1)).await;
    page.until(
        "the order in the list",
        "document.querySelector('#newest').innerText.includes('fresh')",
    )
    .await;
    assert_eq!(page.text("#newest li:first-child a").await, "fresh");

    env.send(None, None, Some(order(UID, 4_711).to_string().as_bytes())).await;
    page.click_on("version 2 is here: show it").await;
    page.shows("4,711 USD").await;
    page.shows("version 2").await;

    page.click("nav a[href='/rejected']").await;
    page.shows("Nothing has been rejected.").await;
    env.send(None, None, Some(b"{")).await;
    page.click_on("1 new: show it").await;
    page.shows("invalid_json").await;
    assert_eq!(page.complaints(), [""; 0]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_between_a_page_and_its_feed_is_not_missed() {
    let env = TestEnvironment::new(shared()).await;
    let service = with_sample(&env).await;
    let page = service.http.get(service.at("/")).header("accept", "text/html").send().await;
    let page = page.unwrap().text().await.unwrap();
    let seen = page.split("name=\"live\" content=\"").nth(1).unwrap().split('"').next().unwrap();
    send(&env, &service, &order("between", 1)).await;
    let live = service.http.get(service.at("/live")).header("last-event-id", seen).send().await;
    let (mut live, mut told) = (live.unwrap(), String::new());
    wait_until("the feed to tell of it", async || {
        let chunk = live.chunk().await.unwrap().expect("the feed goes on");
        told.push_str(&String::from_utf8_lossy(&chunk));
        told.contains("between")
    })
    .await;
    assert!(!told.contains("reset"), "nothing has to be loaded again: {told}");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_moves_only_for_readers_who_like_it() {
    let env = TestEnvironment::new(shared()).await;
    let service = with_sample(&env).await;
    for (calm, animation) in [(false, "in"), (true, "none")] {
        let reader = Reader { calm, ..Reader::default() };
        let page = Page::open(reader, &service.at("/")).await;
        page.until("the feed", "!document.querySelector('#rates').hidden").await;
        send(&env, &service, &order(&format!("calm-{calm}"), 1)).await;
        page.until("the new order", "document.querySelector('#newest .new')").await;
        let expression = "getComputedStyle(document.querySelector('#newest .new')).animationName";
        assert_eq!(page.value::<String>(expression).await, animation);
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_feed_is_told_since_when_and_comes_back() {
    let env = TestEnvironment::new(shared()).await;
    let service = with_sample(&env).await;
    let address = service.address();
    let pages = [
        (Page::open(Reader::default(), &service.at("/")).await, "No live data since"),
        (Page::open(russian(), &service.at("/")).await, "Нет свежих данных с"),
    ];
    for (page, _) in &pages {
        page.until("the feed", &format!("!document.querySelector('#rates').hidden && !{CUT}"))
            .await;
    }
    service.stop().await.unwrap();
    for (page, words) in &pages {
        page.shows(words).await;
        let text = page.text("#rates").await;
        let now = "new Intl.DateTimeFormat('en', { timeStyle: 'medium', hourCycle: 'h23' })
            .format(Date.now()).slice(0, 3)";
        let hour: String = page.value(now).await;
        assert!(text.contains(&hour), "{text} tells a time of this hour, {hour}…");
    }
    let (page, _) = &pages[0];
    page.click(".find input").await;
    page.type_text(UID).await;
    page.key("Enter").await;
    page.shows("The service does not answer.").await;

    let service = env.start_at(address, &[]).await;
    for (page, _) in &pages {
        page.until("the feed to be back", &format!("!{CUT}")).await;
    }
    send(&env, &service, &order("after-all", 1)).await;
    for (page, _) in &pages {
        page.leave().await;
        page.shows("after-all").await;
    }
    service.stop().await.unwrap();
}
