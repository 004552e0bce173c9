//! Finding an order and reading it.

use testkit::{
    TestEnvironment,
    browser::{Page, Reader},
    shared,
};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn slash_typing_and_enter_show_an_order_and_escape_clears() {
    let env = TestEnvironment::new(shared()).await;
    let service = with_sample(&env).await;
    send(&env, &service, &order("another", 2)).await;
    let page = Page::open(Reader::default(), &service.at("/")).await;
    const IN_SEARCH: &str = "document.activeElement.matches('.find input')";
    const SEARCHED: &str = "document.querySelector('.find input').value";
    page.until("the search to have the focus", IN_SEARCH).await;
    page.type_text(&format!("  {UID}")).await;
    page.key("Enter").await;
    arrives(&page, UID).await;

    page.type_text("/").await;
    page.until("the search to have the focus", IN_SEARCH).await;
    page.type_text("another").await;
    assert_eq!(page.value::<String>(SEARCHED).await, "another", "the old id was replaced");
    page.key("Enter").await;
    arrives(&page, "another").await;
    page.key("Escape").await;
    page.until("the search to be empty", &format!("{SEARCHED} === '' && {IN_SEARCH}")).await;
    page.type_text("no").await;
    page.key("Escape").await;
    assert_eq!(page.value::<String>(SEARCHED).await, "");

    page.back().await;
    arrives(&page, UID).await;
    assert_eq!(page.complaints(), [""; 0]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newest_order_opens_by_a_click_without_loading_all_anew() {
    let env = TestEnvironment::new(shared()).await;
    let service = with_sample(&env).await;
    let page = Page::open(Reader::default(), &service.at("/")).await;
    let _: u8 = page.value("window.remembered = 1").await;
    page.click_on(UID).await;
    arrives(&page, UID).await;
    assert_eq!(page.value::<u8>("window.remembered").await, 1, "the document is the same");
    assert!(page.value::<bool>("document.activeElement.matches('h1')").await);
    assert_eq!(page.value::<String>("document.title").await, format!("{UID} · Waybill"));
    page.shows("here in").await;
    page.back().await;
    page.shows("Find an order").await;

    // The second look tells what the first took.
    page.click_on(UID).await;
    page.shows("first look: from memory").await;
    page.click_on("Copy link").await;
    page.shows("Copied").await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_parts_of_an_order_are_shown_with_and_without_javascript_in_both_languages() {
    const ENGLISH: [&str; 6] =
        ["Newest orders", "from memory", "1,817", "1 item", "Life of this order", "To"];
    const RUSSIAN: [&str; 6] =
        ["Последние заказы", "из памяти", "1 817", "1 товар", "Путь заказа", "Кому"];
    let env = TestEnvironment::new(shared()).await;
    let service = with_sample(&env).await;
    for (lang, words) in [("en-GB", ENGLISH), ("ru-RU", RUSSIAN)] {
        for javascript in [true, false] {
            let reader = Reader { lang, javascript, ..Reader::default() };
            let page = Page::open(reader, &service.at(&format!("/order/{UID}"))).await;
            for word in words.into_iter().chain([
                UID,
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
                page.shows(word).await;
            }
            let heard = page.heard().await;
            assert!(
                heard.iter().any(|(role, name)| role == "image" && name.contains("WBILMTESTTRACK")),
                "the bar code is told: {heard:?}"
            );
            assert!(!page.value::<bool>("document.querySelector('details.raw').open").await);
            page.click("details.raw summary").await;
            page.shows("\"internal_signature\": \"\"").await;
        }
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_javascript_the_search_and_the_links_work() {
    let env = TestEnvironment::new(shared()).await;
    let service = with_sample(&env).await;
    let reader = Reader { javascript: false, ..Reader::default() };
    let page = Page::open(reader, &service.at("/")).await;
    assert!(!page.value::<bool>("document.querySelector('.keys').checkVisibility()").await);
    page.click(".find input").await;
    page.type_text("WBILMTESTTRACK").await;
    page.click_on("Show order").await;
    page.shows("It is the track number of 1 order").await;
    page.click_on(UID).await;
    arrives(&page, UID).await;
    page.click_on("Русский").await;
    page.shows("Кому").await;
    page.click(".brand").await;
    page.shows("Найти заказ").await;
    page.click(".find input").await;
    page.type_text(UID).await;
    page.key("Enter").await;
    arrives(&page, UID).await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_language_is_the_readers_and_can_be_switched() {
    let env = TestEnvironment::new(shared()).await;
    let service = with_sample(&env).await;
    let page = Page::open(russian(), &service.at("/")).await;
    page.shows("Найти заказ").await;
    // The choice is kept from page to page, and not in the address.
    page.click_on(UID).await;
    arrives(&page, UID).await;
    page.click_on("English").await;
    page.until("English", "document.documentElement.lang === 'en'").await;
    arrives(&page, UID).await;
    page.shows("Newest orders").await;
    page.click_on("API").await;
    page.shows("API of the order service").await;
    page.go(&service.at("/")).await;
    page.shows("Find an order").await;
    service.stop().await.unwrap();
}
