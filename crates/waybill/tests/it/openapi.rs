//! What `/openapi.json` says is what the service answers.

use std::{collections::BTreeSet, path::Path};

use reqwest::Response;
use serde_json::{Value, json};
use testkit::{Bed, order_json::SAMPLE, shared, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_keys_that_are_documented_and_no_other() {
    let bed = Bed::new(shared()).await;
    bed.send(None, None, Some(SAMPLE.as_bytes())).await;
    bed.send(Some(0), Some(b"\xff"), Some(b"no order")).await;
    let service = bed.start(&[]).await;
    bed.drained().await;
    let api = Api(service.json("/openapi.json").await);
    let order = "/order/b563feb7b2b84b6test";
    let rejected = format!("/rejected/{}:0:0", bed.orders_topic());

    api.holds("get", "/order/{order_uid}", service.get(order).await).await;
    api.holds("get", "/order/{order_uid}", service.get("/order/nobody").await).await;
    api.holds("get", "/order/{order_uid}", service.get("/order/%20").await).await;
    api.holds("get", "/orders", service.get("/orders").await).await;
    api.holds("get", "/orders", service.get("/orders?limit=many").await).await;
    api.holds("get", "/rejected", service.get("/rejected?limit=0").await).await;
    let post =
        |path: &str, body: &str| service.http.post(service.at(path)).body(body.to_owned()).send();
    api.holds("post", "/order", post("/order", SAMPLE).await.unwrap()).await;
    api.holds("post", "/order", post("/order", "{}").await.unwrap()).await;
    bed.status_drained().await;
    for call in ["status", "history"] {
        let path = format!("/order/{{order_uid}}/{call}");
        api.holds("get", &path, service.get(&format!("{order}/{call}")).await).await;
        api.holds("get", &path, service.get(&format!("/order/nobody/{call}")).await).await;
        api.holds("get", &path, service.get(&format!("/order/%20/{call}")).await).await;
    }
    for status in [202, 409] {
        let answer = post(&format!("{order}/cancel"), "").await.unwrap();
        assert_eq!(answer.status(), status);
        api.holds("post", "/order/{order_uid}/cancel", answer).await;
        bed.status_drained().await;
    }
    let complete = "/order/{order_uid}/complete";
    api.holds("post", complete, post("/order/nobody/complete", "").await.unwrap()).await;
    let replay = format!("{rejected}/replay");
    api.holds("post", "/rejected/{id}/replay", post(&replay, "").await.unwrap()).await;
    wait_until("the replay to be noted", async || {
        service.json(&rejected).await["replays"] != json!([])
    })
    .await;
    api.holds("get", "/rejected", service.get("/rejected").await).await;
    api.holds("get", "/rejected/{id}", service.get(&rejected).await).await;
    api.holds("get", "/rejected/{id}", service.get("/rejected/orders").await).await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reference_leads_somewhere() {
    let bed = Bed::new(shared()).await;
    let service = bed.start(&[]).await;
    let api = Api(service.json("/openapi.json").await);
    let mut references = 0;
    let mut rest = vec![&api.0];
    while let Some(value) = rest.pop() {
        if value["$ref"].is_string() {
            api.resolve(value);
            references += 1;
        }
        rest.extend(value.as_object().into_iter().flat_map(|all| all.values()));
        rest.extend(value.as_array().into_iter().flatten());
    }
    assert!(references > 30, "{references}");
    service.stop().await.unwrap();
}

/// What these crates write as the type of a problem, in code and in the API's description.
fn types_of_problems(crates: &[&str]) -> BTreeSet<String> {
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
async fn the_type_of_every_problem_leads_to_its_place_in_the_documentation() {
    let bed = Bed::new(shared()).await;
    let database = bed.courier_database().await;
    let (orders, couriers) = bed.start_both(&database).await;
    for (service, crates) in
        [(&orders, ["chassis", "orders"]), (&couriers, ["chassis", "couriers"])]
    {
        let page = service.get("/docs").await.text().await.unwrap();
        let types = types_of_problems(&crates);
        assert!(types.len() > 12, "{types:?}");
        for anchor in types {
            assert_eq!(page.matches(&format!("id=\"{anchor}\"")).count(), 1, "{anchor}");
        }
    }
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

/// The document.
struct Api(Value);

impl Api {
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(reference) = value["$ref"].as_str() else { return value };
        let found = self.0.pointer(reference.trim_start_matches('#'));
        found.unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }

    /// The answer's status, type and keys are those of the document.
    async fn holds(&self, method: &str, path: &str, answer: Response) {
        let status = answer.status();
        let call = format!("{method} {path} {}", status.as_u16());
        let documented = &self.0["paths"][path][method]["responses"][status.as_str()];
        assert!(documented.is_object(), "{call} is not documented");
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let schema = &self.resolve(documented)["content"][&kind]["schema"];
        assert!(schema.is_object(), "{call} is not documented to be {kind}");
        self.fits(schema, &answer.json().await.unwrap(), &call);
    }

    fn fits(&self, schema: &Value, value: &Value, place: &str) {
        let schema = self.resolve(schema);
        if let Some(items) = value.as_array() {
            for item in items {
                self.fits(&schema["items"], item, &format!("{place}[]"));
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
            self.fits(&documented[key], value, &format!("{place}/{key}"));
        }
    }
}
