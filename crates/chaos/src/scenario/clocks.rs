//! The topics keep the producers' time, and the clocks of two senders of each stream are wrong: of two
//! records of one order, the later one on the topic may be the earlier one by its time.

use std::{path::Path, time::Duration};

use anyhow::Result;
use rustix::process::Signal;
use tokio::time::sleep;

use super::{ScenarioArgs, assert_progress, finish, send, start};
use crate::{
    finding::Verdict,
    system::{ORDERS_TOPIC, STATUS_TOPIC, kafka_admin::set_topic_option},
};

pub(super) async fn run(args: &ScenarioArgs, folder: &Path) -> Result<Verdict> {
    let system = start(args, folder, 1).await?;
    for topic in [ORDERS_TOPIC, STATUS_TOPIC] {
        set_topic_option(&system.brokers, topic, "message.timestamp.type", "CreateTime").await?;
    }
    let senders = send(args, &system)?;
    sleep(Duration::from_secs(args.seconds / 2)).await;
    for replica in &system.replicas {
        replica.restart(Signal::KILL, None).await;
        assert_progress(&system, &format!("{} was killed", replica.name())).await?;
    }
    finish(args, system, senders, false).await
}
