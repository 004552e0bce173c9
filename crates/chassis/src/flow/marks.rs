//! Marks: what happened to this replica, and when. They explain the charts. There is a limit on
//! their number; the oldest ones are dropped.

use std::collections::VecDeque;

use serde::Serialize;

/// The most marks that are kept.
const MAX_MARKS: usize = 200;
/// The shortest outage that is marked, in seconds. A shorter one is only a retry.
const MIN_OUTAGE: i64 = 5;
/// Something that happens again within this time, in seconds, extends its mark.
const MERGED_WITHIN: i64 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// The start of this replica.
    Start,
    /// PostgreSQL is unreachable, or refuses to write.
    Postgres,
    /// There is no connection to Kafka.
    Kafka,
    Redis,
    /// A part of the service makes no progress; `/readyz` gives the reason.
    Blocked,
    /// Partitions were assigned to this replica, or revoked.
    Rebalance,
    /// There are no samples: the process was stopped, or the clock was set.
    Gap,
}

impl MarkKind {
    pub const ALL: [Self; 7] = [
        Self::Start,
        Self::Postgres,
        Self::Kafka,
        Self::Redis,
        Self::Blocked,
        Self::Rebalance,
        Self::Gap,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Postgres => "postgres",
            Self::Kafka => "kafka",
            Self::Redis => "redis",
            Self::Blocked => "blocked",
            Self::Rebalance => "rebalance",
            Self::Gap => "gap",
        }
    }
}

/// Times are in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub kind: MarkKind,
    pub from: i64,
    /// `None` while it lasts; equal to `from` for a moment.
    pub to: Option<i64>,
}

#[derive(Debug)]
pub(super) struct Marks {
    all: VecDeque<Mark>,
    /// The second since which an outage of this kind is seen, and is too short for a mark.
    seen_since: [Option<i64>; MarkKind::ALL.len()],
    /// Rises with each change.
    version: u64,
}

impl Marks {
    /// Creates the marks of a replica that has started at `second`.
    pub(super) fn since(second: i64) -> Self {
        let start = Mark { kind: MarkKind::Start, from: second, to: Some(second) };
        Self { all: VecDeque::from([start]), seen_since: Default::default(), version: 1 }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Mark> {
        self.all.iter().copied()
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Notes whether an outage is seen at this second.
    pub(super) fn note_outage(&mut self, kind: MarkKind, is_down: bool, second: i64) {
        let since = &mut self.seen_since[kind as usize];
        if !is_down {
            *since = None;
            if let Some(open) = self.open(kind) {
                open.to = Some(second.max(open.from));
                self.version += 1;
            }
            return;
        }
        // A clock that is set back must not delay the mark.
        let from = *since.insert(since.unwrap_or(second).min(second));
        if second - from >= MIN_OUTAGE && self.open(kind).is_none() {
            match self.last(kind, from) {
                Some(last) => last.to = None,
                None => self.push(Mark { kind, from, to: None }),
            }
            self.version += 1;
        }
    }

    /// Notes something that has happened from one second to another.
    pub(super) fn note(&mut self, kind: MarkKind, from: i64, to: i64) {
        match self.last(kind, from) {
            Some(last) => last.to = Some(to.max(last.from)),
            None => self.push(Mark { kind, from, to: Some(to) }),
        }
        self.version += 1;
    }

    fn open(&mut self, kind: MarkKind) -> Option<&mut Mark> {
        self.all.iter_mut().find(|mark| mark.kind == kind && mark.to.is_none())
    }

    /// Returns the last mark of this kind, if it has ended just before `from`.
    fn last(&mut self, kind: MarkKind, from: i64) -> Option<&mut Mark> {
        let last = self.all.iter_mut().rfind(|mark| mark.kind == kind)?;
        let is_near = last.to.is_some_and(|to| (to..=to + MERGED_WITHIN).contains(&from));
        is_near.then_some(last)
    }

    fn push(&mut self, mark: Mark) {
        if self.all.len() == MAX_MARKS {
            // An outage that lasts is kept.
            let oldest = self.all.iter().position(|mark| mark.to.is_some()).unwrap_or(0);
            self.all.remove(oldest);
        }
        self.all.push_back(mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks_of(marks: &Marks, kind: MarkKind) -> Vec<(i64, Option<i64>)> {
        marks.all().filter(|mark| mark.kind == kind).map(|mark| (mark.from, mark.to)).collect()
    }

    #[test]
    fn an_outage_has_its_whole_duration_and_a_short_one_no_mark() {
        let mut marks = Marks::since(100);
        assert_eq!(marks_of(&marks, MarkKind::Start), [(100, Some(100))]);
        for second in 200..204 {
            marks.note_outage(MarkKind::Postgres, true, second);
        }
        marks.note_outage(MarkKind::Postgres, false, 204);
        assert_eq!(marks_of(&marks, MarkKind::Postgres), []);
        for second in 300..320 {
            marks.note_outage(MarkKind::Postgres, true, second);
        }
        assert_eq!(marks_of(&marks, MarkKind::Postgres), [(300, None)]);
        marks.note_outage(MarkKind::Postgres, false, 320);
        assert_eq!(marks_of(&marks, MarkKind::Postgres), [(300, Some(320))]);
        assert_eq!(marks_of(&marks, MarkKind::Kafka), []);
    }

    #[test]
    fn an_outage_that_comes_back_at_once_is_one_outage() {
        let mut marks = Marks::since(0);
        for second in (300..310).chain(312..330) {
            marks.note_outage(MarkKind::Kafka, true, second);
            marks.note_outage(MarkKind::Kafka, second != 309, second + 1);
        }
        assert_eq!(marks_of(&marks, MarkKind::Kafka), [(300, None)]);
    }

    #[test]
    fn moments_close_together_are_one_mark() {
        let mut marks = Marks::since(0);
        marks.note(MarkKind::Rebalance, 50, 50);
        marks.note(MarkKind::Rebalance, 54, 54);
        marks.note(MarkKind::Rebalance, 90, 90);
        assert_eq!(marks_of(&marks, MarkKind::Rebalance), [(50, Some(54)), (90, Some(90))]);
    }

    #[test]
    fn the_number_of_marks_is_limited_and_an_outage_that_lasts_is_kept() {
        let mut marks = Marks::since(0);
        for second in 10..20 {
            marks.note_outage(MarkKind::Redis, true, second);
        }
        for number in 1..1_000 {
            marks.note(MarkKind::Rebalance, number * 100, number * 100);
        }
        assert_eq!(marks.all().count(), MAX_MARKS);
        assert_eq!(marks_of(&marks, MarkKind::Redis), [(10, None)]);
    }
}
