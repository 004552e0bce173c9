use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use serde_json::Value;
use time::macros::datetime;

use super::*;
use crate::load::shares::Share;

const START: OffsetDateTime = datetime!(2026-01-01 0:00 UTC);

fn shares(texts: [&str; 4]) -> Shares {
    let [duplicates, changed, invalid, unparsable] =
        texts.map(|text| text.parse::<Share>().unwrap());
    Shares::new(duplicates, changed, invalid, unparsable).unwrap()
}

fn mixed(seed: u64) -> Generator {
    Generator::new(seed, shares(["0.1", "0.1", "0.1", "0.1"]), START)
}

/// Fails when any byte of any record changes: then two versions of this program no longer send the
/// same for the same seed, and the change log must say so.
#[test]
fn same_seed_same_bytes_in_every_version() {
    let mut hash = blake3::Hasher::new();
    for made in mixed(1).take(2_000) {
        hash.update(made.kind.as_str().as_bytes());
        hash.update(made.key.unwrap().as_bytes());
        hash.update(&made.value);
    }
    assert_eq!(
        hash.finalize().to_hex().as_str(),
        "d6399032ef7eacedc0fcd241f2d8492c368f34bcbd14b91e4df7403a3f0f511a"
    );
}

#[test]
fn other_seeds_make_other_orders() {
    let uids: HashSet<String> = (0..20)
        .flat_map(|seed| Generator::new(seed, Shares::default(), START).take(500))
        .map(|made| made.key.unwrap())
        .collect();
    assert_eq!(uids.len(), 20 * 500);
}

/// The keys of the sample order, each object's in its order.
const MODEL: &str = r#"{"order_uid":0,"track_number":0,"entry":0,"delivery":{"name":0,"phone":0,"zip":0,"city":0,"address":0,"region":0,"email":0},"payment":{"transaction":0,"request_id":0,"currency":0,"provider":0,"amount":0,"payment_dt":0,"bank":0,"delivery_cost":0,"goods_total":0,"custom_fee":0},"items":[{"chrt_id":0,"track_number":0,"price":0,"rid":0,"name":0,"sale":0,"size":0,"total_price":0,"nm_id":0,"brand":0,"status":0}],"locale":0,"internal_signature":0,"customer_id":0,"delivery_service":0,"shardkey":0,"sm_id":0,"date_created":0,"oof_shard":0}"#;

#[test]
fn orders_have_the_keys_of_the_model_in_its_order() {
    for made in Generator::new(8, Shares::default(), START).take(500) {
        assert_eq!(without_values(&made.value), MODEL);
    }
}

/// Writes 0 for each text and number, and keeps only the first item.
fn without_values(json: &[u8]) -> String {
    let text = std::str::from_utf8(json).unwrap();
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix("},{") {
            rest = &behind[behind.find("}]").unwrap()..];
        } else if let Some(behind) = rest.strip_prefix(':') {
            out.push(':');
            rest = behind;
            if !rest.starts_with(['{', '[']) {
                let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
                values.next().unwrap().unwrap();
                out.push('0');
                rest = &rest[values.byte_offset()..];
            }
        } else {
            let next = rest.chars().next().unwrap();
            out.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    out
}

#[test]
fn sizes_are_those_of_real_orders() {
    let bytes: Vec<usize> = Generator::new(4, Shares::default(), START)
        .take(5_000)
        .map(|made| made.value.len())
        .collect();
    let mean = bytes.iter().sum::<usize>() / bytes.len();
    assert!((900..1_500).contains(&mean), "{mean}");
    assert!(bytes.iter().all(|bytes| (600..4_000).contains(bytes)));
}

#[test]
fn dates_follow_the_start() {
    let dates: Vec<String> =
        Generator::new(4, Shares::default(), datetime!(2030-05-06 7:08:09.9 +02))
            .take(6)
            .map(|made| {
                serde_json::from_slice::<Value>(&made.value).unwrap()["date_created"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
    assert_eq!(dates[0], "2030-05-06T05:08:09Z");
    assert_eq!(dates[5], "2030-05-06T05:08:10Z");
}

#[test]
fn one_irregular_kind_alone_never_stops() {
    for (texts, kind) in [
        (["1", "0", "0", "0"], Kind::Duplicate),
        (["0", "1", "0", "0"], Kind::Changed),
        (["0", "0", "1", "0"], Kind::Invalid),
        (["0", "0", "0", "1"], Kind::Unparsable),
    ] {
        let made: Vec<Record> = Generator::new(1, shares(texts), START).take(500).collect();
        let repeats = matches!(kind, Kind::Duplicate | Kind::Changed);
        assert_eq!(made[0].kind, if repeats { Kind::New } else { kind });
        assert!(made[1..].iter().all(|made| made.kind == kind));
    }
}

#[test]
fn memory_is_bounded() {
    let mut generator = mixed(1);
    for _ in 0..20_000 {
        generator.next();
    }
    assert_eq!(generator.recent.len(), MAX_RECENT_ORDERS);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_record_is_what_it_claims(seed: u64) {
        let mut latest: HashMap<String, Vec<u8>> = HashMap::new();
        let mut spoiled = HashSet::new();
        for made in mixed(seed).take(400) {
            let Record { kind, key, value } = made;
            let order_uid = key.unwrap();
            let decoded = serde_json::from_slice::<Value>(&value);
            match kind {
                Kind::New => prop_assert!(latest.insert(order_uid.clone(), value).is_none()),
                Kind::Duplicate => prop_assert_eq!(&latest[&order_uid], &value),
                Kind::Changed => prop_assert_ne!(&latest.insert(order_uid.clone(), value.clone()).unwrap(), &value),
                Kind::Invalid => prop_assert!(decoded.is_ok()),
                Kind::Unparsable => prop_assert!(decoded.is_err()),
                Kind::Given => prop_assert!(false),
            }
            if matches!(kind, Kind::Invalid | Kind::Unparsable) {
                prop_assert!(spoiled.insert(order_uid.clone()));
                prop_assert!(!latest.contains_key(&order_uid));
                continue;
            }
            let order = decoded.unwrap();
            prop_assert_eq!(order["order_uid"].as_str(), Some(order_uid.as_str()));
            prop_assert_eq!(&order["payment"]["transaction"], &order["order_uid"]);
            prop_assert_eq!(order_uid.len(), 19);
            let (hex, test) = order_uid.split_at(15);
            prop_assert!(test == "test" && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
            prop_assert!(order["track_number"].as_str().unwrap().starts_with("WBIL"));
        }
    }

    #[test]
    fn sums_add_up(seed: u64) {
        let generator = Generator::new(seed, shares(["0", "0.4", "0", "0"]), START);
        for made in generator.take(200) {
            let order: Value = serde_json::from_slice(&made.value).unwrap();
            let number = |value: &Value| value.as_i64().unwrap();
            let items = order["items"].as_array().unwrap();
            prop_assert!((1..=5).contains(&items.len()));
            for item in items {
                let (price, sale) = (number(&item["price"]), number(&item["sale"]));
                prop_assert!(price > 0 && (0..=99).contains(&sale));
                prop_assert_eq!(number(&item["total_price"]), price * (100 - sale) / 100);
            }
            let payment = &order["payment"];
            let goods: i64 = items.iter().map(|item| number(&item["total_price"])).sum();
            prop_assert_eq!(number(&payment["goods_total"]), goods);
            prop_assert_eq!(
                number(&payment["amount"]),
                goods + number(&payment["delivery_cost"]) + number(&payment["custom_fee"])
            );
        }
    }

    #[test]
    fn shares_are_kept(seed: u64) {
        let generator = Generator::new(seed, shares(["0.05", "0.1", "0.2", "0.15"]), START);
        let mut counts = ByKind::new();
        for made in generator.take(5_000) {
            *counts.entry(made.kind).or_default() += 1;
        }
        for (kind, share) in [
            (Kind::Duplicate, 0.05), (Kind::Changed, 0.1), (Kind::Invalid, 0.2), (Kind::Unparsable, 0.15), (Kind::New, 0.5),
        ] {
            // Six standard deviations: chance alone never fails this.
            let expected = 5_000.0 * share;
            let bound = 6.0 * (expected * (1.0_f64 - share)).sqrt();
            prop_assert!((counts[&kind] as f64 - expected).abs() < bound, "{:?} {:?}", kind, counts);
        }
    }
}
