//! Guards of the services that a failpoint turns off while the real program runs.

use std::path::Path;

use testkit::{Servers, wait_until};

use super::{
    Planted,
    program::Program,
    run::{COURIER_OPTIONS, Part, Run},
};
use crate::finding::{FindingKind, Verdict};

/// A guard, and the events around it that make its absence visible.
pub(super) struct GuardBug {
    guard: &'static str,
    bug: &'static str,
    expected: FindingKind,
    scenario: Scenario,
}

#[derive(Debug, Clone, Copy)]
enum Scenario {
    /// The program reads a backlog, then further records.
    Run,
    /// The program is killed while it waits at this failpoint, and started again with the guard.
    KilledAt(&'static str),
}

pub(super) const BUGS: &[GuardBug] = &[
    GuardBug {
        guard: "guard.greater-position",
        bug: "an older record of an order wins",
        expected: FindingKind::Altered,
        scenario: Scenario::Run,
    },
    GuardBug {
        guard: "guard.rejected-stored",
        bug: "rejected records are not stored",
        expected: FindingKind::Missing,
        scenario: Scenario::Run,
    },
    GuardBug {
        guard: "guard.dead-letter-sent",
        bug: "dead letters are not sent",
        expected: FindingKind::MissingDeadLetter,
        scenario: Scenario::Run,
    },
    GuardBug {
        guard: "guard.updated-published",
        bug: "changed orders are not published",
        expected: FindingKind::MissingEvent,
        scenario: Scenario::Run,
    },
    GuardBug {
        guard: "guard.highest-status",
        bug: "the last status wins instead of the highest",
        expected: FindingKind::IllegalStatus,
        scenario: Scenario::Run,
    },
    GuardBug {
        guard: "guard.cancelled-applied",
        bug: "cancellations are ignored",
        expected: FindingKind::IllegalStatus,
        scenario: Scenario::Run,
    },
    GuardBug {
        guard: "guard.completed-frees",
        bug: "a completed order keeps its courier",
        expected: FindingKind::IllegalStatus,
        scenario: Scenario::Run,
    },
    GuardBug {
        guard: "guard.commit-before-offsets",
        bug: "offsets are stored before the commit",
        expected: FindingKind::OffsetsAhead,
        scenario: Scenario::KilledAt("begin"),
    },
    GuardBug {
        guard: "guard.publish-before-offsets",
        bug: "offsets are stored before the events are published",
        expected: FindingKind::MissingEvent,
        scenario: Scenario::KilledAt("before-publish"),
    },
];

pub(super) async fn plant(
    servers: &Servers,
    waybill: &Path,
    bug: &GuardBug,
) -> anyhow::Result<Planted> {
    let run = Run::prepare(servers, 3).await?;
    run.send(Part::First).await?;
    let skipped = format!("{}=skip", bug.guard);
    let orders = match bug.scenario {
        Scenario::Run => start(waybill, &run, &skipped).await?,
        Scenario::KilledAt(point) => {
            let lag = run.env.lag().await;
            let failpoints = format!("{skipped};{point}=delay(60000)");
            let program = start(waybill, &run, &failpoints).await?;
            wait_until("an offset to be committed", async || run.env.lag().await < lag).await;
            program.kill();
            start(waybill, &run, "").await?
        }
    };
    let mut flags = run.env.courier_flags(&run.couriers);
    flags.extend(COURIER_OPTIONS.map(str::to_owned));
    let couriers = Program::start(waybill, "couriers", flags, &skipped).await?;
    run.wait_until_processed().await;
    run.send(Part::Second).await?;
    run.wait_until_processed().await;
    let after = run.judge().await?;
    couriers.kill();
    orders.kill();
    let clean = Verdict { checks: Vec::new() };
    let name = format!("{} ({})", bug.bug, bug.guard);
    Ok(Planted::since("guards", &name, bug.expected, &clean, &after))
}

/// Starts the order service. With an instance id, it gets its partitions at once when it is started
/// again.
async fn start(waybill: &Path, run: &Run, failpoints: &str) -> anyhow::Result<Program> {
    let mut flags = run.env.flags();
    flags.extend(["--kafka-instance-id", "planted"].map(str::to_owned));
    Program::start(waybill, "orders", flags, failpoints).await
}
