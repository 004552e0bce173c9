//! A report: the figures of a run with their commit and machine, and an earlier report for a
//! comparison.

use std::{fmt::Write as _, path::Path, process::Command};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use testkit::Servers;

use crate::figure::{self, Figure};

#[derive(Serialize)]
pub(crate) struct Report {
    /// The commit that is checked out, with a mark if files differ from it.
    commit: String,
    machine: Machine,
    figures: Vec<Figure>,
}

/// The machine and the server, on which the figures depend.
#[derive(Serialize)]
struct Machine {
    processor: String,
    cores: usize,
    memory_bytes: u64,
    system: String,
    postgres: String,
    /// The load average of the last minute, including this bench.
    load: f64,
}

/// A report that was stored as JSON.
#[derive(Deserialize)]
pub(crate) struct Earlier {
    commit: String,
    figures: Vec<EarlierFigure>,
}

#[derive(Deserialize)]
struct EarlierFigure {
    name: String,
    waybill: f64,
    ratio: Option<f64>,
}

impl Report {
    pub(crate) fn new(figures: Vec<Figure>, postgres: String) -> Self {
        Self { commit: commit(), machine: Machine::describe(postgres), figures }
    }

    pub(crate) fn text(&self, earlier: Option<&Earlier>) -> String {
        let mut text = figure::table(&self.figures, |name| earlier?.value(name));
        let machine = &self.machine;
        let _ = writeln!(
            text,
            "\n{} on {} cores of {}, {} GB, {}, {}, load {:.1}",
            self.commit,
            machine.cores,
            machine.processor,
            machine.memory_bytes >> 30,
            machine.system,
            machine.postgres,
            machine.load
        );
        if let Some(earlier) = earlier {
            let _ = writeln!(text, "earlier: {}", earlier.commit);
        }
        text
    }
}

impl Earlier {
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} was not written with --json", file.display()))
    }

    fn value(&self, name: &str) -> Option<f64> {
        let figure = self.figures.iter().find(|figure| figure.name == name)?;
        Some(figure.ratio.unwrap_or(figure.waybill))
    }
}

impl Machine {
    fn describe(postgres: String) -> Self {
        let value = |file: &str, name: &str| {
            let text = std::fs::read_to_string(file).ok()?;
            let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(rest.trim_start_matches([' ', '\t', ':']).to_owned())
        };
        let unknown = || "unknown".to_owned();
        let kibibytes = value("/proc/meminfo", "MemTotal")
            .and_then(|memory| memory.split(' ').next()?.parse::<u64>().ok());
        Self {
            processor: value("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: kibibytes.unwrap_or(0) * 1024,
            system: run("uname", &["-sr"]).unwrap_or_else(|_| unknown()),
            postgres,
            load: value("/proc/loadavg", "")
                .and_then(|load| load.split(' ').next()?.parse().ok())
                .unwrap_or(0.0),
        }
    }
}

/// Returns the version of PostgreSQL.
pub(crate) async fn postgres(servers: &Servers) -> anyhow::Result<String> {
    let mut administrator = PgConnection::connect(&servers.postgres).await?;
    let version: String =
        sqlx::query_scalar("SHOW server_version").fetch_one(&mut administrator).await?;
    administrator.close().await?;
    Ok(format!("PostgreSQL {version}"))
}

fn commit() -> String {
    run("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"])
        .unwrap_or_else(|_| "an unknown commit".to_owned())
}

/// Runs a program and returns its output.
fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).output()?;
    ensure!(output.status.success(), "{program}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Target;

    #[test]
    fn a_later_run_is_compared_with_a_stored_one() {
        let report = |value| {
            let target = Target::AtMost { must: 50.0, aim: 50.0 };
            let figure = Figure::of_value("start", String::new(), "ms", target, value);
            Report::new(vec![figure], "PostgreSQL 15".to_owned())
        };
        let stored = serde_json::to_vec(&report(40.0)).unwrap();
        let earlier: Earlier = serde_json::from_slice(&stored).unwrap();
        let text = report(44.0).text(Some(&earlier));
        assert!(text.contains("40.00, +10.0 %"), "{text}");
        assert!(!report(44.0).text(None).contains("earlier"), "{text}");
    }
}
