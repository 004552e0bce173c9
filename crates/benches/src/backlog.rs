//! A backlog: many orders on Kafka before a consumer starts. The same number gives the same order.

use std::{ops::Range, time::Duration};

use anyhow::Context;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
};
use serde_json::{Value, json};
use testkit::{TestEnvironment, order_json::SAMPLE};

/// The number of records that are given to the producer at once. Its queue can contain more.
const CHUNK: u64 = 20_000;

/// Sends the orders with these numbers to the orders topic, with their ids as keys. If `bad_one_in`
/// is given, one in that many is invalid.
pub(crate) async fn fill(
    env: &TestEnvironment,
    orders: Range<u64>,
    bad_one_in: Option<u64>,
) -> anyhow::Result<()> {
    keep_all_records(env).await?;
    for first in orders.clone().step_by(CHUNK as usize) {
        let numbers = first..orders.end.min(first + CHUNK);
        let mut chunk = records(numbers.clone())?;
        for (number, (_, value)) in numbers.zip(&mut chunk) {
            if bad_one_in.is_some_and(|bad_one_in| number % bad_one_in == 0) {
                make_invalid(value, number);
            }
        }
        env.send_all(chunk).await;
    }
    Ok(())
}

/// Returns the keys and values of the orders with these numbers. All are valid.
pub(crate) fn records(numbers: Range<u64>) -> anyhow::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let sample: Value = serde_json::from_str(SAMPLE).context("reading the sample order")?;
    Ok(numbers.map(|number| record(&sample, number)).collect())
}

/// Makes a value invalid: alternately by a violation of a rule and by its syntax.
fn make_invalid(value: &mut Vec<u8>, number: u64) {
    if (number / 2).is_multiple_of(2) {
        value.truncate(value.len() / 2);
    } else {
        let currency = value.windows(5).position(|five| five == b"\"USD\"");
        let currency = currency.expect("the sample order has the currency USD");
        value[currency + 1..currency + 4].copy_from_slice(b"???");
    }
}

/// Turns off the small size limit of the local Kafka's topics, so that the backlog stays complete.
async fn keep_all_records(env: &TestEnvironment) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &env.servers.kafka).create()?;
    let topic = env.orders_topic();
    // A setting that is not listed gets the default of the broker, so the timestamps are listed
    // too.
    let config = AlterConfig::new(ResourceSpecifier::Topic(&topic))
        .set("retention.bytes", "-1")
        .set("message.timestamp.type", "LogAppendTime");
    let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(10)));
    for altered in admin.alter_configs([&config], &options).await? {
        altered.map_err(|(_, code)| code).with_context(|| format!("configuring {topic}"))?;
    }
    Ok(())
}

/// Returns the key and the value of one order: the sample order with other ids, names and sums, and
/// with one or two items.
fn record(sample: &Value, number: u64) -> (Vec<u8>, Vec<u8>) {
    const NAMES: [&str; 4] = ["Anna Petrova", "Boris Levin", "Clara Weiss", "Denis Orlov"];
    const CITIES: [&str; 4] = ["Kazan", "Haifa", "Almaty", "Kiryat Mozkin"];
    let mut random = StdRng::seed_from_u64(number);
    let uid = format!("{:016x}test", random.random::<u64>());
    let track = format!("WBILM{number:09}");
    let mut order = sample.clone();
    order["order_uid"] = json!(uid);
    order["track_number"] = json!(track);
    order["customer_id"] = json!(format!("customer-{}", random.random_range(0..50_000_u64)));
    order["shardkey"] = json!(random.random_range(0..10_u64).to_string());
    order["delivery"]["name"] = json!(NAMES[random.random_range(0..4)]);
    order["delivery"]["city"] = json!(CITIES[random.random_range(0..4)]);
    order["delivery"]["phone"] =
        json!(format!("+972{:07}", random.random_range(0..10_000_000_u64)));
    let mut goods = 0;
    let items: Vec<Value> = (0..=random.random_range(0..2_u64))
        .map(|_| {
            let mut item = sample["items"][0].clone();
            let price = random.random_range(100..5_100_u64);
            goods += price * 7 / 10;
            item["chrt_id"] = json!(random.random_range(0..10_000_000_u64));
            item["track_number"] = json!(track);
            item["rid"] = json!(format!("{:016x}test", random.random::<u64>()));
            item["price"] = json!(price);
            item["total_price"] = json!(price * 7 / 10);
            item
        })
        .collect();
    order["items"] = Value::Array(items);
    order["payment"]["transaction"] = json!(uid);
    order["payment"]["goods_total"] = json!(goods);
    order["payment"]["amount"] = json!(goods + 1_500);
    (uid.into_bytes(), order.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn orders_differ_are_valid_and_can_be_repeated() {
        let sample = serde_json::from_str(SAMPLE).unwrap();
        let mut uids = HashSet::new();
        for number in 0..10_000 {
            let (key, value) = record(&sample, number);
            assert_eq!(record(&sample, number), (key.clone(), value.clone()));
            assert!(uids.insert(key.clone()), "{number} repeats an id");
            assert!((700..1_300).contains(&value.len()), "{} bytes", value.len());
            let order: Value = serde_json::from_slice(&value).unwrap();
            assert_eq!(order["order_uid"].as_str().unwrap().as_bytes(), key);
            let items = order["items"].as_array().unwrap();
            let goods: i64 = items.iter().map(|i| i["total_price"].as_i64().unwrap()).sum();
            assert_eq!(order["payment"]["goods_total"], goods);
            assert_eq!(order["payment"]["amount"], goods + 1_500);
        }
    }
}
