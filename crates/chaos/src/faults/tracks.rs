//! Runs the faults of a plan: both tracks beside each other, each one fault after the other, and
//! after each fault waits until every partition is committed further.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::{firings, inject};
use crate::{
    plan::{self, Fault, Planned, Track},
    system::System,
};

/// Bounds the recovery from a fault, which may include a fault of the other track.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(90);

/// Bounds a fault itself, in case a server does not start again.
const FAULT_TIMEOUT: Duration = Duration::from_secs(180);

/// The duration of a fault that is added for failpoints that did not fire often enough.
const EXTRA_HOLD: Duration = Duration::from_secs(6);

/// The number of added faults that arm a failpoint, for each firing that it should have.
const EXTRA_FAULTS: usize = 2;

/// A fault that was injected.
#[derive(Debug, Clone, Serialize)]
pub struct Injected {
    pub planned: Planned,
    /// The time from the start of the traffic to the fault, and its duration.
    pub began: Duration,
    pub took: Duration,
    pub outcome: Outcome,
    pub note: String,
}

/// The end of a fault.
#[derive(Debug, Clone, Serialize)]
pub enum Outcome {
    /// Every partition was committed further after this time.
    Recovered(Duration),
    /// These partitions were not.
    NotRecovered(Vec<String>),
    /// The fault could not be injected or ended.
    Failed(String),
}

impl Injected {
    /// Returns whether the fault has armed a failpoint.
    pub(crate) fn fires(&self, point: &str) -> bool {
        match &self.planned.fault {
            Fault::Failpoints { armed, .. } => armed.iter().any(|one| one.point == point),
            _ => false,
        }
    }

    pub(crate) fn is_recovered(&self) -> bool {
        matches!(self.outcome, Outcome::Recovered(_))
    }
}

/// The faults of a run.
pub(crate) struct Tracks<'a> {
    pub(crate) system: &'a System,
    pub(crate) started: Instant,
    pub(crate) planned: Vec<Planned>,
    /// The number of firings below which a failpoint is armed again.
    pub(crate) min_firings: usize,
}

impl Tracks<'_> {
    /// Injects all faults. Afterwards it adds faults for failpoints that have not fired often
    /// enough, while records are sent.
    pub(crate) async fn run(
        &self,
        is_sending: impl Fn() -> bool,
        show: impl Fn(String),
    ) -> Vec<Injected> {
        let replicas = async {
            let mut done = self.run_track(Track::Replicas, &show).await;
            self.fire_more(&mut done, &is_sending, &show).await;
            done
        };
        let watch = async {
            // Only shows the progress; the faults decide when this ends.
            while is_sending() {
                sleep(Duration::from_millis(250)).await;
            }
            std::future::pending::<()>().await;
        };
        let both = async { tokio::join!(replicas, self.run_track(Track::Servers, &show)) };
        let (mut done, servers) = tokio::select! {
            done = both => done,
            () = watch => unreachable!("the progress is shown forever"),
        };
        done.extend(servers);
        done.sort_by_key(|injected| injected.began);
        done
    }

    async fn run_track(&self, track: Track, show: &impl Fn(String)) -> Vec<Injected> {
        let mut done = Vec::new();
        for planned in self.planned.iter().filter(|planned| planned.track == track) {
            sleep_until(self.started + planned.at).await;
            show(planned.to_string());
            done.push(self.run_one(planned.clone()).await);
        }
        done
    }

    async fn fire_more(
        &self,
        done: &mut Vec<Injected>,
        is_sending: &impl Fn() -> bool,
        show: &impl Fn(String),
    ) {
        let mut attempts: BTreeMap<&'static str, usize> = BTreeMap::new();
        let limit = EXTRA_FAULTS * self.min_firings;
        while is_sending() {
            let Ok(fired) = firings(&self.system.failpoint_log()) else { return };
            let count = |point: &str| fired.iter().filter(|name| *name == point).count();
            let mut wanted: Vec<&'static str> = plan::in_traffic()
                .into_iter()
                .filter(|point| count(point) < self.min_firings)
                .filter(|point| attempts.get(point).is_none_or(|attempts| *attempts < limit))
                .collect();
            // The points that were tried least, so that one that cannot fire delays no other.
            wanted.sort_by_key(|point| (attempts.get(point).copied(), count(point)));
            let id = self.planned.len() + done.len() + 1;
            let replicas = self.system.options.replicas;
            let Some((replica, armed)) = plan::arm(&wanted, id as u64, replicas) else { return };
            for armed in &armed {
                *attempts.entry(armed.point).or_default() += 1;
            }
            let planned = Planned {
                id,
                track: Track::Replicas,
                at: self.started.elapsed(),
                hold: EXTRA_HOLD,
                fault: Fault::Failpoints { replica, armed },
            };
            show(planned.to_string());
            done.push(self.run_one(planned).await);
        }
    }

    async fn run_one(&self, planned: Planned) -> Injected {
        let began = self.started.elapsed();
        let injecting = inject(self.system, &planned);
        let injected = match tokio::time::timeout(FAULT_TIMEOUT, injecting).await {
            Ok(injected) => injected.map_err(|error| format!("{error:#}")),
            Err(_) => Err(format!("the fault did not end within {FAULT_TIMEOUT:?}")),
        };
        let took = self.started.elapsed() - began;
        let (note, outcome) = match injected {
            Err(error) => (String::new(), Outcome::Failed(error)),
            Ok(note) => match self.system.groups.wait_for_progress(RECOVERY_TIMEOUT).await {
                Ok(after) => (note, Outcome::Recovered(after)),
                Err(behind) => {
                    let behind = behind.into_iter();
                    let names = behind.map(|(group, partition)| format!("{group}[{partition}]"));
                    (note, Outcome::NotRecovered(names.collect()))
                }
            },
        };
        Injected { planned, began, took, outcome, note }
    }
}
