//! Plays the rest of the world on the status topic: hears which orders are created, and tells what
//! happens to them, when it is due. [`World`](super::world) decides; here it meets Kafka.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use chassis::kafka::{config::KafkaConfig, tail};
use events::{OrderUid, StatusEvent};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    send::{Refusal, Sender},
    simulation::{Step, Walk, World},
};

/// How many statuses are told.
pub type ByStatus = BTreeMap<&'static str, u64>;

/// With nothing on its way and nothing heard for so long, the world has come to rest.
const REST: Duration = Duration::from_secs(5);
/// How often it is asked whether Kafka has refused a status for good.
const LOOK: Duration = Duration::from_millis(100);
/// Statuses heard and not yet taken in; past it the topic waits.
const HEARD: usize = 10_000;

/// What the world stands on.
pub(super) struct Stage<'a> {
    pub(super) kafka: &'a KafkaConfig,
    pub(super) status_topic: &'a str,
    /// Orders created before it are left alone.
    pub(super) since: SystemTime,
}

/// Walks orders until `shutdown`, or until `sent` is cancelled, which says that no more orders will
/// come, and all that did have come to their end. `told` counts what `teller` was given.
pub(super) async fn play(
    stage: Stage<'_>,
    seed: u64,
    walk: Walk,
    teller: &Sender,
    told: &mut ByStatus,
    sent: CancellationToken,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (hear, mut heard) = mpsc::channel::<StatusEvent>(HEARD);
    let topics = [stage.status_topic.to_owned()];
    let listen = move |_: &str, record: chassis::kafka::record::Record<'_>| {
        // What is no event says nothing of an order; the services reject it. A send fails once the
        // play is over.
        if let Ok(event) = StatusEvent::read(record.value) {
            let _ = hear.blocking_send(event);
        }
    };
    let over = shutdown.child_token();
    let _over_when_dropped = over.clone().drop_guard();
    let mut following =
        std::pin::pin!(tail::read(stage.kafka, &topics, stage.since, listen, over.clone()));
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut world = World::new(seed, walk);
    let mut heard_at = Instant::now();
    'play: loop {
        let now = Instant::now();
        while let Some(Step { order_id, status }) = world.step(now) {
            let value = value(&order_id, status, OffsetDateTime::now_utc());
            let telling = teller.send(Some(order_id.as_str().as_bytes()), &value);
            match shutdown.run_until_cancelled(telling).await {
                None => break 'play,
                Some(Err(Refusal::Lasting(why))) => anyhow::bail!(why),
                Some(Ok(()) | Err(Refusal::TooLarge)) => *told.entry(status).or_default() += 1,
            }
        }
        let resting = world.alive() == 0 && sent.is_cancelled();
        let wake = if resting { Some(heard_at + REST) } else { world.due() };
        if resting && wake.is_some_and(|wake| wake <= now) {
            break;
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            ended = &mut following => {
                ended?;
                break;
            }
            event = heard.recv() => if let Some(event) = event {
                heard_at = Instant::now();
                world.hear(&event.order_id, event.word, heard_at);
            },
            () = sent.cancelled(), if !sent.is_cancelled() => heard_at = Instant::now(),
            () = tokio::time::sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            _ = looks.tick() => if let Some(Refusal::Lasting(why)) = teller.failure() {
                anyhow::bail!(why);
            },
        }
    }
    // A channel without a reader lets the follower's thread end even while it has much to say.
    drop(heard);
    // On the way out a silent Kafka is not waited for: these events are nobody's truth.
    match tokio::time::timeout(super::SHUTDOWN_TIMEOUT, teller.settled()).await {
        Ok(Err(Refusal::Lasting(why))) => anyhow::bail!(why),
        _ => Ok(()),
    }
}

/// A status as the world's own services tell it: no version, whole seconds.
fn value(order_id: &OrderUid, status: &str, at: OffsetDateTime) -> Vec<u8> {
    let at = at.truncate_to_second().format(&Rfc3339).expect("the present has four digits of year");
    let order_id = serde_json::Value::from(order_id.as_str());
    format!(r#"{{"order_id":{order_id},"status":"{status}","created_at":"{at}"}}"#).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_told_as_the_seed_prints_it() {
        let at = OffsetDateTime::parse("2025-08-06T12:00:00.123Z", &Rfc3339).unwrap();
        assert_eq!(
            String::from_utf8(value(&"123".parse().unwrap(), "created", at)).unwrap(),
            r#"{"order_id":"123","status":"created","created_at":"2025-08-06T12:00:00Z"}"#
        );
    }
}
