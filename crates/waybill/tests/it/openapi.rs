//! `/openapi.json` of both services agrees with their routes, their answers and the manual.

mod schemathesis;

use std::{collections::BTreeSet, path::Path};

use chassis::web::docs::with_shared_parts;
use reqwest::Response;
use serde_json::{Value, json};
use testkit::{TestEnvironment, order_json::SAMPLE, shared, wait_until};

use crate::support::{add_courier, post, send_status, wait_for_delivery};

/// Each service's own part of its document, and the source of its routes, because axum cannot list
/// routes.
const SERVICES: [(&str, &str); 2] = [
    (
        include_str!("../../../orders/src/http/openapi.json"),
        include_str!("../../../orders/src/routes.rs"),
    ),
    (
        include_str!("../../../couriers/src/http/openapi.json"),
        include_str!("../../../couriers/src/routes.rs"),
    ),
];
const HEALTH: &str = include_str!("../../../chassis/src/http/health.rs");
/// Paths of pages, which the document does not contain.
const PAGES: [&str; 5] = ["/", "/flow", "/docs", "/openapi.json", "/assets/{name}"];

/// Returns the methods and paths that the source gives to the router.
fn routes(source: &str) -> BTreeSet<String> {
    let mut routes = BTreeSet::new();
    for route in source.split(".route(").skip(1) {
        let mut parts = route.split('"');
        let path = parts.nth(1).unwrap();
        let handlers = parts.next().unwrap();
        for method in ["get", "head", "post", "put", "delete"] {
            let offered = handlers.split('\n').take(3).any(|line| {
                line.split(|c: char| !c.is_alphanumeric() && c != '(')
                    .any(|word| word.starts_with(&format!("{method}(")))
            });
            if offered && !PAGES.contains(&path) {
                routes.insert(format!("{method} {path}"));
            }
        }
    }
    routes
}

#[test]
fn every_route_is_documented_and_every_document_has_a_route() {
    for (document, source) in SERVICES {
        let mut routed = routes(source);
        routed.extend(routes(HEALTH));
        assert_eq!(routed, documented(&whole(document)));
    }
}

/// Returns the document of a service, given its own part.
fn whole(own: &str) -> Value {
    serde_json::from_str(&with_shared_parts(own)).unwrap()
}

/// Returns the methods and paths of a document.
fn documented(document: &Value) -> BTreeSet<String> {
    let mut documented = BTreeSet::new();
    for (path, calls) in document["paths"].as_object().unwrap() {
        let calls = calls.as_object().unwrap();
        for method in calls.keys().filter(|key| *key != "parameters") {
            // The router answers HEAD wherever it answers GET.
            if method != "head" || !calls.contains_key("get") {
                documented.insert(format!("{method} {path}"));
            }
        }
    }
    documented
}

/// Returns the methods and paths of a cell like `GET /live`, `/metrics`. A method also applies to
/// the paths that follow it.
fn calls(cell: &str) -> Vec<(String, &str)> {
    let mut method = String::new();
    let mut calls = Vec::new();
    for call in cell.split('`').skip(1).step_by(2) {
        let (named, path) = call.split_once(' ').unwrap_or((&method, call));
        method = named.to_lowercase();
        calls.push((method.clone(), path));
    }
    calls
}

/// Returns the numbers of three digits that can be a status code.
fn codes(text: &str) -> BTreeSet<&str> {
    let numbers = text.split(|c: char| !c.is_ascii_digit());
    numbers.filter(|number| number.len() == 3 && ("2".."6").contains(&&number[..1])).collect()
}

#[test]
fn the_manual_names_every_call_with_its_answers() {
    let manual = include_str!("../../../../docs/http.md");
    let sections = ["## The order service", "## The courier service"];
    for ((document, _), section) in SERVICES.into_iter().zip(sections) {
        let document = whole(document);
        let (_, section) = manual.split_once(section).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let mut named = BTreeSet::new();
        for row in section.lines().filter(|line| line.starts_with("| `")) {
            let (cell, answer) = row[2..].split_once(" | ").unwrap();
            let mut answers = BTreeSet::new();
            for (method, path) in calls(cell).into_iter().filter(|(_, path)| !PAGES.contains(path))
            {
                let responses = document["paths"][path][&method]["responses"].as_object();
                let responses = responses.unwrap_or_else(|| panic!("{method} {path}"));
                answers.extend(responses.keys().map(String::as_str));
                named.insert(format!("{method} {path}"));
            }
            if !answer.starts_with("as in the order service") {
                // The manual does not list 200.
                answers.remove("200");
                let listed = codes(answer).into_iter().filter(|code| *code != "200");
                assert_eq!(listed.collect::<BTreeSet<_>>(), answers, "{row}");
            }
        }
        assert_eq!(named, documented(&document));
    }
}

/// Returns all values inside a document, at any depth.
fn values_in(document: &Value) -> Vec<&Value> {
    let (mut all, mut rest) = (Vec::new(), vec![document]);
    while let Some(value) = rest.pop() {
        all.push(value);
        rest.extend(value.as_object().into_iter().flat_map(|all| all.values()));
        rest.extend(value.as_array().into_iter().flatten());
    }
    all
}

#[test]
fn every_reference_and_every_component_is_used() {
    for (document, _) in SERVICES {
        let api = Api(whole(document));
        let mut references = BTreeSet::new();
        for value in values_in(&api.0) {
            if let Some(reference) = value["$ref"].as_str() {
                api.resolve(value);
                references.insert(reference.to_owned());
            }
        }
        assert!(references.len() > 30, "{}", references.len());
        for (kind, components) in api.0["components"].as_object().unwrap() {
            for name in components.as_object().unwrap().keys() {
                let reference = format!("#/components/{kind}/{name}");
                assert!(references.contains(&reference), "no reference to {reference}");
            }
        }
    }
}

#[test]
fn examples_have_the_keys_of_their_schemas() {
    for (document, _) in SERVICES {
        let api = Api(whole(document));
        // The schema `{}` allows every value.
        let with_schema =
            |value: &&Value| value["schema"].as_object().is_some_and(|schema| !schema.is_empty());
        let mut examples = 0;
        for value in values_in(&api.0).into_iter().filter(with_schema) {
            let named = value["examples"].as_object().into_iter().flat_map(|all| all.values());
            let named = named.map(|example| &api.resolve(example)["value"]);
            for example in value.get("example").into_iter().chain(named) {
                api.assert_fits(&value["schema"], example, &example.to_string());
                examples += 1;
            }
        }
        assert!(examples > 10, "{examples}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_the_order_service_have_the_documented_keys() {
    let env = TestEnvironment::new(shared()).await;
    env.send(None, None, Some(SAMPLE.as_bytes())).await;
    env.send(Some(0), Some(b"\xff"), Some(b"no order")).await;
    let service = env.start(&[]).await;
    env.wait_until_drained().await;
    let api = Api(service.json("/openapi.json").await);
    let order = "/order/b563feb7b2b84b6test";
    let rejected = format!("/rejected/{}:0:0", env.orders_topic());

    api.assert_documented("get", "/order/{order_uid}", service.get(order).await).await;
    api.assert_documented("get", "/order/{order_uid}", service.get("/order/nobody").await).await;
    api.assert_documented("get", "/order/{order_uid}", service.get("/order/%20").await).await;
    api.assert_documented("get", "/orders", service.get("/orders").await).await;
    api.assert_documented("get", "/orders", service.get("/orders?limit=many").await).await;
    api.assert_documented("get", "/rejected", service.get("/rejected?limit=0").await).await;
    api.assert_documented("post", "/order", post(&service, "/order", SAMPLE).await).await;
    api.assert_documented("post", "/order", post(&service, "/order", "{}").await).await;

    env.wait_until_status_drained().await;
    for call in ["status", "history"] {
        let path = format!("/order/{{order_uid}}/{call}");
        api.assert_documented("get", &path, service.get(&format!("{order}/{call}")).await).await;
        api.assert_documented("get", &path, service.get(&format!("/order/nobody/{call}")).await)
            .await;
        api.assert_documented("get", &path, service.get(&format!("/order/%20/{call}")).await).await;
    }
    for status in [202, 409] {
        let answer = post(&service, &format!("{order}/cancel"), "").await;
        assert_eq!(answer.status(), status);
        api.assert_documented("post", "/order/{order_uid}/cancel", answer).await;
        env.wait_until_status_drained().await;
    }

    let complete = "/order/{order_uid}/complete";
    api.assert_documented("post", complete, post(&service, "/order/nobody/complete", "").await)
        .await;

    let replay = format!("{rejected}/replay");
    api.assert_documented("post", "/rejected/{id}/replay", post(&service, &replay, "").await).await;

    wait_until("the replay to be recorded", async || {
        service.json(&rejected).await["replays"] != json!([])
    })
    .await;
    api.assert_documented("get", "/rejected", service.get("/rejected").await).await;
    api.assert_documented("get", "/rejected/{id}", service.get(&rejected).await).await;
    api.assert_documented("get", "/rejected/{id}", service.get("/rejected/orders").await).await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_the_courier_service_have_the_documented_keys() {
    let env = TestEnvironment::new(shared()).await;
    env.send_status(None, b"no event").await;
    let service = env.start_couriers(&env.courier_database().await, &[]).await;
    let api = Api(service.json("/openapi.json").await);
    let send = async |method: &str, path: &str, body: Value| {
        let request = service.http.request(method.parse().unwrap(), service.at(path));
        request.json(&body).send().await.unwrap()
    };

    // One order that waits, is assigned, is held, is assigned again and is completed.
    send_status(&env, "waits", "created").await;
    wait_for_delivery(&service, "waits", "waiting").await;
    api.assert_documented("get", "/delivery/{order_id}", service.get("/delivery/waits").await)
        .await;
    api.assert_documented("get", "/queue", service.get("/queue").await).await;

    let refused = send("POST", "/delivery/assign", json!({ "order_id": "waits" })).await;
    assert_eq!(refused.status(), 409);
    api.assert_documented("post", "/delivery/assign", refused).await;

    let anna = json!({ "name": "Anna", "phone": "+70000000001", "transport_type": "car" });
    for status in [201, 409] {
        let answer = send("POST", "/courier", anna.clone()).await;
        assert_eq!(answer.status(), status);
        api.assert_documented("post", "/courier", answer).await;
    }
    api.assert_documented("post", "/courier", send("POST", "/courier", json!({})).await).await;

    wait_for_delivery(&service, "waits", "assigned").await;
    api.assert_documented("get", "/delivery/{order_id}", service.get("/delivery/waits").await)
        .await;
    for status in [200, 409] {
        let answer = send("POST", "/delivery/unassign", json!({ "order_id": "waits" })).await;
        assert_eq!(answer.status(), status);
        api.assert_documented("post", "/delivery/unassign", answer).await;
    }

    let nobody = send("POST", "/delivery/unassign", json!({ "order_id": "nobody" })).await;
    api.assert_documented("post", "/delivery/unassign", nobody).await;
    api.assert_documented("get", "/queue", service.get("/queue").await).await;
    api.assert_documented("get", "/queue", service.get("/queue?limit=0").await).await;

    let assigned = send("POST", "/delivery/assign", json!({ "order_id": "waits" })).await;
    assert_eq!(assigned.status(), 200);
    api.assert_documented("post", "/delivery/assign", assigned).await;

    send_status(&env, "waits", "completed").await;
    wait_for_delivery(&service, "waits", "completed").await;
    api.assert_documented("get", "/delivery/{order_id}", service.get("/delivery/waits").await)
        .await;
    for unknown in ["/delivery/nobody", "/delivery/%20"] {
        api.assert_documented("get", "/delivery/{order_id}", service.get(unknown).await).await;
    }

    let id = add_courier(&service, "Bob", "on_foot", "paused").await;
    let resumed = send("PUT", "/courier", json!({ "id": id, "status": "available" })).await;
    api.assert_documented("put", "/courier", resumed).await;
    for (body, status) in [(json!({ "id": 9_999, "name": "C" }), 404), (json!({}), 422)] {
        let answer = send("PUT", "/courier", body).await;
        assert_eq!(answer.status(), status);
        api.assert_documented("put", "/courier", answer).await;
    }
    for query in ["", "?limit=1", "?limit=many"] {
        api.assert_documented("get", "/couriers", service.get(&format!("/couriers{query}")).await)
            .await;
    }
    for call in ["", "/statistics"] {
        let path = format!("/courier/{{id}}{call}");
        for id in ["1", "9999", "one"] {
            api.assert_documented("get", &path, service.get(&format!("/courier/{id}{call}")).await)
                .await;
        }
    }
    api.assert_documented("get", "/statistics", service.get("/statistics").await).await;
    api.assert_documented("get", "/ping", service.get("/ping").await).await;

    env.wait_until_couriers_drained().await;
    let rejected = service.json("/rejected").await["items"][0]["id"].as_str().unwrap().to_owned();
    let rejected = format!("/rejected/{rejected}");
    let replay = post(&service, &format!("{rejected}/replay"), "").await;

    api.assert_documented("post", "/rejected/{id}/replay", replay).await;

    wait_until("the replay to be recorded", async || {
        service.json(&rejected).await["replays"] != json!([])
    })
    .await;
    api.assert_documented("get", "/rejected", service.get("/rejected").await).await;
    api.assert_documented("get", "/rejected", service.get("/rejected?limit=0").await).await;
    api.assert_documented("get", "/rejected/{id}", service.get(&rejected).await).await;
    api.assert_documented("get", "/rejected/{id}", service.get("/rejected/events").await).await;
    service.stop().await.unwrap();
}

/// Returns the problem types in the sources and the documents of these crates.
fn problem_types(crates: &[&str]) -> BTreeSet<String> {
    let mut types = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut folders: Vec<_> = crates.iter().map(|name| root.join(name).join("src")).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "json") {
                let text = std::fs::read_to_string(path).unwrap();
                let rest = text.split("\"/docs#").skip(1);
                types.extend(rest.map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
        }
    }
    types
}

#[tokio::test(flavor = "multi_thread")]
async fn every_problem_type_is_an_anchor_in_the_documentation() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;

    for (service, crates) in
        [(&orders, ["chassis", "orders"]), (&couriers, ["chassis", "couriers"])]
    {
        let page = service.get("/docs").await.text().await.unwrap();
        let types = problem_types(&crates);
        assert!(types.len() > 12, "{types:?}");
        for anchor in types {
            assert_eq!(page.matches(&format!("id=\"{anchor}\"")).count(), 1, "{anchor}");
        }
    }
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

/// An OpenAPI document.
struct Api(Value);

impl Api {
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(reference) = value["$ref"].as_str() else { return value };
        let found = self.0.pointer(reference.trim_start_matches('#'));
        found.unwrap_or_else(|| panic!("{reference} does not exist"))
    }

    /// Asserts that the answer's status, content type and keys are documented.
    async fn assert_documented(&self, method: &str, path: &str, answer: Response) {
        let status = answer.status();
        let call = format!("{method} {path} {}", status.as_u16());
        let documented = &self.0["paths"][path][method]["responses"][status.as_str()];
        assert!(documented.is_object(), "{call} is not documented");
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let schema = &self.resolve(documented)["content"][&kind]["schema"];
        assert!(schema.is_object(), "{call} is not documented to be {kind}");
        self.assert_fits(schema, &answer.json().await.unwrap(), &call);
    }

    /// Asserts that a value has the required keys of a schema, and no others than it documents.
    fn assert_fits(&self, schema: &Value, value: &Value, place: &str) {
        let mut schema = self.resolve(schema);
        // A value that may be null.
        if let Some(one) = schema["oneOf"].as_array().and_then(|one_of| one_of.first()) {
            schema = self.resolve(one);
        }
        if let Some(items) = value.as_array() {
            for item in items {
                self.assert_fits(&schema["items"], item, &format!("{place}[]"));
            }
        }
        let Some(object) = value.as_object() else { return };
        let documented = schema["properties"].as_object();
        let documented = documented.unwrap_or_else(|| panic!("{place} has no properties"));
        let keys: BTreeSet<&String> = object.keys().collect();
        let unknown: Vec<_> = keys.iter().filter(|key| !documented.contains_key(**key)).collect();
        assert!(unknown.is_empty(), "{place}: {unknown:?} are not documented");
        for required in schema["required"].as_array().into_iter().flatten() {
            let required = required.as_str().unwrap();
            assert!(object.contains_key(required), "{place}: {required} is missing");
        }
        for (key, value) in object {
            self.assert_fits(&documented[key], value, &format!("{place}/{key}"));
        }
    }
}
