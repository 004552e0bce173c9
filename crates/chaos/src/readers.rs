//! Requests of orders at every replica while the run lasts: they fill the caches that the judge
//! compares with the database.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    system::{Replica, Role, System},
    traffic::{Stream, Traffic},
};

/// The pause between two requests of one reader.
const PAUSE: Duration = Duration::from_millis(10);

/// The answers to all requests.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Reads {
    /// The number of answers by status; 0 stands for a connection that was refused or closed, as
    /// happens while a replica is down.
    pub answers: BTreeMap<u16, u64>,
    pub slowest: Duration,
}

/// The running readers.
#[derive(Debug)]
pub(crate) struct Readers {
    tasks: JoinSet<()>,
    reads: Arc<Mutex<Reads>>,
    stop: CancellationToken,
}

impl Readers {
    pub(crate) fn start(system: &System, traffic: &Traffic) -> Self {
        let mut readers =
            Self { tasks: JoinSet::new(), reads: Arc::default(), stop: CancellationToken::new() };
        let services = system.replicas.iter().filter(|replica| replica.role() == Role::Orders);
        for (first, url) in (0..).zip(services.map(Replica::url)) {
            let reading =
                read(system.http.clone(), url, traffic.clone(), first, Arc::clone(&readers.reads));
            let stop = readers.stop.clone();
            readers.tasks.spawn(async move {
                // A request that is dropped changes nothing.
                stop.run_until_cancelled(reading).await;
            });
        }
        readers
    }

    /// Ends all readers.
    pub(crate) async fn finish(mut self) -> Reads {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        reads.clone()
    }
}

async fn read(
    http: reqwest::Client,
    url: String,
    traffic: Traffic,
    first: u64,
    reads: Arc<Mutex<Reads>>,
) {
    let count = traffic.count(Stream::Orders).max(1);
    let mut number = first;
    loop {
        sleep(PAUSE).await;
        // A step that is coprime to most counts visits the whole stream.
        number = (number + 7_919) % count;
        let Some(key) = traffic.record(Stream::Orders, number).key else { continue };
        let Ok(uid) = String::from_utf8(key) else { continue };
        if uid.is_empty() || !uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            continue;
        }
        let asked = Instant::now();
        let answer = http.get(format!("{url}/order/{uid}")).send().await;
        let status = answer.map_or(0, |answer| answer.status().as_u16());
        let mut reads = reads.lock().unwrap_or_else(PoisonError::into_inner);
        *reads.answers.entry(status).or_default() += 1;
        reads.slowest = reads.slowest.max(asked.elapsed());
    }
}
