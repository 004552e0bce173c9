//! The result of a run, and the page that shows it: as HTML, as Markdown and as JSON.

mod document;

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context, Result};
use chassis::process::failpoint;
use indicatif::HumanCount;
use serde::Serialize;

use self::document::{Block, html, markdown};
use crate::{
    dispatcher::Actions,
    faults::{CallFault, Injected, Outcome},
    finding::{FindingKind, Verdict},
    readers::Reads,
    resources::Snapshot,
    system::{End, senders::Sent},
};

/// The state of the system after the traffic.
#[derive(Debug, Clone, Serialize)]
pub struct Rest {
    /// Every consumer group committed everything.
    pub drained: bool,
    /// Dispatch changed nothing for two sweeps.
    pub rests: bool,
    /// Replicas that did not stop at SIGTERM.
    pub not_stopped: Vec<String>,
    /// Resources that have grown too much.
    pub leaks: Vec<String>,
}

/// Everything about one run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub command: String,
    pub seed: u64,
    /// Milliseconds since 1970.
    pub started_ms: u64,
    pub traffic_took: Duration,
    pub drain_took: Duration,
    pub judge_took: Duration,
    /// Orders and status events.
    pub sent: [Sent; 2],
    pub reads: Reads,
    pub actions: Actions,
    pub faults: Vec<Injected>,
    pub calls: Vec<CallFault>,
    /// The number of firings of each failpoint.
    pub firings: BTreeMap<String, u64>,
    pub ends: Vec<End>,
    /// Before the traffic, and after it when everything rests.
    pub resources: [Snapshot; 2],
    pub rest: Rest,
    pub verdict: Verdict,
}

impl Report {
    /// Returns whether nothing was found and every fault was recovered from.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.verdict.findings() == 0
            && self.rest.drained
            && self.rest.rests
            && self.rest.not_stopped.is_empty()
            && self.rest.leaks.is_empty()
            && self.unrecovered().next().is_none()
            && self.refused_ends().next().is_none()
            && self.calls.iter().all(|call| call.succeeded_after.is_some())
    }

    /// Returns the result in a few lines.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut lines = vec![self.verdict.table(), self.sentence()];
        lines.extend(
            self.unrecovered()
                .map(|fault| format!("{}: {}", fault.planned, outcome(&fault.outcome))),
        );
        lines.extend(self.refused_ends().map(|end| format!("{} ended: {}", end.replica, end.how)));
        lines.extend(self.calls.iter().filter_map(|call| {
            Some(format!("{} with {}: {}", call.point, call.action, call.error.as_ref()?))
        }));
        if !self.rest.drained {
            lines.push("not every record was committed in the end".to_owned());
        }
        if !self.rest.rests {
            lines.push("dispatch did not come to rest".to_owned());
        }
        lines.extend(self.rest.leaks.iter().cloned());
        lines.extend(self.rest.not_stopped.iter().map(|name| format!("{name} did not stop")));
        lines.join("\n")
    }

    /// Writes the page, and its copies with the endings `.md` and `.json`.
    pub fn write(&self, path: &Path) -> Result<()> {
        let blocks = self.blocks();
        let json = serde_json::to_string_pretty(self).context("writing the report as JSON")?;
        for (ending, text) in [("html", html(&blocks)), ("md", markdown(&blocks)), ("json", json)] {
            let path = path.with_extension(ending);
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }

    fn sentence(&self) -> String {
        let [orders, events] = self.sent;
        let recovered = self.faults.len() - self.unrecovered().count();
        format!(
            "{} orders and {} status events were sent in {} while {} faults were injected, of which \
             {recovered} were recovered from. The judge has {}.",
            thousands(orders.acknowledged),
            thousands(events.acknowledged),
            minutes(self.traffic_took),
            self.faults.len(),
            match self.verdict.findings() {
                0 => "no findings".to_owned(),
                count => format!("{} findings", thousands(count)),
            }
        )
    }

    fn unrecovered(&self) -> impl Iterator<Item = &Injected> {
        self.faults.iter().filter(|fault| !matches!(fault.outcome, Outcome::Recovered(_)))
    }

    /// Ends that no fault causes: the program refused its configuration or could not be started.
    fn refused_ends(&self) -> impl Iterator<Item = &End> {
        self.ends.iter().filter(|end| {
            end.how.starts_with("not started")
                || matches!(end.how.as_str(), "exit code 2" | "exit code 69" | "exit code 78")
        })
    }

    fn blocks(&self) -> Vec<Block> {
        let heading =
            if self.holds() { "Soak: all invariants hold" } else { "Soak: the run has failed" };
        vec![
            Block::title(heading),
            Block::text(self.sentence()),
            Block::code(&self.command),
            Block::heading("Invariants"),
            self.checks(),
            Block::heading("Found"),
            self.findings(),
            Block::heading("Sent"),
            self.sent_table(),
            Block::heading("Faults by kind"),
            self.kinds(),
            Block::heading("Failpoints"),
            self.failpoints(),
            Block::heading("Ends of replicas"),
            self.ends_table(),
            Block::heading("Resources of new processes, and after the run"),
            self.resources_table(),
            Block::heading("Every fault"),
            self.all_faults(),
        ]
    }

    fn checks(&self) -> Block {
        let rows = self.verdict.checks.iter().map(|check| {
            vec![
                check.invariant.to_string(),
                check.name.clone(),
                thousands(check.checked),
                match &check.not_checked {
                    Some(reason) => format!("not checked: {reason}"),
                    None => thousands(check.findings),
                },
            ]
        });
        Block::table(&["invariant", "check", "compared", "findings"], rows)
    }

    fn findings(&self) -> Block {
        let mut rows: Vec<Vec<String>> = FindingKind::ALL
            .into_iter()
            .map(|kind| {
                let count = thousands(self.verdict.count(kind));
                vec![kind.as_str().to_owned(), count, String::new()]
            })
            .collect();
        let examples = self.verdict.checks.iter().flat_map(|check| &check.examples);
        rows.extend(examples.map(|example| {
            vec![example.kind.as_str().to_owned(), String::new(), example.detail.clone()]
        }));
        Block::table(&["kind", "findings", "example"], rows)
    }

    fn sent_table(&self) -> Block {
        let stream = |name: &str, sent: &Sent| {
            vec![
                name.to_owned(),
                thousands(sent.acknowledged),
                thousands(sent.repeated),
                thousands(sent.aborted_transactions),
            ]
        };
        let [orders, events] = &self.sent;
        let head = ["stream", "acknowledged", "sent again", "aborted transactions"];
        let mut answers: Vec<String> = Vec::new();
        for (status, count) in &self.reads.answers {
            let status = if *status == 0 { "no answer".to_owned() } else { status.to_string() };
            answers.push(format!("{status}: {}", thousands(*count)));
        }
        let actions =
            self.actions.0.iter().map(|(name, count)| format!("{name}: {}", thousands(*count)));
        let calls = |name: &str, counts: &[String]| {
            vec![
                format!("{name} ({})", counts.join(", ")),
                String::new(),
                String::new(),
                String::new(),
            ]
        };
        let rows = [
            stream("orders", orders),
            stream("status events", events),
            calls("reads of orders", &answers),
            calls("manual actions", &actions.collect::<Vec<_>>()),
        ];
        Block::table(&head, rows)
    }

    fn kinds(&self) -> Block {
        let mut kinds: BTreeMap<&str, Vec<&Injected>> = BTreeMap::new();
        for fault in &self.faults {
            kinds.entry(fault.planned.fault.kind()).or_default().push(fault);
        }
        let rows = kinds.into_iter().map(|(kind, faults)| {
            let mut recoveries: Vec<Duration> = faults
                .iter()
                .filter_map(|fault| match fault.outcome {
                    Outcome::Recovered(after) => Some(after),
                    _ => None,
                })
                .collect();
            recoveries.sort();
            let median =
                recoveries.get(recoveries.len() / 2).copied().map_or_else(String::new, seconds);
            let longest = recoveries.last().copied().map_or_else(String::new, seconds);
            vec![
                kind.to_owned(),
                faults.len().to_string(),
                recoveries.len().to_string(),
                median,
                longest,
            ]
        });
        Block::table(&["fault", "injected", "recovered", "median", "longest"], rows)
    }

    fn failpoints(&self) -> Block {
        let rows = failpoint::NAMES.iter().map(|(name, place)| {
            let count = self.firings.get(*name).copied().unwrap_or(0);
            // A point fires within a fault, and each fault is followed by a wait for progress.
            let faults = self.faults.iter().filter(|fault| fault.fires(name));
            let calls = self.calls.iter().filter(|call| call.point == *name);
            let recovered = faults.clone().filter(|fault| fault.is_recovered()).count()
                + calls.clone().filter(|call| call.succeeded_after.is_some()).count();
            vec![
                (*name).to_owned(),
                (*place).to_owned(),
                count.to_string(),
                format!("{recovered} of {}", faults.count() + calls.count()),
            ]
        });
        Block::table(&["failpoint", "place", "fired", "faults recovered"], rows)
    }

    fn ends_table(&self) -> Block {
        let mut ends: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for end in &self.ends {
            *ends.entry((&end.replica, &end.how)).or_default() += 1;
        }
        let rows = ends.into_iter().map(|((replica, how), count)| {
            vec![replica.to_owned(), how.to_owned(), count.to_string()]
        });
        Block::table(&["replica", "end", "times"], rows)
    }

    fn resources_table(&self) -> Block {
        let [fresh, after] = &self.resources;
        let pair = |then: Option<u64>, now: u64| {
            let then = then.map_or_else(|| "–".to_owned(), thousands);
            format!("{then} → {}", thousands(now))
        };
        let processes = after.processes.iter().map(|(name, now)| {
            let then = fresh.processes.iter().find(|(known, _)| known == name);
            let then = then.map(|(_, then)| then);
            vec![
                name.clone(),
                pair(then.map(|then| then.resident >> 20), now.resident >> 20),
                thousands(now.peak_resident >> 20),
                pair(then.map(|then| then.descriptors), now.descriptors),
                pair(then.map(|then| then.threads), now.threads),
                String::new(),
            ]
        });
        let connections = after.connections.iter().map(|now| {
            let then = fresh.connections.iter().find(|then| then.application == now.application);
            let count = |count: i64| u64::try_from(count).unwrap_or(0);
            let connections =
                pair(then.map(|then| count(then.connections)), count(now.connections));
            let name = format!("{} (all replicas)", now.application);
            vec![name, String::new(), String::new(), String::new(), String::new(), connections]
        });
        let head = ["process", "MiB", "peak MiB", "descriptors", "threads", "connections"];
        Block::table(&head, processes.chain(connections))
    }

    fn all_faults(&self) -> Block {
        let rows = self.faults.iter().map(|fault| {
            vec![
                fault.planned.id.to_string(),
                seconds(fault.began),
                fault.planned.fault.kind().to_owned(),
                fault.planned.fault.target(),
                seconds(fault.took),
                outcome(&fault.outcome),
                fault.note.clone(),
            ]
        });
        Block::table(&["id", "at", "fault", "target", "took", "recovery", "note"], rows)
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Recovered(after) => format!("after {}", seconds(*after)),
        Outcome::NotRecovered(behind) => format!("NOT RECOVERED: {}", behind.join(", ")),
        Outcome::Failed(error) => format!("FAILED: {error}"),
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn minutes(duration: Duration) -> String {
    format!("{:.1} minutes", duration.as_secs_f64() / 60.0)
}

fn thousands(number: u64) -> String {
    HumanCount(number).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_thousands() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(2_000_000), "2,000,000");
    }
}
