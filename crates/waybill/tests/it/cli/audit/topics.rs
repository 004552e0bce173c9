//! The audit of topics that Kafka, producers and operators have changed: compaction, producers'
//! clocks, transactions, added partitions, deleted records, groups without offsets.

use std::{collections::BTreeSet, time::Instant};

use serde_json::Value;
use testkit::{Received, TestEnvironment, TransactionEnd, shared, wait_until};

use super::{assert_broken, assert_holds, assert_holds_with, audit, audit_with};
use crate::support::{keyless_event, order, record, run_sql, send_keyed_status, status_event};

const VALID: &str = "every valid record is stored, or superseded by a later one";
const KNOWN: &str = "every stored order comes from a record";
const RECORDED: &str = "every status event is recorded with its fields";
const CREATED: &str = "created is published for every stored order";

fn find<'a>(checks: &'a [Value], invariant: &str) -> &'a Value {
    let check = checks.iter().find(|check| check["invariant"] == invariant);
    check.unwrap_or_else(|| panic!("no check {invariant} in {checks:#?}"))
}

/// Asserts that a check was kept, and that this number was not checked, for a reason with these words.
fn assert_partly_checked(checks: &[Value], invariant: &str, not_checked: u64, words: &str) {
    let check = find(checks, invariant);
    assert_eq!(check["verdict"], "kept", "{check}");
    assert_eq!(check["not_checked"], not_checked, "{check}");
    let reasons = check["reasons"].as_array().unwrap();
    assert!(reasons.iter().any(|it| it["reason"].as_str().unwrap().contains(words)), "{check}");
}

async fn send_order(env: &TestEnvironment, partition: i32, uid: &str, amount: i64) -> i64 {
    let (key, value) = record(&order(uid, amount));
    env.send(Some(partition), Some(&key), Some(&value)).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_and_tombstones_break_nothing() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    for topic in [env.orders_topic(), env.status_topic()] {
        let options = [
            ("cleanup.policy", "compact"),
            ("message.timestamp.type", "LogAppendTime"),
            ("segment.ms", "100"),
            ("min.cleanable.dirty.ratio", "0.0"),
            ("max.compaction.lag.ms", "100"),
            ("delete.retention.ms", "0"),
        ];
        env.alter_topic(&topic, &options).await;
    }
    let orders = env.start(&[]).await;
    let couriers = env.start_couriers(&database, &["--dispatch-sweep", "200ms"]).await;
    for (uid, amount) in [("replaced", 1), ("replaced", 2), ("removed", 1)] {
        send_order(&env, 0, uid, amount).await;
    }
    // A tombstone: compaction removes the records of its key, and later the tombstone itself.
    env.send(Some(0), Some(b"removed"), None).await;
    env.wait_until_drained().await;
    send_keyed_status(&env, "replaced", "completed").await;
    send_keyed_status(&env, "replaced", "cooking").await;
    env.wait_until_status_drained().await;
    env.wait_until_couriers_drained().await;
    let events = env.read_all(&env.status_topic()).await;
    // The last segment of a partition is never compacted, and a record begins a new one only after
    // `segment.ms`.
    let last = Instant::now();
    wait_until("the segments to be old enough", async || last.elapsed().as_millis() > 300).await;
    for partition in events.iter().map(|event| event.partition).collect::<BTreeSet<_>>() {
        let event = status_event("replaced", "pending");
        env.send_status_to(partition, Some("filler"), &event).await;
    }
    send_order(&env, 0, "filler", 1).await;
    wait_until("both topics to be compacted", async || {
        let orders = env.read_all(&env.orders_topic()).await;
        let is_removed =
            |it: &Received| it.key.as_deref() == Some(b"removed") && it.value.is_some();
        let events = env.read_all(&env.status_topic()).await;
        let is_completed = |it: &Received| {
            String::from_utf8_lossy(it.value.as_deref().unwrap_or_default()).contains("completed")
        };
        !orders.iter().any(is_removed) && !events.iter().any(is_completed)
    })
    .await;
    env.wait_until_drained().await;
    env.wait_until_status_drained().await;
    env.wait_until_couriers_drained().await;

    let checks = assert_holds(&env, &database).await;

    for invariant in [VALID, KNOWN, RECORDED] {
        let check = find(&checks, invariant);
        assert!(check["not_checked"].as_u64() > Some(0), "{check}");
        let reasons = check["reasons"].as_array().unwrap();
        let names_compaction = |it: &Value| it["reason"].as_str().unwrap().contains("compaction");
        assert!(reasons.iter().any(names_compaction), "{check}");
    }
    let (strict, _) = audit_with(&env, &database, &["--strict"]).await;
    assert_eq!(strict.status.code(), Some(1));
    // What is left is still compared.
    run_sql(
        &mut env.administrator().await,
        "UPDATE orders.orders SET locale = 'x' WHERE order_uid = 'replaced'",
    )
    .await;
    assert_broken(&env, &database, 1, "replaced: /locale").await;
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_clocks_hide_no_row() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    for topic in [env.orders_topic(), env.status_topic()] {
        let options = [
            ("message.timestamp.type", "CreateTime"),
            ("message.timestamp.after.max.ms", "9223372036854775807"),
            ("max.message.bytes", "4194304"),
        ];
        env.alter_topic(&topic, &options).await;
    }
    let orders = env.start(&[]).await;
    let couriers = env.start_couriers(&database, &["--dispatch-sweep", "200ms"]).await;
    let now = time::OffsetDateTime::now_utc().unix_timestamp() * 1_000;
    let hour = 3_600_000;
    // One key, so that all records are in one partition; the first clock is ahead.
    for (number, (uid, at)) in (1..).zip([
        ("ahead", now + hour),
        ("behind", now - hour),
        ("negative", -5),
        ("microseconds", now * 1_000),
        ("twice", now + hour),
        ("twice", now - hour),
    ]) {
        let (_, value) = record(&order(uid, number));
        env.send_stamped(&env.orders_topic(), Some(b"key"), &value, at).await;
        let event = status_event(uid, "cooking");
        env.send_stamped(&env.status_topic(), Some(b"key"), &event, at).await;
    }
    env.wait_until_drained().await;
    env.wait_until_status_drained().await;
    env.wait_until_couriers_drained().await;
    let checks = assert_holds_with(&env, &database, &["--strict"]).await;
    assert_eq!(find(&checks, VALID)["checked"], 6);
    assert_eq!(find(&checks, KNOWN)["checked"], 5);

    let mut stored = env.administrator().await;
    let shift = |by| {
        format!(
            "UPDATE orders.orders SET source_offset = source_offset + {by} WHERE order_uid = 'behind'"
        )
    };
    run_sql(&mut stored, &shift(1_000)).await;
    assert_broken(&env, &database, 1, "behind").await;

    run_sql(&mut stored, &shift(-1_000)).await;
    let mut delivered = database.administrator().await;
    let rank =
        |rank| format!("UPDATE couriers.order_states SET rank = {rank} WHERE order_id = 'behind'");
    run_sql(&mut delivered, &rank(4)).await;
    assert_broken(&env, &database, 1, "behind").await;

    run_sql(&mut delivered, &rank(3)).await;
    assert_holds(&env, &database).await;
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_and_added_partitions_are_checked() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let orders = env.start(&[]).await;
    let couriers = env.start_couriers(&database, &["--dispatch-sweep", "200ms"]).await;
    let committed = record(&order("committed", 1));
    env.send_in_transaction(0, &committed, TransactionEnd::Commit).await;
    env.send_in_transaction(0, &record(&order("aborted", 1)), TransactionEnd::Abort).await;
    send_order(&env, 1, "moved", 1).await;
    env.wait_until_drained().await;
    send_keyed_status(&env, "moved", "cooking").await;
    env.wait_until_status_drained().await;
    env.add_partitions(&env.orders_topic(), 9).await;
    env.add_partitions(&env.status_topic(), 9).await;
    // Records of one order in two partitions, of both topics.
    send_order(&env, 8, "moved", 2).await;
    send_order(&env, 8, "new", 1).await;
    env.send_status_to(8, Some("moved"), &status_event("moved", "completed")).await;
    wait_until("the added partitions to be read", async || {
        env.lag().await == 0 && env.couriers_lag().await == 0
    })
    .await;
    env.wait_until_status_drained().await;
    env.wait_until_couriers_drained().await;

    let checks = assert_holds_with(&env, &database, &["--strict"]).await;

    assert_eq!(find(&checks, VALID)["checked"], 4);
    assert_eq!(find(&checks, KNOWN)["checked"], 3);
    assert_eq!(find(&checks, CREATED)["checked"], 3);
    // A row of the aborted record: its offset has no record.
    let mut stored = env.administrator().await;
    run_sql(
        &mut stored,
        "INSERT INTO orders.orders SELECT row.* FROM orders.orders AS original, LATERAL \
             jsonb_populate_record(original, jsonb_build_object('order_uid', 'aborted', \
                 'source_offset', original.source_offset + 2)) AS row \
         WHERE original.order_uid = 'committed'",
    )
    .await;
    assert_broken(&env, &database, 1, "aborted").await;
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_nothing_fails_and_of_a_part_says_so() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let orders = env.start(&[]).await;
    let couriers = env.start_couriers(&database, &["--dispatch-sweep", "200ms"]).await;
    for number in 0..6 {
        send_order(&env, number % 2, &format!("order-{number}"), 1).await;
    }
    env.send(Some(0), None, Some(b"no order")).await;
    env.wait_until_drained().await;
    env.send_all_to(&env.status_topic(), [keyless_event("order-0", "cooking")]).await;
    env.wait_until_status_drained().await;
    env.wait_until_couriers_drained().await;
    assert_holds_with(&env, &database, &["--strict"]).await;

    // A group that does not exist.
    let other = env.in_another_group();
    let (output, checks) = audit(&other, &database).await;
    assert_eq!(output.status.code(), Some(1), "{checks:#?}");
    for invariant in [VALID, RECORDED, CREATED] {
        let check = find(&checks, invariant);
        assert_eq!(check["verdict"], "not_checked", "{check}");
        assert_eq!(check["checked"], 0, "{check}");
        let reason = check["reasons"][0]["reason"].as_str().unwrap();
        assert!(reason.contains("-again") && reason.contains("no offset"), "{check}");
    }
    assert_eq!(find(&checks, VALID)["not_checked"], 7);

    // Groups with offsets of some partitions only.
    other.commit(0, 4).await;
    let all = env.read_all(&env.status_topic()).await;
    let partition = all[0].partition;
    let count = all.iter().filter(|it| it.partition == partition).count();
    let next = i64::try_from(count).unwrap();
    other.commit_for("status", &env.status_topic(), partition, next).await;
    other.commit_for("couriers", &env.status_topic(), partition, next).await;
    let (_, checks) = audit(&other, &database).await;
    assert_partly_checked(&checks, VALID, 3, "no offset");
    let others = (all.len() - count) as u64;
    assert_eq!(find(&checks, RECORDED)["not_checked"], others);
    // The events of this group would have another source, and it would have recorded those of the
    // first group.
    assert_eq!(find(&checks, CREATED)["verdict"], "broken");

    // Deleted records: first a part of them, then all.
    env.delete_records(0, 2).await;
    let checks = assert_holds(&env, &database).await;
    assert_partly_checked(&checks, VALID, 2, "deleted");
    assert_partly_checked(&checks, KNOWN, 2, "deleted");
    let (strict, _) = audit_with(&env, &database, &["--strict"]).await;
    assert_eq!(strict.status.code(), Some(1));

    for partition in [0, 1] {
        env.delete_records(partition, -1).await;
    }
    let (output, checks) = audit(&env, &database).await;
    assert_eq!(output.status.code(), Some(1), "{checks:#?}");
    for (invariant, not_checked) in [(VALID, 7), (KNOWN, 6)] {
        let check = find(&checks, invariant);
        assert_eq!(check["verdict"], "not_checked", "{check}");
        assert_eq!(check["not_checked"], not_checked, "{check}");
    }
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}
