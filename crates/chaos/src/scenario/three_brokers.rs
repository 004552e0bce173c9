//! Three brokers: each is killed, started again, and frozen for longer than its session, in turn.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::time::sleep;

use super::{ScenarioArgs, assert_progress, finish, send, start};
use crate::{child::send_signal, finding::Verdict};

const DOWN: Duration = Duration::from_secs(4);

/// Longer than `broker.session.timeout.ms`: the other brokers become the leaders.
const FROZEN: Duration = Duration::from_secs(10);

pub(super) async fn run(args: &ScenarioArgs, folder: &Path) -> Result<Verdict> {
    let system = start(args, folder, 3).await?;
    let senders = send(args, &system)?;
    for number in 0..3 {
        {
            let mut brokers = system.kafka.lock().await;
            let broker = brokers.nodes.get_mut(number).context("there are three brokers")?;
            broker.kill().await?;
            sleep(DOWN).await;
            broker.restart().await?;
        }
        assert_progress(&system, &format!("broker {number} was killed")).await?;
        {
            let brokers = system.kafka.lock().await;
            let id = brokers.nodes[number].process_id().context("the broker runs")?;
            send_signal(id, Signal::STOP);
            sleep(FROZEN).await;
            send_signal(id, Signal::CONT);
        }
        assert_progress(&system, &format!("broker {number} was frozen")).await?;
    }
    finish(args, system, senders, false).await
}
