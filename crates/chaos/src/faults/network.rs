//! Faults of the connections between the services and a server.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep};

use crate::{
    plan::Link,
    proxy::{Mode, Proxy},
    system::System,
};

/// The delay of everything that is sent, in each direction.
const DELAY: Duration = Duration::from_millis(150);

/// The interval at which new connections are cut, too.
const CUT_INTERVAL: Duration = Duration::from_millis(250);

pub(super) async fn delay(system: &System, link: Link, hold: Duration) -> Result<String> {
    in_mode(proxy(system, link)?, Mode::Delay(DELAY), hold).await;
    Ok(String::new())
}

pub(super) async fn stall(system: &System, link: Link, hold: Duration) -> Result<String> {
    in_mode(proxy(system, link)?, Mode::Stall, hold).await;
    Ok(String::new())
}

pub(super) async fn cut(system: &System, link: Link, hold: Duration) -> Result<String> {
    let proxy = proxy(system, link)?;
    let started = Instant::now();
    while started.elapsed() < hold {
        proxy.cut();
        sleep(CUT_INTERVAL).await;
    }
    Ok(String::new())
}

/// The clients keep connections that never answer, until they notice it.
pub(super) async fn half_open(system: &System, link: Link, hold: Duration) -> Result<String> {
    proxy(system, link)?.half_open();
    sleep(hold).await;
    Ok(String::new())
}

pub(super) async fn drop_answers(system: &System, link: Link, hold: Duration) -> Result<String> {
    let proxy = proxy(system, link)?;
    let before = proxy.dropped_answers();
    in_mode(proxy, Mode::DropAnswers, hold).await;
    Ok(format!("{} answers", proxy.dropped_answers() - before))
}

async fn in_mode(proxy: &Proxy, mode: Mode, hold: Duration) {
    proxy.set_mode(mode);
    sleep(hold).await;
    proxy.set_mode(Mode::Forward);
}

fn proxy(system: &System, link: Link) -> Result<&Proxy> {
    match link {
        Link::Postgres => Ok(&system.postgres_proxy),
        Link::Kafka => system.kafka_proxy.as_ref().context("three brokers have no proxy"),
    }
}
