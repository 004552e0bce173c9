//! The values of all series at one interval. A value has the place of its time in a ring: the time,
//! divided by the interval, modulo the length. So the memory is fixed, and the oldest value is
//! overwritten. `NaN` is a missing value.

use super::portion::{Portion, Total};

/// The values at one interval.
#[derive(Debug)]
pub(super) struct Level {
    /// The interval in seconds.
    step: i64,
    len: usize,
    /// The time of the newest value, divided by the interval.
    newest: Option<i64>,
    tracks: Vec<Track>,
}

/// The values of one series.
#[derive(Debug)]
struct Track {
    values: Box<[f32]>,
    /// The sum of the portions of the newest value.
    total: Total,
}

impl Track {
    fn new(len: usize) -> Self {
        Self { values: vec![f32::NAN; len].into(), total: Total::default() }
    }
}

impl Level {
    pub(super) fn new(step: i64, len: usize) -> Self {
        Self { step, len, newest: None, tracks: Vec::new() }
    }

    /// Adds a series without values.
    pub(super) fn add_track(&mut self) {
        self.tracks.push(Track::new(self.len));
    }

    /// Adds a sample to the value of the interval that contains `second`. A sample that covers several
    /// seconds is added once per second, each time with its `share` for one second. `portions` has one
    /// entry per series.
    pub(super) fn add(&mut self, second: i64, portions: &[Portion], share: f64) {
        let slot = second.div_euclid(self.step);
        self.advance_to(slot);
        let place = self.place(slot);
        for (track, portion) in self.tracks.iter_mut().zip(portions) {
            track.total.add(portion, share);
            track.values[place] = track.total.value(portion) as f32;
        }
    }

    /// Makes a slot the newest one, and marks the values between the former newest slot and this one as
    /// missing. If the clock went forward, there was no sample at these times; if it was set back,
    /// these times are in the future now.
    pub(super) fn advance_to(&mut self, slot: i64) {
        let before = self.newest.replace(slot);
        let Some(before) = before.filter(|before| *before != slot) else { return };
        let (first, last) = if before < slot { (before + 1, slot) } else { (slot + 1, before) };
        let len = i64::try_from(self.len).expect("a ring is short");
        let last = last.min(first + len - 1);
        for place in (first..=last).map(|slot| self.place(slot)).collect::<Vec<_>>() {
            for track in &mut self.tracks {
                track.values[place] = f32::NAN;
            }
        }
        for track in &mut self.tracks {
            track.total.clear();
        }
    }

    /// Drops the values of times after `second`.
    pub(super) fn set_back_to(&mut self, second: i64) {
        let slot = second.div_euclid(self.step);
        if self.newest.is_some_and(|newest| slot < newest) {
            self.advance_to(slot);
        }
    }

    pub(super) fn newest(&self) -> Option<i64> {
        self.newest
    }

    /// Returns the slots from the oldest kept one, or that of `since`, to the newest one.
    pub(super) fn slots(&self, since: i64) -> std::ops::Range<i64> {
        let Some(newest) = self.newest else { return 0..0 };
        let oldest = newest + 1 - i64::try_from(self.len).expect("a ring is short");
        oldest.max(since.div_euclid(self.step)).min(newest)..newest + 1
    }

    /// Returns the values of a series in these slots, which must be kept ones.
    pub(super) fn values(&self, track: usize, slots: std::ops::Range<i64>) -> Vec<f32> {
        let values = &self.tracks[track].values;
        slots.map(|slot| values[self.place(slot)]).collect()
    }

    /// Returns the newest value of a series.
    pub(super) fn newest_value(&self, track: usize) -> f32 {
        self.newest.map_or(f32::NAN, |slot| self.tracks[track].values[self.place(slot)])
    }

    /// Returns the bytes of all values.
    #[cfg(test)]
    pub(super) fn value_bytes(&self) -> usize {
        self.tracks.iter().map(|track| size_of_val(&*track.values)).sum()
    }

    fn place(&self, slot: i64) -> usize {
        let len = i64::try_from(self.len).expect("a ring is short");
        usize::try_from(slot.rem_euclid(len)).expect("the remainder is not negative")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauge(value: f64) -> [Portion; 1] {
        [Portion::Quotient { part: value, whole: 1.0 }]
    }

    fn level(step: i64, len: usize) -> Level {
        let mut level = Level::new(step, len);
        level.add_track();
        level
    }

    /// Returns the kept slots and their values; a missing value is -1.
    fn kept(level: &Level) -> Vec<(i64, f32)> {
        let slots = level.slots(0);
        let values = level.values(0, slots.clone());
        slots
            .zip(values.into_iter().map(|value| if value.is_nan() { -1.0 } else { value }))
            .collect()
    }

    #[test]
    fn the_newest_values_are_kept() {
        let mut level = level(1, 4);
        for second in 10..17 {
            level.add(second, &gauge(second as f64), 1.0);
        }
        assert_eq!(kept(&level), [(13, 13.0), (14, 14.0), (15, 15.0), (16, 16.0)]);
    }

    #[test]
    fn seconds_without_a_sample_are_missing() {
        let mut level = level(1, 4);
        level.add(10, &gauge(1.0), 1.0);
        level.add(12, &gauge(2.0), 1.0);
        assert_eq!(kept(&level)[2..], [(11, -1.0), (12, 2.0)]);
        level.add(1_000, &gauge(3.0), 1.0);
        assert_eq!(kept(&level), [(997, -1.0), (998, -1.0), (999, -1.0), (1_000, 3.0)]);
    }

    #[test]
    fn a_clock_that_is_set_back_drops_the_later_values() {
        let mut level = level(1, 4);
        for second in 10..14 {
            level.add(second, &gauge(second as f64), 1.0);
        }
        level.set_back_to(11);
        assert_eq!(kept(&level)[1..], [(9, -1.0), (10, 10.0), (11, 11.0)]);
        level.add(12, &gauge(5.0), 1.0);
        assert_eq!(kept(&level)[1..], [(10, 10.0), (11, 11.0), (12, 5.0)]);
        level.set_back_to(2);
        level.add(3, &gauge(6.0), 1.0);
        assert_eq!(kept(&level).into_iter().filter(|(_, value)| *value >= 0.0).count(), 1);
    }

    #[test]
    fn a_longer_interval_has_the_mean_of_its_seconds() {
        let mut level = level(60, 3);
        for second in 120..150 {
            level.add(second, &gauge(2.0), 1.0);
        }
        assert_eq!(level.newest_value(0), 2.0, "a part of the minute is enough");
        for second in 150..180 {
            level.add(second, &gauge(4.0), 1.0);
        }
        level.add(180, &gauge(7.0), 1.0);
        assert_eq!(kept(&level)[1..], [(2, 3.0), (3, 7.0)]);
    }

    #[test]
    fn only_slots_since_the_start_are_shown() {
        let mut level = level(60, 10);
        level.add(600, &gauge(1.0), 1.0);
        level.add(660, &gauge(2.0), 1.0);
        assert_eq!(level.slots(605), 10..12);
        assert_eq!(level.slots(9_999), 11..12);
        assert_eq!(Level::new(60, 10).slots(0), 0..0);
    }
}
