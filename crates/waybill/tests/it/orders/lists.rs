//! Lists in pages: newest first, with filters, and with a link to the next page.

use reqwest::Response;
use serde_json::{Value, json};
use testkit::{Service, TestEnvironment, shared};

use crate::support::{order, record};

/// A text that must be escaped in an address.
const ODD: &str = "a&b=c d/ü\"<>";

/// Returns the path of the next page from the header `Link`.
fn next_path(answer: &Response) -> Option<String> {
    let link = answer.headers().get("link")?.to_str().unwrap();
    let path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    Some(path.to_owned())
}

/// Follows the links and returns one field of all items, page by page.
async fn pages(service: &Service, path: &str, field: &str) -> Vec<Vec<String>> {
    let (mut path, mut pages) = (Some(path.to_owned()), Vec::new());
    while let Some(here) = path {
        let answer = service.get(&here).await;
        assert_eq!(answer.status(), 200, "{here}");
        path = next_path(&answer);
        let page: Value = answer.json().await.unwrap();
        assert_eq!(page["next"].is_null(), path.is_none(), "{here}");
        let items = page["items"].as_array().unwrap().iter();
        pages.push(items.map(|item| item[field].as_str().unwrap().to_owned()).collect());
    }
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_listed_newest_first_by_customer_and_track_number() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    // One at a time, so that each is newer than the one before.
    for (number, customer, track) in [
        (1, "ada", "T1"),
        (2, ODD, "T1"),
        (3, "ada", ODD),
        (4, ODD, ODD),
        (5, ODD, ODD),
        (6, ODD, ODD),
    ] {
        let mut order = order(&format!("uid-{number}"), number);
        order["customer_id"] = json!(customer);
        order["track_number"] = json!(track);
        env.send_all([record(&order)]).await;
        env.wait_until_drained().await;
    }
    let odd =
        reqwest::Url::parse_with_params("http://x/", [("customer_id", ODD), ("track_number", ODD)]);
    let odd = odd.unwrap().query().unwrap().to_owned();
    let (customer, track) = odd.split_once('&').unwrap();

    for (query, wanted) in [
        ("", vec![vec!["uid-6", "uid-5"], vec!["uid-4", "uid-3"], vec!["uid-2", "uid-1"]]),
        (customer, vec![vec!["uid-6", "uid-5"], vec!["uid-4", "uid-2"]]),
        (track, vec![vec!["uid-6", "uid-5"], vec!["uid-4", "uid-3"]]),
        (&*odd, vec![vec!["uid-6", "uid-5"], vec!["uid-4"]]),
        ("track_number=T1", vec![vec!["uid-2", "uid-1"]]),
        ("customer_id=ada&track_number=T1", vec![vec!["uid-1"]]),
        ("customer_id=nobody", vec![vec![]]),
    ] {
        let listed = pages(&service, &format!("/orders?limit=2&{query}"), "order_uid").await;
        assert_eq!(listed, wanted, "{query}");
    }

    // A page holds 500 orders at most, stored in one transaction or not.
    let more = (0..495).map(|number| record(&order(&format!("more-{number}"), number)));
    env.send_all(more.collect::<Vec<_>>()).await;
    env.wait_until_drained().await;
    let sizes = async |path: &str| {
        let pages = pages(&service, path, "order_uid").await;
        let distinct: std::collections::BTreeSet<&String> = pages.iter().flatten().collect();
        (pages.iter().map(Vec::len).collect::<Vec<_>>(), distinct.len())
    };

    assert_eq!(sizes("/orders?limit=500").await, (vec![500, 1], 501));
    assert_eq!(sizes("/orders?limit=499").await, (vec![499, 2], 501));
    // The orders of a batch have the same time, so a page also ends between two of them.
    for filter in ["customer_id=test", "track_number=WBILMTESTTRACK"] {
        let path = format!("/orders?limit=100&{filter}");
        assert_eq!(sizes(&path).await, (vec![100, 100, 100, 100, 95], 495), "{filter}");
    }
    assert_eq!(service.json("/orders").await["items"].as_array().unwrap().len(), 50);
    for limit in ["0", "501", "-1", "many"] {
        for list in ["orders", "rejected"] {
            let answer = service.get(&format!("/{list}?limit={limit}")).await;
            assert_eq!(answer.status(), 400, "{list} {limit}");
        }
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_records_are_listed_newest_first_by_reason_and_key() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    for value in ["{", "[]", "{", "7", "{"] {
        env.send(Some(2), Some(b"a&b"), Some(value.as_bytes())).await;
        env.wait_until_drained().await;
    }
    let topic = env.orders_topic();
    let ids = |offsets: &[&[i64]]| -> Vec<Vec<String>> {
        let page =
            |page: &&[i64]| page.iter().map(|offset| format!("{topic}:2:{offset}")).collect();
        offsets.iter().map(page).collect()
    };

    for (query, wanted) in [
        ("", ids(&[&[4, 3], &[2, 1], &[0]])),
        ("&reason=invalid_json", ids(&[&[4, 2], &[0]])),
        ("&reason=not_an_object", ids(&[&[3, 1]])),
        ("&reason=missing", ids(&[&[]])),
        ("&key=a%26b", ids(&[&[4, 3], &[2, 1], &[0]])),
        ("&key=a%26b&reason=invalid_json", ids(&[&[4, 2], &[0]])),
        ("&key=a", ids(&[&[]])),
        // An empty field of a form.
        ("&reason=", ids(&[&[4, 3], &[2, 1], &[0]])),
    ] {
        let listed = pages(&service, &format!("/rejected?limit=2{query}"), "id").await;
        assert_eq!(listed, wanted, "{query}");
    }
    service.stop().await.unwrap();
}
