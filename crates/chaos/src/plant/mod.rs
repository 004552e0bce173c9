//! Planted bugs: a judge that has never found anything proves nothing. Each bug is planted into a
//! small run, and the judge must find it.
//!
//! ```text
//! altered   rows, topics, offsets and caches that are changed after a clean run
//! sql       triggers and dropped indexes, present while the services run
//! guards    guards of the services that a failpoint turns off
//! ```

mod altered;
pub mod command;
mod guards;
mod program;
mod run;
mod sql;

pub use program::built_program;

use std::{collections::BTreeSet, path::Path};

use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use testkit::Servers;

use crate::finding::{FindingKind, Verdict};

/// The number of runs at the same time.
const PARALLEL_RUNS: usize = 4;

/// A bug, and what the judge has found.
#[derive(Debug, Clone, Serialize)]
pub struct Planted {
    pub family: &'static str,
    pub bug: String,
    /// The kind of finding that it must cause.
    pub expected: FindingKind,
    /// The number of findings of this kind.
    pub findings: u64,
    /// The checks with findings of this kind.
    pub found_by: Vec<String>,
    /// The other kinds of findings that it causes.
    pub also: Vec<FindingKind>,
}

impl Planted {
    /// Returns the result of a bug that was planted after the verdict `before`.
    fn since(
        family: &'static str,
        bug: &str,
        expected: FindingKind,
        before: &Verdict,
        after: &Verdict,
    ) -> Self {
        let count = |verdict: &Verdict, name: &str| {
            let check = verdict.checks.iter().find(|check| check.name == name);
            check.and_then(|check| check.kinds.get(&expected)).copied().unwrap_or(0)
        };
        let is_more = |name: &&String| count(after, name) > count(before, name);
        let names = after.checks.iter().map(|check| &check.name);
        let others = FindingKind::ALL.into_iter().filter(|kind| *kind != expected);
        Self {
            family,
            bug: bug.to_owned(),
            expected,
            findings: after.count(expected).saturating_sub(before.count(expected)),
            found_by: names.filter(is_more).cloned().collect(),
            also: others.filter(|kind| after.count(*kind) > before.count(*kind)).collect(),
        }
    }

    #[must_use]
    pub fn is_found(&self) -> bool {
        self.findings > 0
    }
}

/// The result of all planted bugs.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The verdict about a run without a bug.
    pub clean: Verdict,
    pub planted: Vec<Planted>,
}

impl Outcome {
    /// True if the clean run has no finding, each bug is found, and each kind of finding occurs.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.clean.findings() == 0
            && self.planted.iter().all(Planted::is_found)
            && self.missing_kinds().is_empty()
    }

    /// Returns the kinds of findings that no bug was planted for.
    #[must_use]
    pub fn missing_kinds(&self) -> Vec<FindingKind> {
        let found: BTreeSet<_> = self.planted.iter().map(|planted| planted.expected).collect();
        FindingKind::ALL.into_iter().filter(|kind| !found.contains(kind)).collect()
    }

    /// Returns the table: each bug, and the checks that find it.
    #[must_use]
    pub fn table(&self) -> String {
        let mut lines = vec![
            self.clean.table(),
            String::new(),
            format!("{:<8}  {:<64}  {:<24}  found by", "family", "planted bug", "finding"),
        ];
        for planted in &self.planted {
            let found_by = match planted.is_found() {
                true => planted.found_by.join("; "),
                false => "NOT FOUND".to_owned(),
            };
            lines.push(format!(
                "{:<8}  {:<64}  {:<24}  {found_by}",
                planted.family,
                planted.bug,
                planted.expected.as_str()
            ));
        }
        let found = self.planted.iter().filter(|planted| planted.is_found()).count();
        lines.push(format!("{found} of {} bugs were found", self.planted.len()));
        lines.join("\n")
    }
}

/// Plants all bugs on these servers. `waybill` is the program, built with failpoints.
pub async fn plant_all(servers: &Servers, waybill: &Path) -> anyhow::Result<Outcome> {
    let (clean, mut planted) = altered::plant(servers).await?;
    let sql = stream::iter(sql::BUGS).map(|bug| sql::plant(servers, bug));
    let mut sql = sql.buffered(PARALLEL_RUNS);
    while let Some(result) = sql.next().await {
        planted.push(result?);
    }
    let guards = stream::iter(guards::BUGS).map(|bug| guards::plant(servers, waybill, bug));
    let mut guards = guards.buffered(PARALLEL_RUNS);
    while let Some(result) = guards.next().await {
        planted.push(result?);
    }
    Ok(Outcome { clean, planted })
}
