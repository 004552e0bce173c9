//! The page in a real browser: headless Chromium loads it and gives the document it has made.

use std::process::Stdio;

use serde_json::{Value, json};
use testkit::{Bed, Service, order_json::SAMPLE, shared};
use tokio::process::Command;

/// The document after a few seconds of scripts, the live feed included.
async fn load(url: &str, more: &[&str]) -> String {
    let profile =
        std::env::temp_dir().join(format!("waybill-browser-{:08x}", rand::random::<u32>()));
    let program = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| {
            let look =
                std::process::Command::new(name).arg("--version").stdout(Stdio::null()).status();
            look.is_ok_and(|status| status.success())
        })
        .expect("Chromium is installed; scripts/setup --tests installs it");
    let output = Command::new(program)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(["--virtual-time-budget=4000", "--dump-dom"])
        .args(more)
        .arg(url)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(90), output).await;
    let _ = std::fs::remove_dir_all(&profile);
    String::from_utf8(output.expect("Chromium ends in time").unwrap().stdout).unwrap()
}

async fn with_sample(bed: &Bed) -> Service {
    let service = bed.start(&[]).await;
    bed.send(None, None, Some(SAMPLE.as_bytes())).await;
    let answer = service.get("/order/b563feb7b2b84b6test?wait=30s").await;
    assert_eq!(answer.status(), 200);
    service
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_shown_with_and_without_javascript_in_both_languages() {
    let bed = Bed::new(shared()).await;
    let service = with_sample(&bed).await;
    let url = service.at("/order/b563feb7b2b84b6test");
    // Chromium gives its document only with scripts on; without them it shows what it was sent.
    let sent = service.http.get(&url).header("accept", "text/html").send().await.unwrap();
    for (page, words) in [
        (load(&url, &[]).await, ["Newest orders", "from memory", "1,817"]),
        (sent.text().await.unwrap(), ["Newest orders", "from memory", "1,817"]),
        (
            load(&format!("{url}?lang=ru"), &[]).await,
            ["Последние заказы", "из памяти", "1&nbsp;817"],
        ),
    ] {
        for word in words.into_iter().chain([
            "Test Testov",
            "Ploshad Mira 15",
            "Mascaras",
            "WBILMTESTTRACK",
        ]) {
            assert!(page.contains(word), "{word} is missing in {page}");
        }
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_every_field_is_a_script_runs_none() {
    let bed = Bed::new(shared()).await;
    let service = bed.start(&[]).await;
    let script =
        "<script>document.title='stolen'</script><img src=x onerror=\"document.title='stolen'\">";
    let mut order: Value = serde_json::from_str(SAMPLE).unwrap();
    let texts = [
        "/track_number",
        "/entry",
        "/locale",
        "/internal_signature",
        "/customer_id",
        "/delivery_service",
        "/shardkey",
        "/oof_shard",
        "/delivery/name",
        "/delivery/zip",
        "/delivery/city",
        "/delivery/address",
        "/delivery/region",
        "/payment/transaction",
        "/payment/request_id",
        "/payment/provider",
        "/payment/bank",
        "/items/0/track_number",
        "/items/0/rid",
        "/items/0/name",
        "/items/0/size",
        "/items/0/brand",
    ];
    for pointer in texts {
        *order.pointer_mut(pointer).unwrap() = json!(script);
    }
    order["order_uid"] = json!("<script>alert(1)</script>");
    bed.send(None, None, Some(order.to_string().as_bytes())).await;
    let path = "/order/%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    assert_eq!(service.json(&format!("{path}?wait=30s")).await, order);
    let page = load(&service.at(path), &[]).await;
    let title = page.split("<title>").nth(1).unwrap().split("</title>").next().unwrap();
    assert!(!title.contains("stolen"), "{title}");
    assert!(page.contains("&lt;script&gt;"), "the fields are shown as text");
    assert!(!page.contains("<script>"), "no field is markup");
    assert!(!page.contains("<img src=\"x\""), "no field is markup");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_in_words() {
    let bed = Bed::new(shared()).await;
    let service = with_sample(&bed).await;
    let missing = load(&service.at("/order/no-such-order"), &[]).await;
    assert!(missing.contains("no-such-order"));
    let by_track = load(&service.at("/order/WBILMTESTTRACK"), &[]).await;
    assert!(
        by_track.contains("href=\"/order/b563feb7b2b84b6test\""),
        "a track number leads to its order"
    );
    let malformed = load(&service.at(&format!("/order/{}", "x".repeat(101))), &["--lang=en"]).await;
    assert!(malformed.contains("100"), "{malformed}");
    bed.send(Some(0), None, Some(b"{")).await;
    testkit::wait_until("the rejection", async || bed.count("orders.rejected_records").await == 1)
        .await;
    let rejected = load(&service.at("/rejected?lang=ru"), &[]).await;
    assert!(rejected.contains("invalid_json") && rejected.contains("Отклонённые"), "{rejected}");
    let docs = load(&service.at("/docs"), &[]).await;
    assert!(docs.contains("/rejected/{id}/replay"), "the API page lists every call");
    service.stop().await.unwrap();
}
