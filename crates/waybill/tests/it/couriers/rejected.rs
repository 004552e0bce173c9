//! Rejected status records: the same calls as in the order service, with the rules of an event.

use serde_json::{Value, json};
use testkit::{TestEnvironment, shared};

use crate::support::post;

#[tokio::test(flavor = "multi_thread")]
async fn status_records_are_checked_replayed_and_settled() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let service = env.start_couriers(&database, &[]).await;
    env.send_status(Some("a"), br#"{"order_id":"a","status":7}"#).await;
    env.send_status(Some("b"), br#"{"order_id":"b"}"#).await;
    env.wait_until_couriers_drained().await;
    let list = service.json("/rejected?reason=wrong_type&field=/status&key=a").await;
    let [record] = list["items"].as_array().unwrap().as_slice() else { panic!("{list}") };
    let path = format!("/rejected/{}", record["id"].as_str().unwrap());

    let check: Value = post(&service, &format!("{path}/check"), "").await.json().await.unwrap();
    let place = &check["violations"][0];
    assert_eq!((&place["line"], &place["column"]), (&json!(1), &json!(17)));
    let edited = r#"{"order_id":"a","status":"created"}"#;
    let check: Value = post(&service, &format!("{path}/check"), edited).await.json().await.unwrap();
    assert_eq!(check, json!({ "valid": true, "violations": [] }));

    let replay = format!("{path}/replay?wait=30s");
    assert_eq!(post(&service, &replay, edited).await.status(), 202);
    let shown = service.json(&path).await;
    assert_eq!(
        (&shown["replays"][0]["outcome"], &shown["settled"]["replayed"]),
        (&json!("accepted"), &json!(true))
    );
    assert_eq!(service.json("/delivery/a").await["order_id"], "a");

    let many: Value = post(&service, "/rejected/replay", "").await.json().await.unwrap();
    let [result] = many["results"].as_array().unwrap().as_slice() else { panic!("{many}") };
    assert_eq!((&result["result"], &many["next"]), (&json!("rejected"), &Value::Null));

    let again = format!("/rejected/{}", result["rejected_as"].as_str().unwrap());
    let note = r#"{"note":"no such order"}"#;
    assert_eq!(post(&service, &format!("{again}/settle"), note).await.status(), 200);
    assert_eq!(service.json("/rejected/count").await, json!({ "count": 0, "exact": true }));
    assert_eq!(service.json("/rejected/count?settled=true").await["count"], 3);
    assert_eq!(post(&service, &format!("{again}/reopen"), "").await.status(), 200);
    assert_eq!(service.json("/rejected/count").await["count"], 1);
    service.stop().await.unwrap();
}
