//! The history of a delivery, the lists of deliveries and couriers, and couriers added together.

use serde_json::{Value, json};
use testkit::{Service, TestEnvironment, shared, wait_until};

use crate::support::{
    Scratch, add_courier, assign, call, metric, send_status, set_courier_status, wait_for_delivery,
    waybill_in,
};

#[tokio::test]
async fn histories_and_lists_have_every_delivery_in_pages() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let service = env.start_couriers(&database, &["--dispatch-sweep", "50ms"]).await;
    let (status, problem) = call(&service, "GET", "/delivery/unknown/history", "").await;
    assert_eq!((status, &problem["type"]), (404, &json!("/docs#no-such-order")));
    let anna = add_courier(&service, "Anna", "car", "available").await;
    for number in 0..3 {
        let order_id = format!("done-{number}");
        assert_eq!(assign(&service, &order_id).await.0, 200);
        send_status(&env, &order_id, "completed").await;
        wait_for_delivery(&service, &order_id, "completed").await;
    }
    assert_eq!(assign(&service, "carried").await.0, 200);
    let boris = add_courier(&service, "Boris", "on_foot", "available").await;
    assert_eq!(assign(&service, "second").await.0, 200);

    let history = service.json("/delivery/done-0/history?limit=1").await;
    assert_eq!(history["items"][0]["status"], "assigned");
    assert_eq!(history["items"][0]["cause"], "manual");
    assert!(history["created_at"].is_string());
    let next = history["next"].as_str().unwrap();
    let history = service.json(&format!("/delivery/done-0/history?after={next}")).await;
    assert_eq!(history["items"][0]["status"], "completed");
    let record = history["items"][0]["record"].as_str().unwrap();
    assert!(record.starts_with(&format!("{}:", env.status_topic())), "{record}");
    assert_eq!((&history["next"], history["items"].as_array().unwrap().len()), (&Value::Null, 1));

    let of_anna = format!("/courier/{anna}/deliveries?state=completed&limit=2");
    let answer = service.get(&of_anna).await;
    let link = answer.headers()["link"].to_str().unwrap().to_owned();
    let page: Value = answer.json().await.unwrap();
    let ids = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|item| item["order_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&page), ["done-2", "done-1"]);
    let next = link.split_once('<').unwrap().1.split_once('>').unwrap().0;
    assert_eq!(ids(&service.json(next).await), ["done-0"], "{next}");
    let from = page["items"][1]["completed_at"].as_str().unwrap();
    let from = service.json(&format!("/deliveries?state=completed&from={from}")).await;
    assert_eq!(ids(&from), ["done-2", "done-1"]);

    // Anna's deadline is earlier: a car has less time.
    let first = service.json("/deliveries?limit=1").await;
    assert_eq!(ids(&first), ["carried"]);
    let next = format!("/deliveries?after={}", first["next"].as_str().unwrap());
    assert_eq!(ids(&service.json(&next).await), ["second"]);
    let of_boris = service.json(&format!("/deliveries?courier_id={boris}")).await;
    assert_eq!(
        (ids(&of_boris), &of_boris["items"][0]["state"]),
        (vec!["second".to_owned()], &json!("assigned"))
    );
    let late = "UPDATE couriers.courier_orders SET assigned_at = now() - interval '1 h', \
                deadline = now() - interval '59 min' WHERE order_id = 'second'";
    sqlx::raw_sql(late).execute(&database.pool).await.unwrap();
    wait_until("the delivery to be released", async || {
        ids(&service.json("/deliveries?state=released").await) == ["second"]
    })
    .await;
    assert_eq!(ids(&service.json("/deliveries").await), ["carried"]);
    assert_eq!(
        ids(&service.json(&format!("/courier/{boris}/deliveries?state=released")).await),
        ["second"]
    );
    let history = service.json("/delivery/second/history").await;
    let statuses: Vec<_> =
        history["items"].as_array().unwrap().iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, ["assigned", "overdue", "released"]);

    wait_until("the states to be counted", async || {
        metric(&service, "waybill_orders_released").await == 1.0
    })
    .await;
    assert_eq!(metric(&service, "waybill_deliveries_active").await, 1.0);

    for path in [
        "/deliveries?state=lost",
        "/deliveries?from=today",
        "/deliveries?after=x",
        "/delivery/a/history?after=0",
    ] {
        assert_eq!(call(&service, "GET", path, "").await.0, 400, "{path}");
    }
    assert_eq!(call(&service, "GET", "/courier/999/deliveries", "").await.0, 404);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn couriers_are_added_together_and_found_by_status_and_text() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start_couriers(&env.courier_database().await, &[]).await;
    let courier = |name: &str, phone: &str| json!({ "name": name, "phone": phone, "transport_type": "car", "status": "paused" });
    let (anna, boris) = (courier("Anna_1", "+70000000001"), courier("Boris", "+70000000002"));
    let body = json!([anna, boris]).to_string();
    assert_eq!(call(&service, "POST", "/couriers", &body).await, (201, json!({ "ids": [1, 2] })));

    let body = json!([courier("Vera", "+70000000003"), courier("B", "+70000000002")]).to_string();
    let (status, problem) = call(&service, "POST", "/couriers", &body).await;
    assert_eq!((status, problem["type"].as_str().unwrap()), (409, "/docs#phone-taken"));
    assert_eq!(problem["errors"][0]["pointer"], "/1/phone");
    let (status, problem) = call(&service, "POST", "/couriers", "[7]").await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("/0")));

    let found = async |query: &str| -> Vec<i64> {
        let page = service.json(&format!("/couriers?{query}")).await;
        page["items"].as_array().unwrap().iter().map(|one| one["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(found("").await, [1, 2], "no courier of a refused list is added");
    assert_eq!((found("q=anna_").await, found("q=a_n").await), (vec![1], vec![]));
    assert_eq!(found("q=0002&status=paused").await, [2]);
    assert_eq!(set_courier_status(&service, 1, "retired").await, "retired");
    assert_eq!((found("").await, found("status=retired").await), (vec![2], vec![1]));
    let (status, problem) = assign_to(&service, "order", 1).await;
    assert_eq!((status, problem["type"].as_str().unwrap()), (409, "/docs#courier-not-available"));
    assert_eq!(assign_to(&service, "order", 99).await.0, 404);
    assert_eq!(set_courier_status(&service, 2, "available").await, "available");
    assert_eq!(assign_to(&service, "order", 2).await.0, 200);
    let body = json!({ "id": 2, "status": "retired" }).to_string();
    let (status, problem) = call(&service, "PUT", "/courier", &body).await;
    assert_eq!((status, problem["type"].as_str().unwrap()), (409, "/docs#courier-carries"));
    assert_eq!(call(&service, "GET", "/couriers?status=lost", "").await.0, 400);
    service.stop().await.unwrap();
}

async fn assign_to(service: &Service, order_id: &str, courier_id: i64) -> (u16, Value) {
    let body = json!({ "order_id": order_id, "courier_id": courier_id }).to_string();
    call(service, "POST", "/delivery/assign", &body).await
}

#[tokio::test]
async fn a_file_of_couriers_is_imported_whole_or_not_at_all() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start_couriers(&env.courier_database().await, &[]).await;
    let folder = Scratch::new();
    let import = async |name: &str, text: &str| {
        std::fs::write(folder.0.join(name), text).unwrap();
        let flags = ["couriers", "import", name, "--couriers-url", &service.url];
        // The settings of the service are not read.
        let output = waybill_in(&folder, &flags, &[("LANES", "many")], b"").await;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), error)
    };
    let text = "name,phone,transport_type\n\n\"Ivanova, Anna\",+70000000001,car\nBoris,+70000000002,scooter\n";
    assert_eq!(import("couriers.csv", text).await, (Some(0), "1\n2\n".to_owned(), String::new()));
    assert_eq!(service.json("/courier/1").await["name"], "Ivanova, Anna");

    let text = "name,phone,transport_type\nVera,+70000000003,car\nB,1,bus\nA,+70000000001,car\n";
    let (code, _, error) = import("wrong.csv", text).await;
    assert_eq!(code, Some(1), "{error}");
    for line in ["line 3: phone must be", "line 3: transport_type must be"] {
        assert!(error.contains(line), "{error}");
    }
    let taken = "{\"name\":\"V\",\"phone\":\"+70000000003\",\"transport_type\":\"car\"}\n\
                 {\"name\":\"A\",\"phone\":\"+70000000001\",\"transport_type\":\"car\"}\n";
    let (code, _, error) = import("taken.jsonl", taken).await;
    assert!(code == Some(1) && error.contains("line 2: phone another courier"), "{error}");
    let (code, _, error) = import("broken.jsonl", "{}\n[]\nx\n").await;
    let is_named =
        error.contains("line 2: must be a JSON object") && error.contains("line 3: must be JSON");
    assert!(code == Some(1) && is_named, "{error}");
    assert_eq!(service.json("/couriers").await["items"].as_array().unwrap().len(), 2);
    service.stop().await.unwrap();
}
