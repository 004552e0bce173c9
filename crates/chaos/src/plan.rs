//! The faults of a run: a function of the seed, the number of faults, the duration and the size of
//! the system.
//!
//! Two lists run beside each other, each one fault after the other: faults of the replicas, and
//! faults of the servers and connections that they use. So a replica is killed while PostgreSQL is
//! frozen, but two faults of one list never hide each other's recovery.

use std::{fmt, time::Duration};

use chassis::process::failpoint;
use serde::Serialize;

use crate::system::Role;

/// The points that only a call fires.
const NOT_IN_TRAFFIC: [&str; 5] =
    ["order-posted", "before-replay", "after-replay", "assign-manually", "unassign"];

/// The points of the order service alone, and those of the courier service alone. All others are in
/// both services.
const IN_ORDERS: [&str; 8] = [
    "warm-up",
    "split",
    "before-rejecting",
    "cache-update",
    "before-publish",
    "status-recorded",
    "tail-read",
    "redis-write",
];
const IN_COURIERS: [&str; 7] =
    ["before-wake", "match", "matched", "release", "outbox-read", "outbox-sent", "outbox-deleted"];

/// Points that a process reaches once or a few times: they fire at the first time.
const AT_FIRST: [&str; 9] = [
    "before-listening",
    "topics-checked",
    "warm-up",
    "assign",
    "revoke",
    "drain",
    "split",
    "before-rejecting",
    "release",
];

/// The number of points that a fault arms.
const POINTS_OF_A_FAULT: usize = 3;

/// Points at which the courier service sends a dead letter: too rare for a plan.
const RARE_IN_COURIERS: [&str; 3] = ["between-sends", "send", "after-publish"];

/// The share of the duration in which faults begin; the rest is for the last recovery.
const FIRST_START: f64 = 0.04;
const LAST_START: f64 = 0.92;

/// The list that a fault is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Track {
    Replicas,
    Servers,
}

/// A connection that a proxy disturbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Link {
    Postgres,
    Kafka,
}

/// A failpoint and its action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Armed {
    pub point: &'static str,
    pub action: String,
}

impl Armed {
    /// Returns whether the action may end the process.
    pub(crate) fn is_fatal(&self) -> bool {
        self.action.contains("kill") || self.action.contains("panic")
    }
}

/// A fault. A replica is given by its number in the list of all replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Fault {
    Kill {
        replica: usize,
    },
    Terminate {
        replica: usize,
    },
    /// For longer than the session of a consumer.
    Freeze {
        replica: usize,
    },
    Failpoints {
        replica: usize,
        armed: Vec<Armed>,
    },
    /// A further replica joins and leaves, again and again.
    RebalanceStorm {
        role: Role,
    },
    PostgresStop,
    PostgresFreeze,
    PostgresFreezeBackends,
    PostgresTerminateBackends,
    PostgresReadOnly,
    PostgresLockRows {
        role: Role,
    },
    PostgresSnapshot {
        role: Role,
    },
    /// Every statement that inserts more than a few orders is refused.
    PostgresRefuseBatches,
    KafkaStop,
    KafkaKill,
    KafkaFreeze,
    KafkaAddPartition,
    /// The status topic refuses every message.
    KafkaRefuseMessages,
    RedisKill,
    RedisFreeze,
    RedisJunk,
    RedisFalseValues,
    Delay {
        link: Link,
    },
    Cut {
        link: Link,
    },
    HalfOpen {
        link: Link,
    },
    Stall {
        link: Link,
    },
    DropAnswers {
        link: Link,
    },
}

/// A fault with its time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Planned {
    pub id: usize,
    pub track: Track,
    /// The earliest start, from the start of the traffic.
    pub at: Duration,
    /// The duration of the fault itself.
    pub hold: Duration,
    pub fault: Fault,
}

/// The size of what is planned.
#[derive(Debug, Clone, Copy)]
pub struct PlanOptions {
    pub seed: u64,
    pub faults: usize,
    pub duration: Duration,
    /// Replicas of each service.
    pub replicas: usize,
}

/// Returns the faults in the order of their starts.
#[must_use]
pub fn plan(options: &PlanOptions) -> Vec<Planned> {
    let mut dice = Dice(options.seed ^ 0x5eed);
    let mut bags = Bags::default();
    let mut planned = Vec::new();
    for (track, count) in
        [(Track::Replicas, options.faults.div_ceil(2)), (Track::Servers, options.faults / 2)]
    {
        for number in 0..count {
            let slot = (LAST_START - FIRST_START) / count as f64;
            let start = FIRST_START + slot * (number as f64 + dice.unit() * 0.5);
            let at = options.duration.mul_f64(start);
            let (fault, hold) = match track {
                Track::Replicas => replica_fault(&mut dice, &mut bags, options.replicas),
                Track::Servers => server_fault(&mut dice, &mut bags),
            };
            planned.push(Planned { id: 0, track, at, hold, fault });
        }
    }
    planned.sort_by_key(|planned| planned.at);
    for (id, planned) in (1..).zip(&mut planned) {
        planned.id = id;
    }
    planned
}

/// Returns failpoints for a further fault that fires these points, of which each role has some.
#[must_use]
pub fn arm(points: &[&'static str], seed: u64, replicas: usize) -> Option<(usize, Vec<Armed>)> {
    let mut dice = Dice(seed);
    let first = *points.first()?;
    let role = role_of(first).unwrap_or(Role::Orders);
    let of_role = points.iter().copied().filter(|point| is_in(point, role));
    let of_role = of_role.take(POINTS_OF_A_FAULT).collect();
    let replica = number_of(role, dice.below(replicas), replicas);
    Some((replica, bundle(&mut dice, of_role)))
}

/// The points that the traffic fires, with the faults of a plan.
#[must_use]
pub fn in_traffic() -> Vec<&'static str> {
    let names = failpoint::NAMES.iter().map(|(name, _)| *name);
    names.filter(|name| !NOT_IN_TRAFFIC.contains(name)).collect()
}

fn replica_fault(dice: &mut Dice, bags: &mut Bags, replicas: usize) -> (Fault, Duration) {
    const KINDS: [u8; 14] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 4];
    let role = *dice.choose(&[Role::Orders, Role::Couriers]);
    let replica = number_of(role, dice.below(replicas), replicas);
    match bags.replica_kinds.take(dice, &KINDS) {
        0 => {
            let point = bags.points.take(dice, |_| true);
            let role = role_of(point).unwrap_or(role);
            let replica = number_of(role, dice.below(replicas), replicas);
            let mut chosen = vec![point];
            while chosen.len() < POINTS_OF_A_FAULT {
                let fits = |point| is_in(point, role) && !chosen.contains(&point);
                chosen.push(bags.points.take(dice, fits));
            }
            (Fault::Failpoints { replica, armed: bundle(dice, chosen) }, Duration::from_secs(6))
        }
        1 => (Fault::Kill { replica }, Duration::ZERO),
        2 => (Fault::Terminate { replica }, Duration::ZERO),
        3 => {
            // Replicas with an even number are static members, whose session is longer than this.
            let replica = if replicas > 1 { replica | 1 } else { replica };
            (Fault::Freeze { replica }, dice.duration(11_500, 15_000))
        }
        _ => (Fault::RebalanceStorm { role }, dice.duration(3_000, 6_000)),
    }
}

fn server_fault(dice: &mut Dice, bags: &mut Bags) -> (Fault, Duration) {
    const KINDS: [u8; 23] =
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22];
    let role = *dice.choose(&[Role::Orders, Role::Couriers]);
    let link = *dice.choose(&[Link::Postgres, Link::Kafka]);
    match bags.server_kinds.take(dice, &KINDS) {
        0 => (Fault::PostgresStop, dice.duration(500, 4_000)),
        1 => (Fault::PostgresFreeze, dice.duration(1_000, 6_000)),
        2 => (Fault::PostgresFreezeBackends, dice.duration(2_000, 7_000)),
        3 => (Fault::PostgresTerminateBackends, Duration::ZERO),
        4 => (Fault::PostgresReadOnly, dice.duration(1_000, 4_000)),
        5 => (Fault::PostgresLockRows { role }, dice.duration(2_000, 8_000)),
        6 => (Fault::PostgresSnapshot { role }, dice.duration(5_000, 10_000)),
        7 => (Fault::PostgresRefuseBatches, dice.duration(1_000, 3_000)),
        8 => (Fault::KafkaStop, dice.duration(500, 3_000)),
        9 => (Fault::KafkaKill, dice.duration(500, 3_000)),
        10 => (Fault::KafkaFreeze, dice.duration(2_000, 6_000)),
        11 => (Fault::KafkaAddPartition, Duration::ZERO),
        12 => (Fault::KafkaRefuseMessages, dice.duration(1_000, 4_000)),
        13 => (Fault::RedisKill, dice.duration(500, 4_000)),
        14 => (Fault::RedisFreeze, dice.duration(1_000, 5_000)),
        15 => (Fault::RedisJunk, Duration::ZERO),
        16 => (Fault::RedisFalseValues, Duration::ZERO),
        17 => (Fault::Delay { link }, dice.duration(2_000, 5_000)),
        18 => (Fault::Cut { link }, dice.duration(500, 3_000)),
        19 => (Fault::HalfOpen { link }, dice.duration(500, 1_000)),
        20 => (Fault::Stall { link }, dice.duration(2_000, 7_000)),
        21 => (Fault::DropAnswers { link: Link::Postgres }, dice.duration(2_000, 4_000)),
        _ => (Fault::DropAnswers { link: Link::Kafka }, dice.duration(2_000, 4_000)),
    }
}

/// Chooses an action for each point: one of them ends the process where it may, the others delay it
/// or return errors.
fn bundle(dice: &mut Dice, points: Vec<&'static str>) -> Vec<Armed> {
    let fatal = dice.below(points.len());
    let arm = |(number, point): (usize, &'static str)| {
        let hits = if AT_FIRST.contains(&point) { 0 } else { dice.below(4) };
        let action = if number == fatal {
            // A panic at some points rejects a valid record by design, so they do not panic here.
            let may_panic = !failpoint::PANIC_REJECTS.contains(&point);
            let kind = if may_panic && dice.below(3) == 0 { "panic" } else { "kill" };
            format!("1*{kind}@{hits}")
        } else if failpoint::RETURN_ERRORS.contains(&point) && dice.below(3) > 0 {
            format!("{}*error@{hits}", 1 + dice.below(3))
        } else {
            format!("{}*delay({})@{hits}", 1 + dice.below(3), 50 + dice.below(1_500))
        };
        Armed { point, action }
    };
    points.into_iter().enumerate().map(arm).collect()
}

/// The only role with this point; none if both roles have it.
fn role_of(point: &str) -> Option<Role> {
    if IN_ORDERS.contains(&point) || RARE_IN_COURIERS.contains(&point) {
        Some(Role::Orders)
    } else if IN_COURIERS.contains(&point) {
        Some(Role::Couriers)
    } else {
        None
    }
}

fn is_in(point: &str, role: Role) -> bool {
    role_of(point).is_none_or(|only| only == role)
}

fn number_of(role: Role, number: usize, replicas: usize) -> usize {
    match role {
        Role::Orders => number,
        Role::Couriers => replicas + number,
    }
}

impl Fault {
    /// The words for the kind of a fault, without its parameters.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "replica killed",
            Self::Terminate { .. } => "replica stopped by SIGTERM",
            Self::Freeze { .. } => "replica frozen beyond its session",
            Self::Failpoints { .. } => "failpoints",
            Self::RebalanceStorm { .. } => "rebalance storm",
            Self::PostgresStop => "PostgreSQL stopped at once",
            Self::PostgresFreeze => "PostgreSQL frozen",
            Self::PostgresFreezeBackends => "PostgreSQL sessions frozen",
            Self::PostgresTerminateBackends => "PostgreSQL sessions terminated",
            Self::PostgresReadOnly => "PostgreSQL read-only",
            Self::PostgresLockRows { .. } => "PostgreSQL rows locked",
            Self::PostgresSnapshot { .. } => "PostgreSQL snapshot held",
            Self::PostgresRefuseBatches => "PostgreSQL refuses batches",
            Self::KafkaStop => "Kafka stopped",
            Self::KafkaKill => "Kafka killed",
            Self::KafkaFreeze => "Kafka frozen",
            Self::KafkaAddPartition => "Kafka partition added",
            Self::KafkaRefuseMessages => "Kafka refuses messages",
            Self::RedisKill => "Redis killed",
            Self::RedisFreeze => "Redis frozen",
            Self::RedisJunk => "Redis filled with junk",
            Self::RedisFalseValues => "Redis filled with false orders",
            Self::Delay { .. } => "connections delayed",
            Self::Cut { .. } => "connections cut",
            Self::HalfOpen { .. } => "connections half-open",
            Self::Stall { .. } => "connections stalled",
            Self::DropAnswers { link: Link::Postgres } => "answers to COMMIT dropped",
            Self::DropAnswers { link: Link::Kafka } => "answers to Produce dropped",
        }
    }

    /// The parameters of a fault, or an empty text.
    #[must_use]
    pub fn target(&self) -> String {
        match self {
            Self::Kill { replica } | Self::Terminate { replica } | Self::Freeze { replica } => {
                format!("replica {replica}")
            }
            Self::Failpoints { replica, armed } => {
                let armed: Vec<String> =
                    armed.iter().map(|one| format!("{}={}", one.point, one.action)).collect();
                format!("replica {replica}: {}", armed.join(";"))
            }
            Self::RebalanceStorm { role }
            | Self::PostgresLockRows { role }
            | Self::PostgresSnapshot { role } => role.name().to_owned(),
            Self::Delay { link }
            | Self::Cut { link }
            | Self::HalfOpen { link }
            | Self::Stall { link } => match link {
                Link::Postgres => "PostgreSQL".to_owned(),
                Link::Kafka => "Kafka".to_owned(),
            },
            _ => String::new(),
        }
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, hold) = (self.at.as_secs_f64(), self.hold.as_secs_f64());
        let (kind, target) = (self.fault.kind(), self.fault.target());
        write!(f, "{:4}  {at:8.1} s  {hold:5.1} s  {kind}", self.id)?;
        if target.is_empty() { Ok(()) } else { write!(f, " ({target})") }
    }
}

/// The kinds and points that were taken before.
#[derive(Default)]
struct Bags {
    replica_kinds: Bag<u8>,
    server_kinds: Bag<u8>,
    points: Turns,
}

/// A bag from which every kind is taken once before any kind is taken again.
#[derive(Default)]
struct Bag<T>(Vec<T>);

impl<T: Copy> Bag<T> {
    fn take(&mut self, dice: &mut Dice, all: &[T]) -> T {
        if self.0.is_empty() {
            self.0.extend_from_slice(all);
        }
        self.0.remove(dice.below(self.0.len()))
    }
}

/// The number of turns that each point had.
struct Turns(Vec<(&'static str, usize)>);

impl Default for Turns {
    fn default() -> Self {
        Self(in_traffic().into_iter().map(|point| (point, 0)).collect())
    }
}

impl Turns {
    /// Takes one of the points that fit and had the fewest turns.
    fn take(&mut self, dice: &mut Dice, fits: impl Fn(&'static str) -> bool) -> &'static str {
        let fitting = || self.0.iter().enumerate().filter(|(_, (point, _))| fits(point));
        let fewest = fitting().map(|(_, (_, turns))| *turns).min();
        let due: Vec<usize> = fitting()
            .filter(|(_, (_, turns))| Some(*turns) == fewest)
            .map(|(number, _)| number)
            .collect();
        let (point, turns) = &mut self.0[*dice.choose(&due)];
        *turns += 1;
        point
    }
}

/// Pseudo-random numbers (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn choose<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    fn duration(&mut self, from_ms: usize, to_ms: usize) -> Duration {
        Duration::from_millis((from_ms + self.below(to_ms - from_ms)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn options(seed: u64, faults: usize) -> PlanOptions {
        PlanOptions { seed, faults, duration: Duration::from_secs(1800), replicas: 2 }
    }

    #[test]
    fn a_plan_depends_on_its_seed_alone() {
        assert_eq!(plan(&options(7, 300)), plan(&options(7, 300)));
        assert_ne!(plan(&options(7, 300)), plan(&options(8, 300)));
        assert_eq!(plan(&options(7, 300)).len(), 300);
    }

    #[test]
    fn every_kind_and_point_is_planned_about_equally_often() {
        let plan = plan(&options(1, 300));
        let kinds: BTreeSet<&str> = plan.iter().map(|planned| planned.fault.kind()).collect();
        assert_eq!(kinds.len(), 28, "{kinds:?}");

        let mut points: BTreeMap<&str, usize> =
            in_traffic().into_iter().map(|point| (point, 0)).collect();
        for planned in &plan {
            if let Fault::Failpoints { armed, .. } = &planned.fault {
                for armed in armed {
                    *points.entry(armed.point).or_default() += 1;
                }
            }
        }
        let (fewest, most) = (points.values().min().unwrap(), points.values().max().unwrap());
        assert!(*fewest >= 5 && most - fewest <= 2, "{points:?}");
    }
}
