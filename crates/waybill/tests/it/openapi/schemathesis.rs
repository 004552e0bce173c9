//! Schemathesis generates requests from `/openapi.json` and checks the answers: no 5xx, every answer
//! is documented, what the document allows is accepted, and what it forbids is refused.
//!
//! `scripts/setup --tests` installs it.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use testkit::{Service, TestEnvironment, order_json::SAMPLE, shared, wait_until};
use tokio::process::Command;

use crate::support::{Scratch, add_courier, send_status, wait_for_delivery};

const LIST: &str = include_str!("../../../../testkit/schemathesis/requirements.txt");
const HOOKS: &str = include_str!("../../../../testkit/schemathesis/hooks.py");
/// Bounds the run of a service to less than half a minute.
const MAX_EXAMPLES: &str = "15";

/// Returns the program in the folder of `scripts/setup`.
fn program() -> PathBuf {
    let version = LIST.lines().find_map(|line| line.strip_prefix("schemathesis==")).unwrap();
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".local/share"));
    let data = env::var_os("XDG_DATA_HOME").map(PathBuf::from).or_else(home).unwrap();
    data.join(format!("waybill/schemathesis-{version}/bin/schemathesis"))
}

/// Replaces the example of a parameter, from which Schemathesis also makes requests.
fn set_example(document: &mut Value, parameter: &str, example: &str) {
    let parameter = &mut document["components"]["parameters"][parameter];
    assert!(parameter["example"].is_string(), "{parameter}");
    parameter["example"] = json!(example);
}

/// Sends requests by a document to a service, and asserts that every answer conforms to it.
async fn assert_conforms(service: &Service, document: &Value) {
    let folder = Scratch::with_plain_name();
    let file = |name: &str, text: &str| {
        let path = folder.0.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let document = file("openapi.json", &document.to_string());
    let hooks = file("hooks.py", HOOKS);

    let output = Command::new(program())
        .arg("run")
        .arg(&document)
        .args(["--url", &service.url, "--checks", "all", "--no-color"])
        .args(["--phases", "examples,coverage,fuzzing", "--continue-on-failure"])
        .args(["--generation-deterministic", "--max-examples", MAX_EXAMPLES])
        // The machine may be busy.
        .args(["--suppress-health-check", "too_slow"])
        // A stream that does not end.
        .args(["--exclude-path", "/live"])
        .current_dir(&folder.0)
        .env_clear()
        .env("HOME", &folder.0)
        .env("PATH", env::var_os("PATH").unwrap())
        .env("PYTHONUTF8", "1")
        .env("SCHEMATHESIS_HOOKS", Path::new(&hooks))
        .kill_on_drop(true)
        .output()
        .await
        .expect("`scripts/setup --tests` installs Schemathesis");

    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let passed = text.lines().find_map(|line| line.trim().split_once(" generated, ")).unwrap().0;
    assert!(passed.parse::<u32>().unwrap() > 500, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_service_conforms_to_its_document() {
    let env = TestEnvironment::new(shared()).await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    env.send(Some(0), Some(b"\xff"), Some(b"no order")).await;
    let service = env.start(&[]).await;
    env.wait_until_drained().await;
    env.wait_until_status_drained().await;
    let mut document = service.json("/openapi.json").await;
    set_example(&mut document, "rejection_id", &format!("{}:0:0", env.orders_topic()));
    set_example(&mut document, "wait", "20ms");

    assert_conforms(&service, &document).await;

    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_courier_service_conforms_to_its_document() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start_couriers(&env.courier_database().await, &[]).await;
    for number in 0..10 {
        add_courier(&service, &format!("Courier {number}"), "car", "available").await;
    }
    send_status(&env, "b563feb7b2b84b6test", "created").await;
    wait_for_delivery(&service, "b563feb7b2b84b6test", "assigned").await;
    let (partition, offset) = env.send_status(None, b"no event").await;
    wait_until("the rejected record", async || {
        service.json("/rejected").await["items"].as_array().unwrap().len() == 1
    })
    .await;
    let mut document = service.json("/openapi.json").await;
    let rejected = format!("{}:{partition}:{offset}", env.status_topic());
    set_example(&mut document, "rejection_id", &rejected);

    assert_conforms(&service, &document).await;

    service.stop().await.unwrap();
}
