//! Pages without an order: not found, invalid ids, an order on its way, PostgreSQL down.

use testkit::{
    OwnServers, TestEnvironment,
    browser::{Page, Reader},
    shared,
};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_invalid_things_have_their_own_messages() {
    let env = TestEnvironment::new(shared()).await;
    let service = start_with_sample(&env).await;
    let long = format!("/order/{}", "x".repeat(101));
    let messages = [
        ("/order/nobody", ["Order not found", "Заказ не найден"]),
        ("/order/WBILMTESTTRACK", ["the track number of 1 order", "трек-номер 1 заказа"]),
        (
            long.as_str(),
            ["at most 100 bytes; this text has 101", "не длиннее 100 байт, а в этом тексте их 101"],
        ),
        (
            "/order/a%0Ab",
            ["must not contain control characters", "не должно быть управляющих символов"],
        ),
        ("/nowhere", ["Page not found", "Страница не найдена"]),
        ("/rejected/orders:0:999", ["Rejected record not found", "Отклонённая запись не найдена"]),
    ];

    for (reader, language) in [(Reader::default(), 0), (russian(), 1)] {
        let page = Page::open(reader, &service.at("/")).await;
        for (path, words) in messages {
            page.go(&service.at(path)).await;
            page.wait_for_text(words[language]).await;
        }
        assert_eq!(page.errors(), [""; 0]);
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_on_its_way_can_be_waited_for() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let page = Page::open(Reader::default(), &service.at("/order/later")).await;

    page.click_on("Wait up to 30 s").await;
    page.wait_for_text("Waiting…").await;
    env.send(None, None, Some(order("later", 1).to_string().as_bytes())).await;

    assert_order_shown(&page, "later").await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgresql_a_cached_order_is_still_shown() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let service = start_with_sample(&env).await;

    own.local.postgres.as_mut().unwrap().kill().await.unwrap();
    let english = Page::open(Reader::default(), &service.at(&format!("/order/{SAMPLE_UID}"))).await;
    assert_order_shown(&english, SAMPLE_UID).await;

    english.wait_for_text("from memory").await;
    let cached = Page::open(Reader::default(), &service.at(&format!("/order/{SAMPLE_UID}"))).await;
    assert!(cached.value::<bool>("document.querySelector('#status').hidden").await);

    let russian = Page::open(russian(), &service.at("/order/nobody")).await;
    russian.wait_for_text("Не удалось показать заказ").await;
    russian.go(&service.at("/rejected")).await;
    russian.wait_for_text("База данных не отвечает").await;
    english.go(&service.at("/rejected")).await;
    english.wait_for_text("The database does not answer").await;
    english.go(&service.at("/order/nobody")).await;
    english.wait_for_text("The order cannot be shown now").await;

    own.local.postgres.as_mut().unwrap().restart().await.unwrap();
    testkit::wait_until("the database to answer", async || {
        service.get("/order/nobody").await.status() == 404
    })
    .await;
    cached
        .wait_for("its status", "document.querySelector('#status').textContent === 'created'")
        .await;
    english.click_on("Try again").await;
    english.wait_for_text("Order not found").await;

    assert_eq!(english.errors(), [""; 0]);
    service.stop().await.unwrap();
    own.stop().await;
}
