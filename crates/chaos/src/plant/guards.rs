//! Guards of the services that a failpoint turns off while the real program runs.

use std::{fs, path::Path, time::Duration};

use anyhow::Context as _;
use testkit::{Servers, wait_until};

use super::{
    Planted,
    program::Program,
    run::{COURIER_OPTIONS, Part, Run},
};
use crate::{
    faults::firings,
    finding::{FindingKind, Verdict},
    system::kafka_admin::set_topic_option,
    traffic::Stream,
};

/// The time without a further event after which a replica has read all events.
const TAIL_REST: Duration = Duration::from_secs(2);

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
    /// The database refuses some orders, each time with this SQLSTATE.
    SomeRefused(&'static str),
    /// Kafka refuses all messages for the status topic while the program reads further orders.
    KafkaRefuses,
    /// A second replica is killed and started again. Its warm-up reads the orders, and waits until
    /// the first replica has replaced some of them and the second one has read the events of that,
    /// before it caches what it has read.
    SlowWarmUp,
    /// The courier service starts while the completions of overdue deliveries are not read.
    Behind,
}

/// The longest ones come first, so that the others run beside them.
pub(super) const BUGS: &[GuardBug] = &[
    GuardBug {
        guard: "guard.minimum-version",
        bug: "a warm-up caches orders that were replaced meanwhile",
        expected: FindingKind::WrongCache,
        scenario: Scenario::SlowWarmUp,
    },
    GuardBug {
        guard: "guard.evict-on-update",
        bug: "the orders that another replica replaces stay in the cache",
        expected: FindingKind::WrongCache,
        scenario: Scenario::SlowWarmUp,
    },
    GuardBug {
        guard: "guard.releases-while-behind",
        bug: "deliveries are released before their completions are read",
        expected: FindingKind::IllegalStatus,
        scenario: Scenario::Behind,
    },
    GuardBug {
        guard: "guard.resend-refused",
        bug: "events that Kafka refuses are not sent again",
        expected: FindingKind::MissingEvent,
        scenario: Scenario::KafkaRefuses,
    },
    GuardBug {
        guard: "guard.transient-retried",
        bug: "orders are rejected after a transient error",
        expected: FindingKind::Misplaced,
        scenario: Scenario::SomeRefused("serialization_failure"),
    },
    GuardBug {
        guard: "guard.both-halves",
        bug: "the second half of a split batch is forgotten",
        expected: FindingKind::Missing,
        scenario: Scenario::SomeRefused("check_violation"),
    },
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
    let mut run = Run::prepare(servers, 3).await?;
    let skipped = format!("{}=skip", bug.guard);
    if let Scenario::SomeRefused(sqlstate) = bug.scenario {
        refuse_some(&run, sqlstate).await?;
    }
    run.send(Part::First).await?;
    let orders = match bug.scenario {
        Scenario::KilledAt(point) => {
            let lag = run.env.lag().await;
            let failpoints = format!("{skipped};{point}=delay(60000)");
            let program = start_orders(waybill, &run, "first", &failpoints).await?;
            wait_until("an offset to be committed", async || run.env.lag().await < lag).await;
            program.kill().await?;
            start_orders(waybill, &run, "first", "").await?
        }
        _ => start_orders(waybill, &run, "first", &skipped).await?,
    };
    let second = match bug.scenario {
        Scenario::SlowWarmUp => Some(start_orders(waybill, &run, "second", "").await?),
        _ => None,
    };
    let couriers = start_couriers(waybill, &run, &skipped).await?;
    run.wait_until_processed().await;

    let mut running = vec![];
    match bug.scenario {
        Scenario::Run | Scenario::KilledAt(_) | Scenario::SomeRefused(_) => {
            running.extend([orders, couriers]);
            run.send(Part::Second).await?;
        }
        Scenario::KafkaRefuses => {
            running.extend([orders, couriers]);
            let (brokers, topic) = (&run.case.brokers, &run.case.status_topic);
            set_topic_option(brokers, topic, "max.message.bytes", "1").await?;
            run.send_stream(Stream::Orders, Part::Second).await?;
            run.env.wait_until_drained().await;
            set_topic_option(brokers, topic, "max.message.bytes", "4194304").await?;
            run.send_stream(Stream::Status, Part::Second).await?;
        }
        Scenario::SlowWarmUp => {
            second.context("the second replica runs")?.kill().await?;
            let [log, hold] = ["log", "hold"].map(|name| run.case.ledger_dir.join(name));
            fs::write(&hold, b"").context("creating the file that holds the warm-up")?;
            // A delay of 0 only adds each event that the replica reads to the log.
            let failpoints = format!("{skipped};warm-up=hold;tail-read=delay(0)");
            let flags = orders_flags(&run, "second");
            let files = [("WAYBILL_FAILPOINT_LOG", &log), ("WAYBILL_FAILPOINT_HOLD", &hold)];
            let second = Program::start_with(waybill, "orders", flags, &failpoints, &files).await?;
            let hits = |name: &str| {
                let fired = firings(&log).expect("the log of failpoints can be read");
                fired.iter().filter(|fired| *fired == name).count()
            };
            wait_until("the warm-up to be held", async || hits("warm-up") == 1).await;
            run.case.order_services = vec![orders.url(), second.url()];
            run.send(Part::Second).await?;
            run.wait_until_processed().await;
            wait_until("events of replaced orders to be read", async || {
                let read = hits("tail-read");
                tokio::time::sleep(TAIL_REST).await;
                read > 0 && hits("tail-read") == read
            })
            .await;
            fs::remove_file(&hold).context("removing the file that holds the warm-up")?;
            second.wait_until_warm().await;
            running.extend([orders, second, couriers]);
        }
        Scenario::Behind => {
            couriers.kill().await?;
            run.send(Part::Second).await?;
            let overdue = "UPDATE couriers.courier_orders SET deadline = now() \
                WHERE completed_at IS NULL AND released_at IS NULL";
            Run::execute(&mut run.couriers.administrator().await, [overdue.to_owned()]).await?;
            // Longer than the grace and a sweep.
            let failpoints = format!("{skipped};begin=8*delay(4000)");
            running.extend([orders, start_couriers(waybill, &run, &failpoints).await?]);
        }
    }
    run.wait_until_processed().await;
    for program in &running {
        program.wait_until_ready().await;
    }
    let after = run.judge().await?;
    drop(running);
    let clean = Verdict { checks: Vec::new() };
    let name = format!("{} ({})", bug.bug, bug.guard);
    Ok(Planted::since("guards", &name, bug.expected, &clean, &after))
}

/// Lets the database refuse the orders of one offset of each partition.
async fn refuse_some(run: &Run, sqlstate: &str) -> anyhow::Result<()> {
    let statements = [
        format!(
            "CREATE FUNCTION orders.planted() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE {sqlstate} USING MESSAGE = 'planted'; END $$"
        ),
        "CREATE TRIGGER planted BEFORE INSERT ON orders.orders FOR EACH ROW \
         WHEN (NEW.source_offset = 7) EXECUTE FUNCTION orders.planted()"
            .to_owned(),
    ];
    Run::execute(&mut run.env.administrator().await, statements).await
}

/// Starts a replica of the order service. With an instance id, it gets its partitions at once when
/// it is started again, as the courier service does.
async fn start_orders(
    waybill: &Path,
    run: &Run,
    instance: &str,
    failpoints: &str,
) -> anyhow::Result<Program> {
    Program::start(waybill, "orders", orders_flags(run, instance), failpoints).await
}

fn orders_flags(run: &Run, instance: &str) -> Vec<String> {
    let mut flags = run.env.flags();
    flags.extend(["--kafka-instance-id", instance].map(str::to_owned));
    flags
}

async fn start_couriers(waybill: &Path, run: &Run, failpoints: &str) -> anyhow::Result<Program> {
    let mut flags = run.env.courier_flags(&run.couriers);
    flags.extend(COURIER_OPTIONS.map(str::to_owned));
    flags.extend(["--kafka-instance-id", "couriers"].map(str::to_owned));
    Program::start(waybill, "couriers", flags, failpoints).await
}
