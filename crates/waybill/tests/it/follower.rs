//! Following a topic outside any group: nothing that comes after the beginning is missed.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use chassis::kafka::tail;
use testkit::{TestEnvironment, shared, wait_until};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_a_follower_starts_is_heard() {
    let env = TestEnvironment::new(shared()).await;
    for round in 0..5 {
        let heard = Arc::new(Mutex::new(HashSet::new()));
        let listen = {
            let heard = heard.clone();
            move |_: &str, record: chassis::kafka::record::Record<'_>| {
                let value = record.value.map(<[u8]>::to_vec);
                heard.lock().unwrap().insert(value.unwrap());
            }
        };
        let kafka = env.config(&[]).kafka;
        let topics = [env.status_topic()];
        let over = CancellationToken::new();
        let since = SystemTime::now();
        let following = tokio::spawn({
            let over = over.clone();
            async move { tail::read(&kafka, &topics, since, listen, over).await }
        });
        let sent: HashSet<_> =
            (0..200).map(|number| format!("{round}-{number}").into_bytes()).collect();
        for value in &sent {
            env.send_status(Some(str::from_utf8(value).unwrap()), value).await;
        }
        wait_until("all of them to be heard", async || heard.lock().unwrap().is_superset(&sent))
            .await;
        over.cancel();
        following.await.unwrap().unwrap();
    }
}
