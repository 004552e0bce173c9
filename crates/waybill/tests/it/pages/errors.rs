//! What is said when there is no order to show.

use testkit::{
    OwnServers, TestEnvironment,
    browser::{Page, Reader},
    shared,
};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_in_words() {
    let env = TestEnvironment::new(shared()).await;
    let service = with_sample(&env).await;
    let long = format!("/order/{}", "x".repeat(101));
    let told = [
        ("/order/nobody", ["No such order here now", "Такого заказа сейчас нет"]),
        ("/order/WBILMTESTTRACK", ["the track number of 1 order", "трек-номер 1 заказа"]),
        (
            long.as_str(),
            ["at most 100 bytes; this text has 101", "не длиннее 100 байт, а здесь 101"],
        ),
        ("/order/a%0Ab", ["no control characters", "не бывает управляющих символов"]),
        ("/nowhere", ["There is no such page", "Такой страницы нет"]),
        ("/rejected/orders:0:999", ["No such rejected record", "Такой отклонённой записи нет"]),
    ];
    for (reader, language) in [(Reader::default(), 0), (russian(), 1)] {
        let page = Page::open(reader, &service.at("/")).await;
        for (path, words) in told {
            page.go(&service.at(path)).await;
            page.shows(words[language]).await;
        }
        assert_eq!(page.complaints(), [""; 0]);
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_on_its_way_can_be_waited_for() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let page = Page::open(Reader::default(), &service.at("/order/later")).await;
    page.click_on("Wait for it, up to 30 s").await;
    page.shows("Waiting…").await;
    env.send(None, None, Some(order("later", 1).to_string().as_bytes())).await;
    arrives(&page, "later").await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_database_is_told_and_cached_orders_are_shown() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let service = with_sample(&env).await;
    own.local.postgres.as_mut().unwrap().kill().await.unwrap();
    let english = Page::open(Reader::default(), &service.at(&format!("/order/{UID}"))).await;
    arrives(&english, UID).await;
    english.shows("from memory").await;
    let cached = Page::open(Reader::default(), &service.at(&format!("/order/{UID}"))).await;
    assert!(cached.value::<bool>("document.querySelector('#status').hidden").await);
    let russian = Page::open(russian(), &service.at("/order/nobody")).await;
    russian.shows("Сейчас этот заказ не показать").await;
    russian.go(&service.at("/rejected")).await;
    russian.shows("База данных не отвечает").await;
    english.go(&service.at("/rejected")).await;
    english.shows("The database does not answer").await;
    english.go(&service.at("/order/nobody")).await;
    english.shows("This order cannot be shown just now").await;

    own.local.postgres.as_mut().unwrap().restart().await.unwrap();
    testkit::wait_until("the database to answer", async || {
        service.get("/order/nobody").await.status() == 404
    })
    .await;
    cached.until("its status", "document.querySelector('#status').textContent === 'created'").await;
    english.click_on("Try again").await;
    english.shows("No such order here now").await;
    assert_eq!(english.complaints(), [""; 0]);
    service.stop().await.unwrap();
    own.stop().await;
}
