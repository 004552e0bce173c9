//! The search for an order, and the page of an order.

use testkit::{
    TestEnvironment,
    browser::{Page, Reader},
    shared,
};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_search_is_used_by_keyboard_alone() {
    let env = TestEnvironment::new(shared()).await;
    let service = start_with_sample(&env).await;

    send_and_wait(&env, &service, &order("another", 2)).await;
    let page = Page::open(Reader::default(), &service.at("/")).await;
    const IN_SEARCH: &str = "document.activeElement.matches('.find input')";
    const SEARCHED: &str = "document.querySelector('.find input').value";
    page.wait_for("the search to have the focus", IN_SEARCH).await;
    page.type_text(&format!("  {SAMPLE_UID}")).await;
    page.press_key("Enter").await;

    assert_order_shown(&page, SAMPLE_UID).await;

    page.type_text("/").await;
    page.wait_for("the search to have the focus", IN_SEARCH).await;
    page.type_text("another").await;

    assert_eq!(page.value::<String>(SEARCHED).await, "another", "the old id was replaced");

    page.press_key("Enter").await;
    assert_order_shown(&page, "another").await;

    page.press_key("Escape").await;
    page.wait_for("the search to be empty", &format!("{SEARCHED} === '' && {IN_SEARCH}")).await;
    page.type_text("no").await;
    page.press_key("Escape").await;

    assert_eq!(page.value::<String>(SEARCHED).await, "");

    page.back().await;
    assert_order_shown(&page, SAMPLE_UID).await;
    assert_eq!(page.errors(), [""; 0]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_opens_a_new_order_without_reloading_the_page() {
    let env = TestEnvironment::new(shared()).await;
    let service = start_with_sample(&env).await;
    let page = Page::open(Reader::default(), &service.at("/")).await;
    let _: u8 = page.value("window.remembered = 1").await;

    page.click_on(SAMPLE_UID).await;
    assert_order_shown(&page, SAMPLE_UID).await;
    assert_eq!(page.value::<u8>("window.remembered").await, 1, "the document is the same");
    assert!(page.value::<bool>("document.activeElement.matches('h1')").await);
    assert_eq!(page.value::<String>("document.title").await, format!("{SAMPLE_UID} · Waybill"));

    page.wait_for_text("loaded in").await;
    page.back().await;
    page.wait_for_text("Find an order").await;

    // The second view shows the time of the first.
    page.click_on(SAMPLE_UID).await;
    page.wait_for_text("first view: from memory").await;
    page.click_on("Copy link").await;
    page.wait_for_text("Copied").await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_parts_of_an_order_are_shown_in_both_languages() {
    const ENGLISH: [&str; 6] =
        ["Newest orders", "from memory", "1,817", "1 item", "Order history", "To"];
    const RUSSIAN: [&str; 6] =
        ["Последние заказы", "из памяти", "1 817", "1 товар", "История заказа", "Кому"];
    let env = TestEnvironment::new(shared()).await;
    let service = start_with_sample(&env).await;

    for (lang, words) in [("en-GB", ENGLISH), ("ru-RU", RUSSIAN)] {
        for javascript in [true, false] {
            let reader = Reader { lang, javascript, ..Reader::default() };
            let page = Page::open(reader, &service.at(&format!("/order/{SAMPLE_UID}"))).await;
            for word in words.into_iter().chain([
                SAMPLE_UID,
                "WBILMTESTTRACK",
                "Test Testov",
                "Ploshad Mira 15",
                "Kiryat Mozkin, Kraiot 2639809",
                "+9720000000",
                "test@gmail.com",
                "wbpay",
                "alpha",
                "Mascaras",
                "Vivienne Sabo",
                "USD",
                "30 %",
            ]) {
                page.wait_for_text(word).await;
            }
            let tree = page.accessibility_tree().await;
            assert!(
                tree.iter().any(|(role, name)| role == "image" && name.contains("WBILMTESTTRACK")),
                "the bar code has an accessible name: {tree:?}"
            );
            assert!(!page.value::<bool>("document.querySelector('details.raw').open").await);
            page.click("details.raw summary").await;
            page.wait_for_text("\"internal_signature\": \"\"").await;
        }
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_javascript_the_search_and_the_links_work() {
    let env = TestEnvironment::new(shared()).await;
    let service = start_with_sample(&env).await;
    let reader = Reader { javascript: false, ..Reader::default() };
    let page = Page::open(reader, &service.at("/")).await;

    assert!(!page.value::<bool>("document.querySelector('.keys').checkVisibility()").await);

    page.click(".find input").await;
    page.type_text("WBILMTESTTRACK").await;
    page.click_on("Show order").await;
    page.wait_for_text("It is the track number of 1 order").await;
    page.click_on(SAMPLE_UID).await;

    assert_order_shown(&page, SAMPLE_UID).await;

    page.click_on("RU: Русский").await;
    page.wait_for_text("Кому").await;
    page.click(".brand").await;
    page.wait_for_text("Найти заказ").await;
    page.click(".find input").await;
    page.type_text(SAMPLE_UID).await;
    page.press_key("Enter").await;

    assert_order_shown(&page, SAMPLE_UID).await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_language_follows_the_browser_and_can_be_switched() {
    let env = TestEnvironment::new(shared()).await;
    let service = start_with_sample(&env).await;
    let page = Page::open(russian(), &service.at("/")).await;

    page.wait_for_text("Найти заказ").await;
    // The choice is kept on all pages, but not in the address.
    page.click_on(SAMPLE_UID).await;
    assert_order_shown(&page, SAMPLE_UID).await;

    page.click_on("EN: English").await;
    page.wait_for("English", "document.documentElement.lang === 'en'").await;
    page.wait_for("the address without the language", "!location.search").await;
    assert_order_shown(&page, SAMPLE_UID).await;

    page.wait_for_text("Newest orders").await;
    page.click_on("API").await;
    page.wait_for_text("API of the order service").await;
    page.go(&service.at("/")).await;
    page.wait_for_text("Find an order").await;
    service.stop().await.unwrap();
}
