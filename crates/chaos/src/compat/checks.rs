//! The checks after a run: the databases and the dead-letter topic contain what was sent.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use testkit::{CourierDatabase, TestEnvironment, eventually, wait_until};

use super::{print_line, senders::Sent};

/// The rules of the courier service that hold at every moment.
const COURIER_RULES: &str = include_str!("../../../couriers/tests/it/invariants.sql");

const COURIERS: i64 = 150;

/// The results of all checks.
#[derive(Default)]
pub(super) struct Checks {
    count: usize,
    failed: usize,
}

impl Checks {
    /// Adds a check of `checked` things, of which `broken` are wrong.
    pub(super) fn add(&mut self, what: &str, checked: usize, broken: usize) {
        self.count += 1;
        self.failed += usize::from(broken > 0);
        let verdict = if broken == 0 { "holds " } else { "BROKEN" };
        print_line(&format!("{verdict} {what}: {checked} checked, {broken} broken"));
    }

    /// Adds a check that two maps are equal.
    fn equal<K: Ord, V: PartialEq>(
        &mut self,
        what: &str,
        expected: &BTreeMap<K, V>,
        found: &BTreeMap<K, V>,
    ) {
        let wrong = expected.iter().filter(|(key, value)| found.get(key) != Some(value)).count();
        let foreign = found.keys().filter(|key| !expected.contains_key(key)).count();
        self.add(what, expected.len(), wrong + foreign);
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn failed(&self) -> usize {
        self.failed
    }

    /// Checks that each valid order is stored with its content, and nothing else.
    pub(super) async fn orders(&mut self, env: &TestEnvironment, sent: &Sent) -> Result<()> {
        let stored: Vec<(String, i64, i32)> =
            sqlx::query_as("SELECT order_uid, payment_amount, version FROM orders.orders")
                .fetch_all(&env.pool)
                .await?;
        let replaced = stored.iter().filter(|(_, _, version)| *version != 1).count();
        self.add("no order is replaced by itself", stored.len(), replaced);
        let stored = stored.into_iter().map(|(uid, amount, _)| (uid, amount)).collect();
        self.equal("each valid order is stored once", &sent.amounts, &stored);
        Ok(())
    }

    /// Checks that each invalid record is stored once with its reason, and sent to the dead-letter
    /// topic.
    pub(super) async fn rejections(
        &mut self,
        env: &TestEnvironment,
        couriers: &CourierDatabase,
        sent: &Sent,
    ) -> Result<()> {
        for (what, schema, pool, expected) in [
            ("each invalid record is rejected once", "orders", &env.pool, &sent.rejected),
            (
                "each invalid event is rejected once",
                "couriers",
                &couriers.pool,
                &sent.rejected_events,
            ),
        ] {
            let statement =
                format!("SELECT \"partition\", \"offset\", reason FROM {schema}.rejected_records");
            let stored: Vec<(i32, i64, String)> =
                sqlx::query_as(sqlx::AssertSqlSafe(statement)).fetch_all(pool).await?;
            let stored =
                stored.into_iter().map(|(partition, offset, reason)| ((partition, offset), reason));
            let expected = expected
                .iter()
                .map(|(position, reason)| (*position, (*reason).to_owned()))
                .collect();
            self.equal(what, &expected, &stored.collect());
        }
        let letters = env.read_all(&env.dead_letter_topic()).await;
        let position = |name: &str, headers: &BTreeMap<String, String>| {
            headers.get(name).and_then(|text| text.parse::<i64>().ok())
        };
        let sent_letters: BTreeSet<_> = letters
            .iter()
            .map(|letter| {
                let partition = position("__connect.errors.partition", &letter.headers);
                (partition, position("__connect.errors.offset", &letter.headers))
            })
            .collect();
        let is_missing = |(partition, offset): &&(i32, i64)| {
            !sent_letters.contains(&(Some(i64::from(*partition)), Some(*offset)))
        };
        let missing = sent.rejected.keys().filter(is_missing).count();
        self.add("each invalid record has a dead letter", sent.rejected.len(), missing);
        Ok(())
    }

    /// Checks that each event of `service-order` is recorded once, and the status that follows.
    pub(super) async fn events(&mut self, env: &TestEnvironment, sent: &Sent) -> Result<()> {
        let recorded: Vec<(String, i64)> = sqlx::query_as(
            "SELECT order_uid, count(*) FROM orders.order_events WHERE order_uid NOT LIKE 'compat-%' \
             GROUP BY order_uid",
        )
        .fetch_all(&env.pool)
        .await?;
        let expected = sent.foreign.iter().map(|(id, (_, events))| (id.clone(), *events as i64));
        self.equal(
            "each event of service-order is recorded once",
            &expected.collect(),
            &recorded.into_iter().collect(),
        );
        let statuses: Vec<(String, i16)> = sqlx::query_as(
            "SELECT order_uid, rank FROM orders.order_status WHERE order_uid NOT LIKE 'compat-%'",
        )
        .fetch_all(&env.pool)
        .await?;
        self.equal(
            "the order service knows the last status",
            &ranks(sent),
            &statuses.into_iter().collect(),
        );
        Ok(())
    }

    /// Checks the states of all orders in the courier service, and the rules of deliveries.
    pub(super) async fn deliveries(
        &mut self,
        couriers: &CourierDatabase,
        sent: &Sent,
    ) -> Result<()> {
        let states: Vec<(String, i16)> =
            sqlx::query_as("SELECT order_id, rank FROM couriers.order_states")
                .fetch_all(&couriers.pool)
                .await?;
        let own = sent.amounts.keys().map(|id| (id.clone(), 0));
        let expected = ranks(sent).into_iter().chain(own).collect();
        self.equal(
            "the courier service knows each order and its status",
            &expected,
            &states.into_iter().collect(),
        );
        // Dispatch may run at this moment: it assigns an order until every courier carries one.
        wait_until("every courier to carry an order", async || {
            couriers.count("couriers.active_deliveries").await
                == COURIERS.min(sent.amounts.len() as i64)
        })
        .await;
        let rules: Vec<(String, i64)> =
            sqlx::query_as(COURIER_RULES).fetch_all(&couriers.pool).await?;
        for (rule, broken) in rules {
            self.add(&format!("never: {rule}"), sent.foreign.len(), usize::try_from(broken)?);
        }
        Ok(())
    }
}

/// Returns the rank of the last status of each order of `service-order`.
fn ranks(sent: &Sent) -> BTreeMap<String, i16> {
    sent.foreign.iter().map(|(id, (rank, _))| (id.clone(), *rank)).collect()
}

/// Waits until a number of orders is stored; while the database does not answer, too.
pub(super) async fn wait_for_orders(env: &TestEnvironment, count: usize) {
    eventually("orders to be stored", async || {
        let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM orders.orders")
            .fetch_one(&env.pool)
            .await
            .ok()?;
        usize::try_from(stored).ok().filter(|stored| *stored >= count)
    })
    .await;
}

pub(super) async fn insert_couriers(database: &CourierDatabase) -> Result<()> {
    sqlx::query(
        "INSERT INTO couriers.couriers (name, phone, transport_type, status) \
         SELECT 'c', '+7' || lpad(n::text, 10, '0'), 'car', 'available' FROM generate_series(1, $1) AS n",
    )
    .bind(COURIERS)
    .execute(&database.pool)
    .await?;
    Ok(())
}
