//! The courier service's calls, each with its answers and its refusals.

use serde_json::{Value, json};
use testkit::{Service, TestEnvironment, shared, wait_until};

/// One call, and its status and answer.
pub async fn call(service: &Service, method: &str, path: &str, body: &str) -> (u16, Value) {
    let method = method.parse().unwrap();
    let request = service.http.request(method, service.at(path)).body(body.to_owned());
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}

/// Adds a courier and gives his id.
pub async fn add(service: &Service, name: &str, transport_type: &str, status: &str) -> i64 {
    let phone = format!("+7{:010}", rand::random::<u32>());
    let body = json!({
        "name": name, "phone": phone, "transport_type": transport_type, "status": status,
    });
    let (status, answer) = call(service, "POST", "/courier", &body.to_string()).await;
    assert_eq!(status, 201, "{answer}");
    answer["id"].as_i64().unwrap()
}

/// Assigns an order by hand.
pub async fn assign(service: &Service, order_id: &str) -> (u16, Value) {
    let body = json!({ "order_id": order_id }).to_string();
    call(service, "POST", "/delivery/assign", &body).await
}

/// Takes an order from its courier by hand.
pub async fn unassign(service: &Service, order_id: &str) -> (u16, Value) {
    let body = json!({ "order_id": order_id }).to_string();
    call(service, "POST", "/delivery/unassign", &body).await
}

/// Pauses or resumes a courier and gives his status then.
pub async fn put_status(service: &Service, id: i64, status: &str) -> String {
    let body = json!({ "id": id, "status": status }).to_string();
    let (code, courier) = call(service, "PUT", "/courier", &body).await;
    assert_eq!(code, 200, "{courier}");
    courier["status"].as_str().unwrap().to_owned()
}

/// Sends a status event without a key, as many do.
pub async fn tell(env: &TestEnvironment, order_id: &str, status: &str) {
    let event = json!({
        "order_id": order_id, "status": status, "created_at": "2025-08-06T12:00:00Z",
    });
    env.send_status(None, event.to_string().as_bytes()).await;
}

/// Waits until an order's delivery is in a state, and gives it.
pub async fn delivery(service: &Service, order_id: &str, state: &str) -> Value {
    let path = format!("/delivery/{order_id}");
    wait_until(&format!("{order_id} to be {state}"), async || {
        service.json(&path).await["state"] == state
    })
    .await;
    service.json(&path).await
}

fn kind(problem: &Value) -> &str {
    problem["type"].as_str().unwrap_or("no type")
}

#[tokio::test(flavor = "multi_thread")]
async fn couriers_are_added_listed_shown_and_changed() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start_couriers(&env.courier_database().await, &[]).await;
    let anna =
        r#"{"name":"Anna","phone":"+70000000001","status":"available","transport_type":"scooter"}"#;
    let answer = service.http.post(service.at("/courier")).body(anna).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["location"], "/courier/1");
    assert_eq!(answer.text().await.unwrap(), r#"{"id":1}"#);
    let mut shown = service.json("/courier/1").await;
    assert!(shown["created_at"].take().is_string());
    let expected = json!({
        "id": 1, "name": "Anna", "phone": "+70000000001", "status": "available",
        "transport_type": "scooter", "deliveries": 0, "completed": 0, "on_time": 0,
        "created_at": null,
    });
    assert_eq!(shown, expected);

    for (status, wanted, body) in [
        (409, "/docs#phone-taken", anna),
        (422, "/docs#invalid-body", "no JSON"),
        (422, "/docs#invalid-body", "[]"),
        (422, "/docs#invalid-body", "{}"),
        (422, "/docs#invalid-body", r#"{"name":" ","phone":"8","transport_type":"plane"}"#),
        (
            422,
            "/docs#invalid-body",
            r#"{"name":"B","phone":"+70000000002","transport_type":"car","status":"busy"}"#,
        ),
    ] {
        let (code, problem) = call(&service, "POST", "/courier", body).await;
        assert_eq!((code, kind(&problem)), (status, wanted), "{body}: {problem}");
        assert_eq!(problem["error"], problem["detail"]);
    }
    let (_, problem) =
        call(&service, "POST", "/courier", r#"{"name":" ","phone":"8","transport_type":"plane"}"#)
            .await;
    let pointers: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert_eq!(pointers, ["/name", "/phone", "/transport_type"]);

    let boris = add(&service, "Boris", "car", "paused").await;
    let change = json!({ "id": boris, "name": "Boris the second", "transport_type": "on_foot" });
    let (status, changed) = call(&service, "PUT", "/courier", &change.to_string()).await;
    assert_eq!((status, &changed["name"]), (200, &json!("Boris the second")));
    assert_eq!(
        (&changed["transport_type"], &changed["status"]),
        (&json!("on_foot"), &json!("paused"))
    );
    for (status, wanted, body) in [
        (404, "/docs#no-such-courier", r#"{"id":99,"name":"Nobody"}"#.to_owned()),
        (409, "/docs#phone-taken", json!({ "id": boris, "phone": "+70000000001" }).to_string()),
        (422, "/docs#invalid-body", json!({ "id": boris, "status": "busy" }).to_string()),
        (422, "/docs#invalid-body", json!({ "id": boris }).to_string()),
        (422, "/docs#invalid-body", r#"{"id":0,"name":"Zero"}"#.to_owned()),
    ] {
        let (code, problem) = call(&service, "PUT", "/courier", &body).await;
        assert_eq!((code, kind(&problem)), (status, wanted), "{body}: {problem}");
    }

    let first = service.get("/couriers?limit=1").await;
    assert_eq!(first.headers()["link"], "</couriers?limit=1&after=1>; rel=\"next\"");
    let first: Value = first.json().await.unwrap();
    assert_eq!((&first["items"][0]["id"], &first["next"]), (&json!(1), &json!("1")));
    let second = service.json("/couriers?limit=1&after=1").await;
    assert_eq!((&second["items"][0]["id"], &second["next"]), (&json!(boris), &Value::Null));
    for (path, status) in [
        ("/couriers?limit=0", 400),
        ("/couriers?after=x", 400),
        ("/courier/x", 400),
        ("/courier/99", 404),
        ("/courier/x/statistics", 400),
        ("/courier/99/statistics", 404),
        ("/nothing", 404),
    ] {
        let answer = service.get(path).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
    }
    assert_eq!(call(&service, "DELETE", "/courier", "").await.0, 405);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_in_the_words_of_the_first_task() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start_couriers(&env.courier_database().await, &[]).await;
    let pong = service.get("/ping").await;
    assert_eq!(
        (pong.status().as_u16(), pong.text().await.unwrap()),
        (200, r#"{"message":"pong"}"#.to_owned())
    );
    let health = service.http.head(service.at("/healthcheck")).send().await.unwrap();
    assert_eq!((health.status().as_u16(), health.text().await.unwrap()), (204, String::new()));
    assert_eq!(service.get("/livez").await.status(), 200);
    assert!(service.get("/metrics").await.text().await.unwrap().contains("# EOF"));
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_assigned_by_hand_or_nothing_is_stored() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let service = env.start_couriers(&database, &[]).await;
    let (status, problem) = assign(&service, "unknown").await;
    assert_eq!((status, kind(&problem)), (409, "/docs#no-courier"));
    assert_eq!(service.get("/delivery/unknown").await.status(), 404);

    let anna = add(&service, "Anna", "scooter", "available").await;
    let (status, mut answer) = assign(&service, "unknown").await;
    assert!(answer["delivery_deadline"].take().is_string());
    let expected = json!({
        "courier_id": anna, "order_id": "unknown", "transport_type": "scooter",
        "delivery_deadline": null,
    });
    assert_eq!((status, answer), (200, expected));
    let (status, problem) = assign(&service, "unknown").await;
    assert_eq!((status, kind(&problem)), (409, "/docs#already-assigned"));
    let shown = service.json("/delivery/unknown").await;
    assert_eq!((&shown["state"], &shown["order_status"]), (&json!("assigned"), &json!("created")));
    assert_eq!(shown["assignment"]["courier_name"], "Anna");
    assert_eq!(shown["assignment"]["by_hand"], true);

    let (status, answer) = unassign(&service, "unknown").await;
    let expected = json!({ "order_id": "unknown", "status": "unassigned", "courier_id": anna });
    assert_eq!((status, answer), (200, expected));
    let held = service.json("/delivery/unknown").await;
    assert_eq!(held["state"], "held");
    assert_eq!(held["why_not_assigned"]["code"], "held_by_hand");
    let (status, problem) = unassign(&service, "unknown").await;
    assert_eq!((status, kind(&problem)), (409, "/docs#not-assigned"));
    let (status, problem) = unassign(&service, "nobody").await;
    assert_eq!((status, kind(&problem)), (404, "/docs#no-such-order"));
    // What is held is not taken up by itself, though a courier is free: the next order has him.
    tell(&env, "next", "created").await;
    delivery(&service, "next", "assigned").await;
    assert_eq!(service.json("/delivery/unknown").await["state"], "held");
    tell(&env, "next", "completed").await;
    delivery(&service, "next", "completed").await;
    assert_eq!(assign(&service, "unknown").await.0, 200);

    tell(&env, "unknown", "cancelled").await;
    delivery(&service, "unknown", "cancelled").await;
    for order_id in ["unknown", "next"] {
        let (status, problem) = assign(&service, order_id).await;
        assert_eq!((status, kind(&problem)), (409, "/docs#order-ended"), "{order_id}");
        let (status, problem) = unassign(&service, order_id).await;
        assert_eq!((status, kind(&problem)), (409, "/docs#order-ended"), "{order_id}");
    }
    for body in ["", "{}", r#"{"order_id":7}"#, r#"{"order_id":""}"#] {
        for path in ["/delivery/assign", "/delivery/unassign"] {
            let (status, problem) = call(&service, "POST", path, body).await;
            assert_eq!((status, kind(&problem)), (422, "/docs#invalid-body"), "{path} {body}");
        }
    }
    assert_eq!(service.get("/delivery/%20").await.status(), 400);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_courier_keeps_what_he_carries_and_gets_no_other() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start_couriers(&env.courier_database().await, &[]).await;
    let anna = add(&service, "Anna", "car", "available").await;
    tell(&env, "first", "created").await;
    delivery(&service, "first", "assigned").await;
    assert_eq!(put_status(&service, anna, "paused").await, "paused");
    assert_eq!(service.json("/delivery/first").await["assignment"]["courier_id"], anna);
    assert_eq!(put_status(&service, anna, "available").await, "busy");
    assert_eq!(put_status(&service, anna, "paused").await, "paused");

    tell(&env, "first", "completed").await;
    delivery(&service, "first", "completed").await;
    tell(&env, "second", "created").await;
    let waiting = delivery(&service, "second", "waiting").await;
    assert_eq!(waiting["why_not_assigned"]["code"], "all_couriers_paused");
    assert_eq!(assign(&service, "second").await.0, 409);
    assert_eq!(service.json(&format!("/courier/{anna}")).await["status"], "paused");
    put_status(&service, anna, "available").await;
    delivery(&service, "second", "assigned").await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_told_why_and_where_in_the_queue() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start_couriers(&env.courier_database().await, &[]).await;
    assert_eq!(service.json("/queue").await, json!({ "waiting": 0, "held": 0, "items": [] }));
    tell(&env, "early", "cooking").await;
    let expected = delivery(&service, "early", "expected").await;
    assert_eq!(expected["why_not_assigned"]["code"], "not_created");
    tell(&env, "a", "created").await;
    let a = delivery(&service, "a", "waiting").await;
    assert_eq!(
        (&a["why_not_assigned"]["code"], &a["position"]),
        (&json!("no_couriers"), &json!(1))
    );
    let anna = add(&service, "Anna", "car", "available").await;
    delivery(&service, "a", "assigned").await;
    tell(&env, "b", "created").await;
    delivery(&service, "b", "waiting").await;
    tell(&env, "c", "created").await;
    let c = delivery(&service, "c", "waiting").await;
    assert_eq!(c["position"], 2);
    assert_eq!(c["why_not_assigned"]["code"], "all_couriers_busy");
    assert_eq!(c["why_not_assigned"]["message"], "no courier is free: 1 carry, 0 are paused");
    assert_eq!(c["couriers"], json!({ "available": 0, "busy": 1, "paused": 0 }));

    unassign(&service, "a").await;
    let b = delivery(&service, "b", "assigned").await;
    assert_eq!(b["assignment"]["courier_id"], anna);
    let queue = service.json("/queue").await;
    assert_eq!((&queue["waiting"], &queue["held"]), (&json!(1), &json!(1)));
    let told: Vec<_> = queue["items"].as_array().unwrap().iter().collect();
    assert_eq!((&told[0]["order_id"], &told[0]["position"]), (&json!("c"), &json!(1)));
    assert_eq!((&told[1]["order_id"], &told[1]["position"]), (&json!("a"), &Value::Null));
    assert_eq!(told[1]["reason"], "held_by_hand");
    assert!(told[0]["age_seconds"].as_f64().unwrap() >= 0.0);
    assert_eq!(service.get("/queue?limit=501").await.status(), 400);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_count_what_was_delivered_and_nothing_that_was_cancelled() {
    let env = TestEnvironment::new(shared()).await;
    let late = ["--delivery-time-on-foot", "0s", "--overdue-grace", "0s"];
    let service = env.start_couriers(&env.courier_database().await, &late).await;
    let nothing = service.json("/statistics").await;
    assert_eq!((&nothing["deliveries"], &nothing["on_time_share"]), (&json!(0), &Value::Null));
    let anna = add(&service, "Anna", "car", "available").await;
    for (order_id, end) in [("in-time", "delivered"), ("gone", "deleted"), ("undone", "completed")]
    {
        tell(&env, order_id, "created").await;
        delivery(&service, order_id, "assigned").await;
        tell(&env, order_id, end).await;
        delivery(&service, order_id, if end == "deleted" { "cancelled" } else { "completed" })
            .await;
    }
    tell(&env, "undone", "canceled").await;
    delivery(&service, "undone", "cancelled").await;
    put_status(&service, anna, "paused").await;
    let lea = add(&service, "Lea", "on_foot", "available").await;
    tell(&env, "late", "created").await;
    delivery(&service, "late", "overdue").await;
    // After the grace she is free for another, though she has not told of the first.
    wait_until("Lea to be free", async || {
        service.json(&format!("/courier/{lea}")).await["status"] == "available"
    })
    .await;
    tell(&env, "late", "completed").await;
    delivery(&service, "late", "completed").await;

    let all = service.json("/statistics").await;
    for (field, value) in [("deliveries", 2), ("completed", 2), ("on_time", 1), ("active", 0)] {
        assert_eq!(all[field], value, "{field} of {all}");
    }
    assert_eq!(all["on_time_share"], 0.5);
    let annas = service.json(&format!("/courier/{anna}/statistics")).await;
    let leas = service.json(&format!("/courier/{lea}/statistics")).await;
    assert_eq!((&annas["completed"], &annas["on_time_share"]), (&json!(1), &json!(1.0)));
    assert_eq!((&leas["completed"], &leas["on_time_share"]), (&json!(1), &json!(0.0)));
    assert!(annas["p95_seconds"].as_f64().unwrap() >= 0.0);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_event_is_listed_shown_and_replayed_as_it_came_or_mended() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start_couriers(&env.courier_database().await, &[]).await;
    let bad = r#"{"order_id":"mend me","status":7}"#;
    let (partition, offset) = env.send_status(None, bad.as_bytes()).await;
    let id = format!("{}:{partition}:{offset}", env.status_topic());
    wait_until("the rejection", async || {
        service.json("/rejected").await["items"].as_array().unwrap().len() == 1
    })
    .await;
    let listed = service.json("/rejected?reason=wrong_type").await;
    assert_eq!(listed["items"][0]["id"], id.as_str());
    assert_eq!(service.json("/rejected?reason=missing").await["items"], json!([]));
    let shown = service.json(&format!("/rejected/{id}")).await;
    assert_eq!(shown["violations"][0]["pointer"], "/status");

    let replay = format!("/rejected/{id}/replay");
    let (status, answer) = call(&service, "POST", &replay, "").await;
    assert_eq!(status, 202, "{answer}");
    wait_until("the same rejection again", async || {
        service.json("/rejected").await["items"].as_array().unwrap().len() == 2
    })
    .await;
    let mended = r#"{"order_id":"mend me","status":"created"}"#;
    assert_eq!(call(&service, "POST", &replay, mended).await.0, 202);
    delivery(&service, "mend%20me", "waiting").await;
    for path in ["/rejected/%ff", "/courier/%ff", "/courier/%ff/statistics", "/delivery/%ff"] {
        let answer = service.get(path).await;
        assert_eq!(answer.status(), 400, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
    }
    for refused in [
        "nowhere",
        "a%00:1:1",
        "?reason=%00",
        "?after=1.a%00:1:1",
        "?after=-219960000000000000.a:1:1",
    ] {
        let separator = if refused.starts_with('?') { "" } else { "/" };
        let answer = service.get(&format!("/rejected{separator}{refused}")).await;
        assert_eq!(answer.status(), 400, "{refused}");
    }
    assert_eq!(
        call(&service, "POST", &format!("/rejected/{}:0:9/replay", env.status_topic()), "").await.0,
        404
    );
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_order_service_and_no_others_may_read_what_get_answers() {
    let env = TestEnvironment::new(shared()).await;
    let flags = ["--orders-url", "https://orders.example:8443/"];
    let service = env.start_couriers(&env.courier_database().await, &flags).await;
    let ask = async |method: &str, path: &str, origin: &str| {
        let method = method.parse().unwrap();
        let request = service.http.request(method, service.at(path)).header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        let headers = request.send().await.unwrap().headers().clone();
        let varies = headers.get_all("vary").iter().any(|one| {
            one.to_str().unwrap().to_lowercase().split(", ").any(|name| name == "origin")
        });
        assert!(varies, "{path} may be kept for another origin: {headers:?}");
        let header = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        (header("access-control-allow-origin"), header("access-control-allow-methods"))
    };
    let orders = "https://orders.example:8443";
    for path in ["/statistics", "/delivery/nobody", "/nowhere"] {
        assert_eq!(ask("GET", path, orders).await.0.as_deref(), Some(orders), "{path}");
    }
    for other in
        ["https://orders.example", "http://orders.example:8443", "null", "https://evil.example"]
    {
        assert_eq!(ask("GET", "/statistics", other).await.0, None, "{other}");
        assert_eq!(ask("OPTIONS", "/courier", other).await.0, None, "{other}");
    }
    assert_eq!(ask("POST", "/courier", orders).await.0, None);
    assert_eq!(ask("OPTIONS", "/courier", orders).await.1.as_deref(), Some("GET"));
    service.stop().await.unwrap();
}
