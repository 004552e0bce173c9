//! The tail reader follows a topic outside any group and misses no record after its start.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use chassis::kafka::tail;
use testkit::{TestEnvironment, shared, wait_until};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn records_sent_while_it_starts_are_read() {
    let env = TestEnvironment::new(shared()).await;
    for round in 0..5 {
        let read = Arc::new(Mutex::new(HashSet::new()));
        let on_record = {
            let read = read.clone();
            move |_: &str, record: chassis::kafka::record::Record<'_>| {
                let value = record.value.map(<[u8]>::to_vec);
                read.lock().unwrap().insert(value.unwrap());
            }
        };
        let kafka = env.config(&[]).kafka;
        let topics = [env.status_topic()];
        let stop = CancellationToken::new();
        let since = SystemTime::now();
        let following = tokio::spawn({
            let stop = stop.clone();
            async move { tail::read(&kafka, &topics, since, on_record, stop).await }
        });
        let sent: HashSet<_> =
            (0..200).map(|number| format!("{round}-{number}").into_bytes()).collect();
        for value in &sent {
            env.send_status(Some(str::from_utf8(value).unwrap()), value).await;
        }
        wait_until("all of them to be read", async || read.lock().unwrap().is_superset(&sent))
            .await;
        stop.cancel();
        following.await.unwrap().unwrap();
    }
}
