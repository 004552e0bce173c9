//! Orders and invalid records that were sent, and checks of the result.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use testkit::{Service, TestEnvironment};

use super::{order, record};

/// The records that a test has sent to the order service.
#[derive(Clone, Default)]
pub(crate) struct Sent {
    /// The valid orders by their ids.
    pub orders: BTreeMap<String, Value>,
    /// The number of invalid records.
    pub invalid: usize,
}

impl Sent {
    /// Adds `count` orders from number `first` on and returns their records: every seventh order is
    /// sent twice, and an invalid record follows every tenth.
    pub(crate) fn mixed(&mut self, first: usize, count: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut records = Vec::new();
        for number in first..first + count {
            let uid = format!("order-{number:06}");
            let order = order(&uid, number as i64);
            records.push(record(&order));
            if number % 7 == 0 {
                records.push(record(&order));
            }
            if number % 10 == 0 {
                let invalid = format!("{{\"bad\": {number}").into_bytes();
                records.push((uid.clone().into_bytes(), invalid));
                self.invalid += 1;
            }
            self.orders.insert(uid, order);
        }
        records
    }

    /// Waits until all offsets are committed, and asserts that each valid order is stored exactly
    /// once and field for field, each rejection is stored exactly once and is at least once on the
    /// dead-letter topic, and each `created` event was published at least once.
    pub(crate) async fn assert_settled(&self, env: &TestEnvironment) {
        env.wait_until_drained().await;
        let service = env.start(&[]).await;
        self.assert_settled_at(env, &service).await;
        service.stop().await.unwrap();
    }

    /// Asserts the same of a service that runs and has committed all offsets.
    pub(crate) async fn assert_settled_at(&self, env: &TestEnvironment, service: &Service) {
        assert_eq!(env.count("orders.orders").await as usize, self.orders.len());
        assert_eq!(
            env.count("orders.orders WHERE version > 1").await,
            0,
            "a repeated record makes no new version"
        );
        assert_eq!(env.count("orders.rejected_records").await as usize, self.invalid);
        for (uid, order) in &self.orders {
            let answer = service.get(&format!("/order/{uid}")).await;
            assert_eq!(answer.status(), 200, "{uid}");
            assert_eq!(&answer.json::<Value>().await.unwrap(), order);
        }

        let created: BTreeSet<String> = env
            .read_all(&env.status_topic())
            .await
            .into_iter()
            .map(|event| event.headers["ce_id"].clone())
            .collect();
        let wanted: BTreeSet<String> =
            self.orders.keys().map(|uid| format!("{uid}:1:created")).collect();
        assert_eq!(created, wanted);

        let letters: BTreeSet<_> = env
            .read_all(&env.dead_letter_topic())
            .await
            .into_iter()
            .map(|mut letter| {
                let place = ["partition", "offset"]
                    .map(|part| letter.headers.remove(&format!("__connect.errors.{part}")));
                (place, letter.value)
            })
            .collect();
        assert_eq!(letters.len(), self.invalid);
    }
}
