//! Accessibility of every page: contrast, size of targets, names, width, keyboard.

use testkit::{
    TestEnvironment,
    browser::{Page, Reader},
    shared, wait_until,
};

use super::*;

/// Starts the order service with data for every kind of page, and returns the paths of the pages.
async fn start_with_all_pages(env: &TestEnvironment) -> (Service, Vec<String>) {
    let service = start_with_sample(env).await;
    let mut long = order("a-rather-long-order-id-that-goes-on-0123456789-0123456789-0123456789", 1);
    let item = long["items"][0].clone();
    long["items"] = Value::Array(vec![item; 3]);
    long["delivery"]["address"] = json!("Wide".repeat(60));
    send_and_wait(env, &service, &long).await;
    let mut bad = order("bad", -1);
    bad["delivery"]["email"] = json!("nowhere");
    env.send(Some(0), None, Some(bad.to_string().as_bytes())).await;
    env.send(Some(1), None, Some(&[0xff; 300])).await;
    wait_until("the rejections", async || env.count("orders.rejected_records").await == 2).await;
    let rejected = service.json("/rejected").await;
    let mut paths: Vec<String> =
        ["/", "/rejected", "/docs", "/flow", "/nowhere", "/order/WBILMTESTTRACK"]
            .map(str::to_owned)
            .into();
    paths.push(format!("/order/{}", long["order_uid"].as_str().unwrap()));
    for item in rejected["items"].as_array().unwrap() {
        paths.push(format!("/rejected/{}", item["id"].as_str().unwrap()));
    }
    (service, paths)
}

/// Opens all folded parts, so that they are checked too.
async fn unfold(page: &Page) {
    let _: usize = page
        .run(
            "() => [...document.querySelectorAll('details')].map((one) => one.open = true).length",
            json!([]),
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_accessible_in_all_themes_and_languages() {
    let env = TestEnvironment::new(shared()).await;
    let (service, paths) = start_with_all_pages(&env).await;
    let mut faults = Vec::new();

    for (lang, dark, window) in
        [("en", false, WIDE), ("ru", true, NARROW), ("ru", false, NARROW), ("en", true, WIDE)]
    {
        let reader = Reader { lang, dark, window, ..Reader::default() };
        let page = Page::open(reader, &service.at("/")).await;
        for path in &paths {
            page.go(&service.at(path)).await;
            page.wait_for("the feed", "!document.querySelector('#rates').hidden").await;
            if path == "/docs" {
                page.wait_for("the calls", "document.querySelector('.call')").await;
            }
            unfold(&page).await;
            for fault in page.accessibility_faults().await {
                faults.push(format!("{lang}, dark {dark}, {window:?}, {path}: {fault}"));
            }
            if window == WIDE {
                page.zoom(2).await;
                let across = "document.documentElement.scrollWidth - innerWidth";
                let across: i32 = page.value(across).await;
                if across > 0 {
                    faults.push(format!("{lang}, {path} at 200 %: {across} px lie outside"));
                }
                page.zoom(1).await;
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_javascript_every_page_is_accessible() {
    let env = TestEnvironment::new(shared()).await;
    let (service, paths) = start_with_all_pages(&env).await;
    let reader = Reader { javascript: false, window: NARROW, ..Reader::default() };
    let page = Page::open(reader, &service.at("/")).await;

    for path in &paths {
        page.go(&service.at(path)).await;
        unfold(&page).await;
        page.assert_accessible().await;
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_themes_differ_but_the_bar_code_does_not() {
    const COLOURS: &str = "() => ['body', '.waybill', '.bars', '.bars path'].map((selector) => {
        const { backgroundColor, color, fill } = getComputedStyle(document.querySelector(selector));
        return [backgroundColor, color, fill].join(' ');
    })";
    let env = TestEnvironment::new(shared()).await;
    let service = start_with_sample(&env).await;
    let mut colours = Vec::new();

    for dark in [false, true] {
        let reader = Reader { dark, ..Reader::default() };
        let page = Page::open(reader, &service.at(&format!("/order/{SAMPLE_UID}"))).await;
        colours.push(page.run::<Vec<String>>(COLOURS, json!([])).await);
    }
    let [light, dark] = &colours[..] else { unreachable!("there are two themes") };
    assert_ne!(light[0], dark[0]);
    assert_ne!(light[1], dark[1]);
    assert!(dark[2].contains("rgb(255, 255, 255)"), "the bars' paper is white: {}", dark[2]);
    assert!(dark[3].contains("rgb(17, 17, 17)"), "the bars are dark: {}", dark[3]);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_page_lists_every_call_and_opens_each() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let page = Page::open(Reader::default(), &service.at("/docs")).await;

    page.wait_for("the calls", "document.querySelector('.call')").await;
    let api: Value = service.json("/openapi.json").await;
    for path in api["paths"].as_object().unwrap().keys() {
        page.wait_for_text(path).await;
    }
    page.click("#api details summary").await;
    page.wait_for_text("curl -sS").await;
    page.click_on("Copy").await;
    page.wait_for_text("Copied").await;
    let reader = Reader { javascript: false, ..Reader::default() };
    let plain = Page::open(reader, &service.at("/docs")).await;
    plain.wait_for_text("/rejected/{id}/replay").await;

    assert_eq!(page.errors(), [""; 0]);
    service.stop().await.unwrap();
}
