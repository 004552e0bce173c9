//! Injects one fault of a plan and takes it back: when [`inject`] returns, the fault has ended.
//!
//! ```text
//! tracks     runs the faults of a plan, and waits for the recovery from each
//! replicas   signals, failpoints, rebalance storms
//! postgres   kafka   redis   network
//! calls      failpoints that only a call fires
//! ```

mod calls;
mod kafka;
mod network;
mod postgres;
mod redis;
mod replicas;
mod tracks;

use anyhow::Result;

pub use self::{
    calls::CallFault,
    tracks::{Injected, Outcome},
};
pub(crate) use self::{calls::fire_by_calls, replicas::firings, tracks::Tracks};

use crate::{
    plan::{Fault, Planned},
    system::System,
};

/// Injects a fault, waits for its duration, and ends it. Returns a note for the report, which may be
/// empty.
pub(crate) async fn inject(system: &System, planned: &Planned) -> Result<String> {
    let hold = planned.hold;
    match &planned.fault {
        Fault::Kill { replica } => replicas::kill(system, *replica).await,
        Fault::Terminate { replica } => replicas::terminate(system, *replica).await,
        Fault::Freeze { replica } => replicas::freeze(system, *replica, hold).await,
        Fault::Failpoints { replica, armed } => {
            replicas::failpoints(system, *replica, armed, hold).await
        }
        Fault::RebalanceStorm { role } => replicas::storm(system, *role, hold).await,
        Fault::PostgresStop => postgres::stop(system, hold).await,
        Fault::PostgresFreeze => postgres::freeze(system, hold).await,
        Fault::PostgresFreezeBackends => postgres::freeze_backends(system, planned.id, hold).await,
        Fault::PostgresTerminateBackends => postgres::terminate_backends(system).await,
        Fault::PostgresReadOnly => postgres::read_only(system, hold).await,
        Fault::PostgresLockRows { role } => postgres::lock_rows(system, *role, hold).await,
        Fault::PostgresSnapshot { role } => postgres::hold_snapshot(system, *role, hold).await,
        Fault::PostgresRefuseBatches => postgres::refuse_batches(system, hold).await,
        Fault::KafkaStop => kafka::stop(system, hold).await,
        Fault::KafkaKill => kafka::kill(system, hold).await,
        Fault::KafkaFreeze => kafka::freeze(system, hold).await,
        Fault::KafkaAddPartition => kafka::add_partition(system, planned.id).await,
        Fault::KafkaRefuseMessages => kafka::refuse_messages(system, hold).await,
        Fault::RedisKill => redis::kill(system, hold).await,
        Fault::RedisFreeze => redis::freeze(system, hold).await,
        Fault::RedisJunk => redis::junk(system).await,
        Fault::RedisFalseValues => redis::false_values(system).await,
        Fault::Delay { link } => network::delay(system, *link, hold).await,
        Fault::Cut { link } => network::cut(system, *link, hold).await,
        Fault::HalfOpen { link } => network::half_open(system, *link, hold).await,
        Fault::Stall { link } => network::stall(system, *link, hold).await,
        Fault::DropAnswers { link } => network::drop_answers(system, *link, hold).await,
    }
}
