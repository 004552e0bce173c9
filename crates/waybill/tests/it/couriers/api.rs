//! The calls of the courier service, with their answers and their problems.

use serde_json::{Value, json};
use testkit::{TestEnvironment, shared, wait_until};

use crate::support::{
    add_courier, assign, call, send_status, set_courier_status, unassign, wait_for_delivery,
};

fn problem_type(problem: &Value) -> &str {
    problem["type"].as_str().unwrap_or("no type")
}

#[tokio::test(flavor = "multi_thread")]
async fn couriers_are_added_listed_shown_and_changed() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start_couriers(&env.courier_database().await, &[]).await;
    let anna =
        r#"{"name":"Anna","phone":"+70000000001","status":"available","transport_type":"scooter"}"#;
    let answer = service
        .http
        .post(service.at("/courier"))
        .header("content-type", "application/json")
        .body(anna)
        .send()
        .await
        .unwrap();

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
        assert_eq!((code, problem_type(&problem)), (status, wanted), "{body}: {problem}");
        assert_eq!(problem["error"], problem["detail"]);
    }

    let (_, problem) =
        call(&service, "POST", "/courier", r#"{"name":" ","phone":"8","transport_type":"plane"}"#)
            .await;
    let pointers: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert_eq!(pointers, ["/name", "/phone", "/transport_type"]);

    let boris = add_courier(&service, "Boris", "car", "paused").await;
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
        assert_eq!((code, problem_type(&problem)), (status, wanted), "{body}: {problem}");
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
async fn health_calls_answer_as_specified() {
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
async fn a_manual_assignment_stores_nothing_if_it_fails() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let service = env.start_couriers(&database, &[]).await;
    let (status, problem) = assign(&service, "unknown").await;

    assert_eq!((status, problem_type(&problem)), (409, "/docs#no-courier-available"));
    assert_eq!(service.get("/delivery/unknown").await.status(), 404);

    let anna = add_courier(&service, "Anna", "scooter", "available").await;
    let (status, mut answer) = assign(&service, "unknown").await;
    assert!(answer["delivery_deadline"].take().is_string());

    let expected = json!({
        "courier_id": anna, "order_id": "unknown", "transport_type": "scooter",
        "delivery_deadline": null,
    });
    assert_eq!((status, answer), (200, expected));

    let (status, problem) = assign(&service, "unknown").await;
    assert_eq!((status, problem_type(&problem)), (409, "/docs#already-assigned"));

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
    assert_eq!((status, problem_type(&problem)), (409, "/docs#not-assigned"));

    let (status, problem) = unassign(&service, "nobody").await;
    assert_eq!((status, problem_type(&problem)), (404, "/docs#no-such-order"));

    // A held order is not assigned automatically: the free courier gets the next order.
    send_status(&env, "next", "created").await;
    wait_for_delivery(&service, "next", "assigned").await;
    assert_eq!(service.json("/delivery/unknown").await["state"], "held");

    send_status(&env, "next", "completed").await;
    wait_for_delivery(&service, "next", "completed").await;
    assert_eq!(assign(&service, "unknown").await.0, 200);

    send_status(&env, "unknown", "cancelled").await;
    wait_for_delivery(&service, "unknown", "cancelled").await;
    for order_id in ["unknown", "next"] {
        let (status, problem) = assign(&service, order_id).await;
        assert_eq!((status, problem_type(&problem)), (409, "/docs#order-ended"), "{order_id}");
        let (status, problem) = unassign(&service, order_id).await;
        assert_eq!((status, problem_type(&problem)), (409, "/docs#order-ended"), "{order_id}");
    }
    for body in ["", "{}", r#"{"order_id":7}"#, r#"{"order_id":""}"#] {
        for path in ["/delivery/assign", "/delivery/unassign"] {
            let (status, problem) = call(&service, "POST", path, body).await;
            assert_eq!(
                (status, problem_type(&problem)),
                (422, "/docs#invalid-body"),
                "{path} {body}"
            );
        }
    }
    assert_eq!(service.get("/delivery/%20").await.status(), 400);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_courier_keeps_their_order_and_gets_no_other() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start_couriers(&env.courier_database().await, &[]).await;
    let anna = add_courier(&service, "Anna", "car", "available").await;

    send_status(&env, "first", "created").await;
    wait_for_delivery(&service, "first", "assigned").await;
    assert_eq!(set_courier_status(&service, anna, "paused").await, "paused");
    assert_eq!(service.json("/delivery/first").await["assignment"]["courier_id"], anna);
    assert_eq!(set_courier_status(&service, anna, "available").await, "busy");
    assert_eq!(set_courier_status(&service, anna, "paused").await, "paused");

    send_status(&env, "first", "completed").await;
    wait_for_delivery(&service, "first", "completed").await;
    send_status(&env, "second", "created").await;
    let waiting = wait_for_delivery(&service, "second", "waiting").await;

    assert_eq!(waiting["why_not_assigned"]["code"], "all_couriers_paused");
    assert_eq!(assign(&service, "second").await.0, 409);
    assert_eq!(service.json(&format!("/courier/{anna}")).await["status"], "paused");

    set_courier_status(&service, anna, "available").await;
    wait_for_delivery(&service, "second", "assigned").await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_order_shows_the_reason_and_its_position() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start_couriers(&env.courier_database().await, &[]).await;
    assert_eq!(
        service.json("/queue").await,
        json!({ "waiting": 0, "held": 0, "released": 0, "items": [] })
    );

    send_status(&env, "early", "cooking").await;
    let expected = wait_for_delivery(&service, "early", "expected").await;
    assert_eq!(expected["why_not_assigned"]["code"], "not_created");

    send_status(&env, "a", "created").await;
    let a = wait_for_delivery(&service, "a", "waiting").await;
    assert_eq!(
        (&a["why_not_assigned"]["code"], &a["position"]),
        (&json!("no_couriers"), &json!(1))
    );

    let anna = add_courier(&service, "Anna", "car", "available").await;
    wait_for_delivery(&service, "a", "assigned").await;
    send_status(&env, "b", "created").await;
    wait_for_delivery(&service, "b", "waiting").await;
    send_status(&env, "c", "created").await;
    let c = wait_for_delivery(&service, "c", "waiting").await;

    assert_eq!(c["position"], 2);
    assert_eq!(c["why_not_assigned"]["code"], "all_couriers_busy");
    assert_eq!(c["why_not_assigned"]["message"], "no courier is available: 1 busy, 0 paused");
    assert_eq!(c["couriers"], json!({ "available": 0, "busy": 1, "paused": 0 }));

    unassign(&service, "a").await;
    let b = wait_for_delivery(&service, "b", "assigned").await;
    assert_eq!(b["assignment"]["courier_id"], anna);

    let queue = service.json("/queue").await;
    assert_eq!((&queue["waiting"], &queue["held"]), (&json!(1), &json!(1)));

    let items: Vec<_> = queue["items"].as_array().unwrap().iter().collect();
    assert_eq!((&items[0]["order_id"], &items[0]["position"]), (&json!("c"), &json!(1)));
    assert_eq!((&items[1]["order_id"], &items[1]["position"]), (&json!("a"), &Value::Null));
    assert_eq!(items[1]["reason"], "held_by_hand");
    assert!(items[0]["age_seconds"].as_f64().unwrap() >= 0.0);
    assert_eq!(service.get("/queue?limit=501").await.status(), 400);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_count_deliveries_but_not_cancelled_orders() {
    let env = TestEnvironment::new(shared()).await;
    let late = ["--delivery-time-on-foot", "0s", "--overdue-grace", "0s"];
    let service = env.start_couriers(&env.courier_database().await, &late).await;
    let nothing = service.json("/statistics").await;

    assert_eq!((&nothing["deliveries"], &nothing["on_time_share"]), (&json!(0), &Value::Null));

    let anna = add_courier(&service, "Anna", "car", "available").await;
    for (order_id, end) in [("in-time", "delivered"), ("gone", "deleted"), ("undone", "completed")]
    {
        send_status(&env, order_id, "created").await;
        wait_for_delivery(&service, order_id, "assigned").await;
        send_status(&env, order_id, end).await;
        wait_for_delivery(
            &service,
            order_id,
            if end == "deleted" { "cancelled" } else { "completed" },
        )
        .await;
    }
    send_status(&env, "undone", "canceled").await;
    wait_for_delivery(&service, "undone", "cancelled").await;
    set_courier_status(&service, anna, "paused").await;
    let lea = add_courier(&service, "Lea", "on_foot", "available").await;
    send_status(&env, "late", "created").await;
    wait_for_delivery(&service, "late", "released").await;
    // After the grace period, the courier is free again, although the first order is not completed.
    wait_until("Lea to be free", async || {
        service.json(&format!("/courier/{lea}")).await["status"] == "available"
    })
    .await;
    send_status(&env, "late", "completed").await;
    wait_for_delivery(&service, "late", "completed").await;

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
async fn a_rejected_event_is_replayed_unchanged_or_edited() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start_couriers(&env.courier_database().await, &[]).await;
    let bad = r#"{"order_id":"edit me","status":7}"#;
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
        service.json("/rejected?settled=any").await["items"].as_array().unwrap().len() == 2
    })
    .await;
    let edited = r#"{"order_id":"edit me","status":"created"}"#;
    assert_eq!(call(&service, "POST", &replay, edited).await.0, 202);

    wait_for_delivery(&service, "edit%20me", "waiting").await;
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
async fn only_pages_of_the_order_service_may_read_answers() {
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
