//! The committed offsets: none is beyond the end of its partition, or beyond a record that has no
//! row.

use super::{Case, Position, kafka};
use crate::finding::{CheckResult, FindingKind::OffsetsAhead};

/// The consumer groups, and the records of their topics that have no row.
#[derive(Debug, Default)]
pub(super) struct Unstored {
    pub(super) orders: Vec<Position>,
    pub(super) status: Vec<Position>,
    pub(super) couriers: Vec<Position>,
}

pub(super) fn check(case: &Case, unstored: &Unstored) -> anyhow::Result<CheckResult> {
    let mut check = CheckResult::new(1, "committed offsets: not beyond what is stored");
    let groups = [
        ("orders", &case.orders_topic, &unstored.orders),
        ("status", &case.status_topic, &unstored.status),
        ("couriers", &case.status_topic, &unstored.couriers),
    ];
    for (name, topic, missing) in groups {
        let group = format!("{}.{name}", case.group);
        let committed = kafka::committed(&case.brokers, &group, topic)?;
        for (range, offset) in committed {
            let Some(offset) = offset else { continue };
            check.checked += 1;
            let place = || format!("{group}: {topic}:{} at {offset}", range.partition);
            check.expect(offset <= range.end, OffsetsAhead, || {
                format!("{}, the end is {}", place(), range.end)
            });
            let skipped = missing
                .iter()
                .find(|position| position.partition == range.partition && position.offset < offset);
            if let Some(position) = skipped {
                check.find(OffsetsAhead, || format!("{}, {position} is not stored", place()));
            }
        }
    }
    Ok(check)
}
