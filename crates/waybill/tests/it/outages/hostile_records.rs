//! Records that other programs may send, by mistake or on purpose: none of them stops a partition.

use serde_json::{Value, json};
use testkit::{TestEnvironment, TransactionEnd, shared, wait_until};
use tokio_util::sync::CancellationToken;

use crate::support::{insert_couriers, metric, order, record, status_event, wait_for_delivery};

/// 9999-12-31T23:59:59.999Z, in milliseconds since 1970.
const LAST_MS: i64 = 253_402_300_799_999;

async fn assert_stored(env: &TestEnvironment, uid: &str) {
    let stored = format!("orders.orders WHERE order_uid = '{uid}'");
    assert_eq!(env.count(&stored).await, 1, "{uid} is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_with_unreadable_fields_are_recorded() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let database = env.courier_database().await;
    let couriers = env.start_couriers(&database, &[]).await;
    insert_couriers(&database.pool, 50).await;

    for (id, event) in [
        (
            "late",
            r#"{"order_id":"late","status":"created","created_at":"9999-12-31T23:59:59-00:01"}"#,
        ),
        (
            "early",
            r#"{"order_id":"early","status":"created","created_at":"0000-01-01T00:00:00+00:01"}"#,
        ),
        (
            "spaced",
            r#"{"order_id":"spaced","status":"CREATED","created_at":"2025-08-06 12:00:00"}"#,
        ),
        ("epoch", r#"{"order_id":"epoch","status":"Created","created_at":1754481600,"version":0}"#),
        ("empty", r#"{"order_id":"empty","status":"created","created_at":"","version":"seven"}"#),
        ("42", r#"{"order_id":42,"status":"created","x":1,"x":2}"#),
    ] {
        env.send_status(None, event.as_bytes()).await;
        wait_for_delivery(&couriers, id, "assigned").await;
    }
    env.wait_until_status_drained().await;

    assert_eq!(env.count("orders.order_status WHERE rank = 0").await, 6);
    assert_eq!(env.count("orders.order_events WHERE told_at IS NULL").await, 6);
    assert_eq!(service.json("/order/42/status").await["status"], "created");
    couriers.stop().await.unwrap();
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_replay_headers_hold_up_no_record() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let database = env.courier_database().await;
    let couriers = env.start_couriers(&database, &[]).await;
    insert_couriers(&database.pool, 50).await;
    let long = format!("{}:0:1", "x".repeat(100_000));
    let forged: &[&[(&str, &str)]] = &[
        &[("waybill.replay.of", "\0:1:2")],
        &[("waybill.replay.of", "orders:0:1"), ("waybill.replay.of.timestamp", "-250000000000000")],
        &[
            ("waybill.replay.of", "orders:0:1"),
            ("waybill.replay.of.timestamp", "9223372036854775807"),
        ],
        &[("waybill.replay.of", "orders:-1:-1")],
        &[("waybill.replay.of", &long)],
        &[("waybill.replay.of", "x"), ("traceparent", "\0")],
        &[("waybill.replay.of", "")],
    ];

    for (number, headers) in forged.iter().enumerate() {
        let uid = format!("forged-{number}");
        env.send_with_headers(Some(order(&uid, 1).to_string().as_bytes()), headers).await;
        env.send_status_with_headers(&status_event(&format!("event-{number}"), "created"), headers)
            .await;
        wait_for_delivery(&couriers, &format!("event-{number}"), "assigned").await;
    }
    env.wait_until_drained().await;

    for number in 0..forged.len() {
        assert_stored(&env, &format!("forged-{number}")).await;
    }
    let dropped = "waybill_replay_notes_dropped_total";
    assert_eq!(metric(&service, dropped).await, forged.len() as f64);
    assert_eq!(metric(&couriers, dropped).await, forged.len() as f64);
    couriers.stop().await.unwrap();
    service.stop().await.unwrap();
}

/// The greatest timestamp wins, in whatever batches the records come.
#[tokio::test(flavor = "multi_thread")]
async fn timestamps_of_any_size_are_clamped() {
    let env = TestEnvironment::new(shared()).await;
    for topic in [env.orders_topic(), env.status_topic()] {
        let options = [
            ("message.timestamp.type", "CreateTime"),
            ("message.timestamp.after.max.ms", "9223372036854775807"),
            ("max.message.bytes", "4194304"),
        ];
        env.alter_topic(&topic, &options).await;
    }
    let service = env.start(&["--batch-age-ms", "20"]).await;
    let database = env.courier_database().await;
    let couriers = env.start_couriers(&database, &[]).await;
    insert_couriers(&database.pool, 50).await;
    let timestamps = [-250_000_000_000_000, -5, 1_754_481_600_000_000, LAST_MS, LAST_MS + 1];

    for (number, timestamp_ms) in timestamps.into_iter().enumerate() {
        let (key, value) = record(&order(&format!("order-{number}"), 1));
        env.send_stamped(&env.orders_topic(), Some(&key), &value, timestamp_ms).await;
        let event = status_event(&format!("event-{number}"), "created");
        env.send_stamped(&env.status_topic(), None, &event, timestamp_ms).await;
        wait_for_delivery(&couriers, &format!("event-{number}"), "assigned").await;
    }
    // The second record of the same order was sent later, with a lower timestamp.
    for (amount, timestamp_ms) in [(1, LAST_MS + 7_000), (2, LAST_MS + 5)] {
        let (key, value) = record(&order("same", amount));
        env.send_stamped(&env.orders_topic(), Some(&key), &value, timestamp_ms).await;
    }
    let (key, value) = record(&order("loses", 1));
    env.send_stamped(&env.orders_topic(), Some(&key), &value, 2_000).await;
    env.wait_until_drained().await;
    let (key, value) = record(&order("loses", 2));
    env.send_stamped(&env.orders_topic(), Some(&key), &value, 1_000).await;
    env.wait_until_drained().await;
    env.wait_until_status_drained().await;

    let stored: Vec<(String, i64)> = sqlx::query_as(
        "SELECT order_uid, (extract(epoch FROM source_timestamp) * 1000)::bigint \
         FROM orders.orders WHERE order_uid LIKE 'order-%' ORDER BY order_uid",
    )
    .fetch_all(&env.pool)
    .await
    .unwrap();
    let clamped = timestamps.map(|timestamp_ms| timestamp_ms.clamp(0, LAST_MS));
    assert_eq!(stored.iter().map(|(_, at)| *at).collect::<Vec<_>>(), clamped);
    // Both are clamped to the same time, so the later offset wins.
    assert_eq!(service.json("/order/same").await, order("same", 2));
    assert_eq!(service.json("/order/loses").await, order("loses", 1));
    assert_eq!(metric(&service, "waybill_orders_superseded_total").await, 1.0);
    couriers.stop().await.unwrap();
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_sent_in_a_form_that_the_topic_accepts() {
    let env = TestEnvironment::new(shared()).await;
    let letters = env.dead_letter_topic();
    let options = [("cleanup.policy", "compact"), ("max.message.bytes", "20000")];
    env.alter_topic(&letters, &options).await;
    let noise = |length: usize| (0..length).map(|_| rand::random()).collect::<Vec<u8>>();
    let service = env.start(&[]).await;

    // A compacted topic accepts no record without a key.
    let without_key = env.send(Some(0), None, Some(b"{")).await;
    let large_value = env.send(Some(0), Some(b"key"), Some(&noise(50_000))).await;
    let large_key = env.send(Some(0), Some(&noise(50_000)), Some(b"{")).await;
    env.wait_until_drained().await;

    let received = env.read_all(&letters).await;
    let letter = |(partition, offset): (i32, i64)| {
        let is_it = |headers: &std::collections::BTreeMap<String, String>| {
            headers["__connect.errors.partition"] == partition.to_string()
                && headers["__connect.errors.offset"] == offset.to_string()
        };
        received.iter().find(|letter| is_it(&letter.headers)).expect("the dead letter is sent")
    };
    let position = |(partition, offset)| format!("{}:{partition}:{offset}", env.orders_topic());
    let text = |bytes: &Option<Vec<u8>>| String::from_utf8(bytes.clone().unwrap()).unwrap();
    let whole = letter(without_key);
    assert_eq!((text(&whole.key), text(&whole.value)), (position(without_key), "{".to_owned()));
    let without_value = letter(large_value);
    assert_eq!((text(&without_value.key), text(&without_value.value)), ("key".into(), "".into()));
    let position_only = letter(large_key);
    assert_eq!(text(&position_only.key), position(large_key));
    assert!(!whole.headers.contains_key("waybill.truncated"));
    for cut in [without_value, position_only] {
        assert_eq!(cut.headers["waybill.truncated"], "true");
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_keeps_the_records_own_headers() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    let headers = [
        ("tenant", "north"),
        ("__connect.errors.topic", "forged"),
        ("waybill.error.reason", "forged"),
    ];
    env.send_with_headers(Some(b"{"), &headers).await;
    env.wait_until_drained().await;

    let letters = env.read_all(&env.dead_letter_topic()).await;
    let [letter] = &letters[..] else { panic!("one letter, not {}", letters.len()) };
    assert_eq!(letter.headers["tenant"], "north");
    assert_eq!(letter.headers["__connect.errors.topic"], env.orders_topic());
    assert_eq!(letter.headers["waybill.error.reason"], "invalid_json");
    service.stop().await.unwrap();
}

/// The broker refuses a request that is larger than the limit of the topic, even if no record is.
#[tokio::test(flavor = "multi_thread")]
async fn events_are_published_once_to_a_topic_with_a_small_limit() {
    let env = TestEnvironment::new(shared()).await;
    env.alter_topic(&env.status_topic(), &[("max.message.bytes", "2000")]).await;
    let orders = (0..400).map(|number| record(&order(&format!("order-{number}"), number)));

    env.send_all(orders).await;
    let service = env.start(&["--batch-age-ms", "500"]).await;
    env.wait_until_drained().await;

    let mut events: Vec<_> =
        env.read_all(&env.status_topic()).await.into_iter().map(|event| event.key).collect();
    let sent = events.len();
    events.sort_unstable();
    events.dedup();
    assert_eq!(events.len(), 400, "an event for every order");
    assert_eq!(sent, 400, "and only records that are not acknowledged are sent again");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_kafka_refuses_blocks_only_its_lane() {
    let env = TestEnvironment::new(shared()).await;
    // No form of a dead letter is smaller.
    env.alter_topic(&env.dead_letter_topic(), &[("max.message.bytes", "100")]).await;
    let service = env.start(&["--lanes", "2"]).await;

    env.send(Some(0), None, Some(b"{")).await;
    let readyz = async || service.get("/readyz").await;
    wait_until("the reason to be reported", async || {
        readyz().await.text().await.unwrap().contains(&env.dead_letter_topic())
    })
    .await;
    assert_eq!(readyz().await.status(), 200);
    assert_eq!(metric(&service, "waybill_blocked_parts").await, 1.0);
    let (key, value) = record(&order("other-lane", 1));
    env.send(Some(1), Some(&key), Some(&value)).await;
    wait_until("the other lane to go on", async || env.count("orders.orders").await == 1).await;
    assert!(env.lag().await > 0, "the offset of the rejected record is not stored");

    env.alter_topic(&env.dead_letter_topic(), &[("max.message.bytes", "4194304")]).await;
    env.wait_until_drained().await;
    assert_eq!(env.read_all(&env.dead_letter_topic()).await.len(), 1);
    wait_until("the report to be withdrawn", async || {
        readyz().await.text().await.unwrap() == "ready\n"
    })
    .await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_waited_for_and_then_reported() {
    let env = TestEnvironment::new(shared()).await;
    let letters = env.dead_letter_topic();
    env.delete_topic(&letters).await;
    let off = ["--kafka-create-topics", "false"];
    let service = env.start(&off).await;
    let error = service.outcome().await.unwrap_err();
    assert!(format!("{error:#}").contains(&format!("Kafka has no topic {letters}")), "{error:#}");

    // A topic that another program creates a moment later is no error.
    let (key, value) = record(&order("uid", 1));
    env.send(Some(0), Some(&key), Some(&value)).await;
    let (service, ()) = tokio::join!(env.start(&off), env.create_large_topic(&letters));
    env.wait_until_drained().await;
    assert_stored(&env, "uid").await;
    service.stop().await.unwrap();
}

/// The client does not unpack such a batch: a few kilobytes become many megabytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_cannot_be_unpacked_is_reported() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let spaces = vec![b' '; 90 << 20];
    let topic = env.orders_topic();

    let (partition, offset) = env.send_compressed(&topic, "zstd", b"large", &spaces).await;
    let place = format!("partition {partition} of the topic {topic}");
    wait_until("the partition to be reported", async || {
        service.get("/readyz").await.text().await.unwrap().contains(&place)
    })
    .await;
    assert!(metric(&service, "waybill_consumer_errors_total").await > 0.0);
    // Other partitions are read.
    let (key, value) = record(&order("other", 1));
    env.send(Some((partition + 1) % 8), Some(&key), Some(&value)).await;
    wait_until("the other partition to be read", async || env.count("orders.orders").await == 1)
        .await;
    service.stop().await.unwrap();

    // As the manual says: the group continues after the batch.
    env.commit(partition, offset + 1).await;
    let (key, value) = record(&order("next", 1));
    env.send(Some(partition), Some(&key), Some(&value)).await;
    let service = env.start(&[]).await;
    env.wait_until_drained().await;
    assert_stored(&env, "next").await;
    service.stop().await.unwrap();
}

/// A transaction ends with a marker, which has an offset but is no record.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_partition_is_committed_past_markers() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    env.send_in_transaction(0, &record(&order("committed", 1)), TransactionEnd::Commit).await;
    env.send_in_transaction(0, &record(&order("aborted", 1)), TransactionEnd::Abort).await;
    env.wait_until_drained().await;
    assert_stored(&env, "committed").await;
    assert_eq!(env.count("orders.orders").await, 1);
    service.stop().await.unwrap();

    // Retention up to the end of the partition: nothing was lost.
    env.delete_records(0, -1).await;
    let service = env.start(&[]).await;
    let (key, value) = record(&order("later", 1));
    env.send(Some(0), Some(&key), Some(&value)).await;
    env.wait_until_drained().await;
    assert_stored(&env, "later").await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn added_partitions_are_read_within_seconds() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    env.add_partitions(&env.orders_topic(), 9).await;

    let (key, value) = record(&order("added", 1));
    env.send(Some(8), Some(&key), Some(&value)).await;
    wait_until("the record of the new partition to be stored", async || {
        env.count("orders.orders").await == 1
    })
    .await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_larger_than_its_topic_accepts_gets_413() {
    let env = TestEnvironment::new(shared()).await;
    env.alter_topic(&env.orders_topic(), &[("max.message.bytes", "20000")]).await;
    let service = env.start(&[]).await;
    let mut large = order("large", 1);
    let noise: String = (0..9_000).map(|_| rand::random_range('\u{4e00}'..'\u{9fff}')).collect();
    large["entry"] = json!(noise[..9_999]);
    large["locale"] = json!(noise[9_999..19_998]);
    large["internal_signature"] = json!(noise[12_000..21_999]);
    let both = json!([order("small", 1), large]).to_string();

    for body in [large.to_string(), both] {
        let answer = crate::support::post(&service, "/order", &body).await;
        assert_eq!(answer.status(), 413);
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["type"], "/docs#record-too-large");
    }
    assert!(env.read_all(&env.orders_topic()).await.is_empty(), "nothing was sent");
    // Many small orders that are together larger than a request may be.
    let many: Vec<_> = (0..100).map(|number| order(&format!("small-{number}"), number)).collect();
    let answer = crate::support::post(&service, "/order", &json!(many).to_string()).await;
    assert_eq!(answer.status(), 202);
    env.wait_until_drained().await;
    assert_eq!(env.count("orders.orders").await, 100);
    service.stop().await.unwrap();
}

/// A panic while records are written is treated like a refusal by the database.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_writing_panics_is_rejected_alone() {
    let env = TestEnvironment::new(shared()).await;
    let commit = async |batch: Vec<u32>| panics::commit(&env.pool, batch).await;

    let parts = commit((0..40).collect()).await.unwrap();
    let mut written: Vec<_> = parts.into_iter().flatten().collect();
    written.sort_unstable();
    let expected: Vec<_> = (0..40).map(|item| (item, item == 13)).collect();
    assert_eq!(written, expected, "only the record that panics is rejected");

    // One record alone is rejected; if all of several records fail, none of them is at fault.
    assert_eq!(commit(vec![13]).await.unwrap(), [[(13, true)]]);
    let error = commit(vec![13, 13, 13]).await.unwrap_err().to_string();
    assert!(error.contains("no record is at fault"), "{error}");
}

/// A panic while a record is parsed is treated like bad data.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_parsing_panics_is_rejected_alone() {
    let env = TestEnvironment::new(shared()).await;
    for text in ["one", "panic", "two"] {
        env.send(Some(0), None, Some(text.as_bytes())).await;
    }

    let (committed, shutdown) = (panics::Committed::default(), CancellationToken::new());
    let consuming = panics::consume(&env, committed.clone(), shutdown.clone());
    wait_until("all records to be committed", async || committed.lock().unwrap().len() == 3).await;
    shutdown.cancel();
    consuming.await.unwrap().unwrap();

    let expected = [("one", false), ("panic", true), ("two", false)];
    assert_eq!(*committed.lock().unwrap(), expected.map(|(text, it)| (text.to_owned(), it)));
    assert_eq!(env.lag().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_ends_if_parsing_panics_for_every_record() {
    let env = TestEnvironment::new(shared()).await;
    for _ in 0..2 {
        env.send(Some(0), None, Some(b"panic")).await;
    }

    let committed = panics::Committed::default();
    let consuming = panics::consume(&env, committed.clone(), CancellationToken::new());
    let error = consuming.await.unwrap().unwrap_err().to_string();

    assert!(error.contains("no record is at fault"), "{error}");
    assert!(committed.lock().unwrap().is_empty(), "nothing is rejected");
}

mod panics {
    use std::sync::{Arc, Mutex};

    use chassis::{
        kafka::{
            batch::BatchPolicy,
            consumer::{self, ConsumerMetrics, Pace, Pipeline, Receipt, Subscription},
            record::Record,
        },
        postgres::transaction::{self, CommitMetrics, Fault, WriteError, Writer},
        process::blocked::Blocked,
    };
    use prometheus_client::registry::Registry;
    use sqlx::{PgConnection, PgPool};
    use testkit::TestEnvironment;
    use tokio::task::JoinHandle;
    use tokio_util::sync::CancellationToken;

    struct Panics;

    /// A number, and whether it was rejected.
    type Item = (u32, bool);

    impl Writer for Panics {
        type Item = Item;
        type Outcome = ();

        async fn write(
            &self,
            transaction: &mut PgConnection,
            part: &[Item],
        ) -> Result<(), WriteError> {
            sqlx::query("SELECT 1").execute(transaction).await?;
            assert!(!part.contains(&(13, false)), "13 panics");
            Ok(())
        }

        fn reject(&self, item: &mut Item, fault: &Fault) {
            assert_eq!(*fault, Fault::Panic);
            item.1 = true;
        }
    }

    pub(super) async fn commit(pool: &PgPool, batch: Vec<u32>) -> anyhow::Result<Vec<Vec<Item>>> {
        let metrics = CommitMetrics::register(&mut Registry::default());
        let batch = batch.into_iter().map(|number| (number, false)).collect();
        let parts = transaction::commit(pool, &Panics, &metrics, batch).await?;
        Ok(parts.into_iter().map(|part| part.items).collect())
    }

    /// The texts of the records that were committed, and whether they were rejected.
    pub(super) type Committed = Arc<Mutex<Vec<(String, bool)>>>;

    struct ParsePanics(Committed);

    struct Done;

    impl Receipt for Done {}

    impl Pipeline for ParsePanics {
        type Item = (String, bool);
        type Committed = ();
        type Receipt = Done;

        fn parse(&self, record: Record<'_>) -> (Self::Item, usize) {
            let text = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            assert_ne!(text, "panic");
            ((text, false), 1)
        }

        fn reject_panicked(&self, _: Record<'_>) -> (Self::Item, usize) {
            (("panic".to_owned(), true), 1)
        }

        async fn commit(&self, batch: Vec<Self::Item>) -> anyhow::Result<()> {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }

        async fn settle(&self, (): ()) -> anyhow::Result<Done> {
            Ok(Done)
        }
    }

    /// Consumes the orders topic with a parser that panics for the text `panic`.
    pub(super) fn consume(
        env: &TestEnvironment,
        committed: Committed,
        shutdown: CancellationToken,
    ) -> JoinHandle<anyhow::Result<()>> {
        let kafka = env.config(&[]).kafka;
        let subscription = Subscription {
            topic: env.orders_topic(),
            group: kafka.group("orders"),
            lanes: 1,
            policy: BatchPolicy { rows: 100, bytes: 1 << 20, age_ms: 1_000 },
            pace: Pace::Prompt,
        };
        let metrics = ConsumerMetrics::register(&mut Registry::default());
        let pipeline = ParsePanics(committed);
        tokio::spawn(consumer::consume(
            kafka,
            subscription,
            metrics,
            Blocked::default(),
            pipeline,
            shutdown,
        ))
    }
}
