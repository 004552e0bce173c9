//! The flow: the history of a service's rates, times and gauges over the last week, as charts show
//! it. One task samples the metrics of this replica every second; nothing is stored outside memory.
//!
//! ```text
//! registry ─▶ reading ─▶ portions ─▶ levels: seconds, minutes, quarters of an hour ─▶ GET /flow.json
//!               └─▶ marks: outages, rebalances, missing samples                    └─▶ GET /live?flow
//! ```
//!
//! - [`catalogue`]: the charts of a service, and the metrics of which they are made
//! - `reading`: takes the values of these metrics from their text
//! - `portion`: the part that one sample adds to each series
//! - `moment`: decides which seconds a sample covers, and which are missing
//! - `level`: the values of all series at one interval, in a ring of a fixed size
//! - `marks`: what happened, and when
//! - `sampler`: one sample after the other
//! - `view`: a range as JSON
//! - [`calls`]: the answers over HTTP
//!
//! Names and texts of the charts are not here: the services have them.

pub mod calls;
pub mod catalogue;
mod level;
mod marks;
mod moment;
mod portion;
mod reading;
mod sampler;
mod view;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use prometheus_client::registry::Registry;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::{
    catalogue::{Catalogue, Range},
    moment::Moment,
    sampler::Sampler,
};
pub use self::{
    marks::{Mark, MarkKind},
    sampler::{MAX_BYTES, MAX_ROUTES, MAX_SERIES},
    view::{FlowView, RouteView, SeriesView, Values},
};

/// The name of a replica, and the time of its start.
#[derive(Debug, Clone)]
pub struct Replica {
    /// The name of the machine or of the container.
    pub host: String,
    /// The address on which it listens.
    pub address: SocketAddr,
    pub started_at: OffsetDateTime,
}

/// The flow of one replica. Clones share it.
#[derive(Debug, Clone)]
pub struct Flow(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    registry: Arc<Registry>,
    replica: Replica,
    sampler: Mutex<Sampler>,
    /// The newest sample as JSON, for the watchers.
    newest: watch::Sender<Arc<str>>,
    /// The last answer, with its range and the second of its newest sample: clients that ask for
    /// the same range within a second get the same text.
    last_answer: Mutex<Option<Answer>>,
}

#[derive(Debug)]
struct Answer {
    range: Range,
    second: i64,
    json: Arc<str>,
}

impl Flow {
    /// Creates the flow of the replica that listens on `address`.
    #[must_use]
    pub fn new(catalogue: Catalogue, registry: Arc<Registry>, address: SocketAddr) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let started_at = OffsetDateTime::now_utc();
        let replica = Replica { host, address, started_at };
        let sampler = Sampler::new(catalogue, started_at.unix_timestamp());
        Self(Arc::new(Shared {
            registry,
            replica,
            sampler: Mutex::new(sampler),
            newest: watch::Sender::new(Arc::from("{}")),
            last_answer: Mutex::default(),
        }))
    }

    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.0.replica
    }

    /// Takes a sample at each full second of the clock, until `shutdown`.
    pub async fn sample(self, shutdown: CancellationToken) {
        // The first one is at the start, so that the counters of the first second are not lost.
        while !shutdown.is_cancelled() {
            self.take_sample();
            let next_second = tokio::time::sleep(until_next_second(SystemTime::now()));
            shutdown.run_until_cancelled(next_second).await;
        }
    }

    fn take_sample(&self) {
        let Shared { registry, newest, .. } = &*self.0;
        let mut sampler = self.sampler();
        sampler.take(registry, Moment::now());
        // Written only for pages that wait for it.
        if newest.receiver_count() > 0
            && let Some(sample) = sampler.newest()
        {
            newest.send_replace(sample.into());
        }
    }

    /// Returns the samples of a range.
    #[must_use]
    pub fn view(&self, range: Range) -> FlowView {
        self.sampler().view(range, &self.0.replica)
    }

    /// Returns all marks, the oldest first.
    #[must_use]
    pub fn marks(&self) -> Vec<Mark> {
        self.sampler().marks()
    }

    /// Returns the samples of a range as JSON.
    fn json(&self, range: Range) -> Arc<str> {
        let second = self.sampler().newest_second();
        // Held while the answer is written, so that concurrent requests share one. A panic leaves
        // an older answer, which is replaced.
        let mut last = self.0.last_answer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = &*last
            && (answer.range, Some(answer.second)) == (range, second)
        {
            return answer.json.clone();
        }
        let view = self.view(range);
        let json: Arc<str> = serde_json::to_string(&view).expect("a view has string keys").into();
        // Without a sample, only the start is in the answer.
        *last = second.map(|second| Answer { range, second, json: json.clone() });
        json
    }

    /// Returns a receiver of the newest samples.
    fn watch(&self) -> watch::Receiver<Arc<str>> {
        self.0.newest.subscribe()
    }

    fn sampler(&self) -> MutexGuard<'_, Sampler> {
        // After a panic the rings are complete, except for the sample of that second.
        self.0.sampler.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the time until the clock shows the next full second. So each sample belongs to one
/// second, and the seconds of all replicas are the same.
fn until_next_second(now: SystemTime) -> Duration {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Duration::from_secs(1) - Duration::from_nanos(u64::from(since.subsec_nanos()))
}

#[cfg(test)]
mod tests;
