//! The times of samples. The clock of the machine names the second of a sample, and a clock that
//! only goes forward measures the time since the sample before. If both disagree, or if too much
//! time has passed, the increase of a counter belongs to no known second: the sample is a gap.

use std::time::Instant;

use time::OffsetDateTime;

/// The shortest time between two samples. A rate over a shorter one, such as the rest of the second in
/// which the service has started, would be too large or too small.
const MIN_INTERVAL_SECONDS: f64 = 0.5;
/// The longest time between two samples without a gap. A busy machine delays a sample by a second
/// or two; a longer time means that the process was stopped or the machine suspended.
const MAX_INTERVAL_SECONDS: f64 = 3.0;
/// The largest difference between both clocks without a gap. Within it, the clock of the machine is
/// only corrected, or a sample was late.
const MAX_DIFFERENCE_SECONDS: f64 = 1.5;

/// The time of a sample by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Seconds since 1970, by the clock of the machine.
    pub(super) second: i64,
    pub(super) instant: Instant,
}

/// The seconds that a sample covers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Covered {
    /// It is too early: the next sample covers the time since the one before.
    Nothing,
    /// It is not known in which seconds the increase took place.
    Gap,
    /// The seconds after the sample before, up to that of this sample.
    Seconds { number: u32, elapsed: f64 },
}

impl Moment {
    pub(super) fn now() -> Self {
        let second = OffsetDateTime::now_utc().unix_timestamp();
        Self { second, instant: Instant::now() }
    }

    pub(super) fn covered_since(self, before: Self) -> Covered {
        let seconds = self.second - before.second;
        let elapsed = self.instant.saturating_duration_since(before.instant).as_secs_f64();
        let difference = (elapsed - seconds as f64).abs();
        let is_early = seconds == 0 && elapsed < MAX_DIFFERENCE_SECONDS;
        if is_early || (seconds == 1 && elapsed < MIN_INTERVAL_SECONDS) {
            return Covered::Nothing;
        }
        if seconds <= 0 || elapsed > MAX_INTERVAL_SECONDS || difference > MAX_DIFFERENCE_SECONDS {
            return Covered::Gap;
        }
        match u32::try_from(seconds) {
            Ok(number) => Covered::Seconds { number, elapsed },
            Err(_) => Covered::Gap,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Returns the seconds that are covered when both clocks have advanced by these times.
    fn covered(seconds: i64, elapsed: f64) -> Covered {
        let before = Moment { second: 1_000, instant: Instant::now() };
        let instant = before.instant + Duration::from_secs_f64(elapsed);
        Moment { second: 1_000 + seconds, instant }.covered_since(before)
    }

    #[test]
    fn a_late_sample_covers_the_seconds_before_it() {
        assert_eq!(covered(1, 1.0), Covered::Seconds { number: 1, elapsed: 1.0 });
        assert_eq!(covered(1, 0.75), Covered::Seconds { number: 1, elapsed: 0.75 });
        assert_eq!(covered(2, 1.5), Covered::Seconds { number: 2, elapsed: 1.5 });
        assert_eq!(covered(3, 2.5), Covered::Seconds { number: 3, elapsed: 2.5 });
        assert_eq!(covered(0, 0.5), Covered::Nothing);
        assert_eq!(covered(1, 0.01), Covered::Nothing, "the service has just started");
        assert_eq!(covered(2, 1.01), Covered::Seconds { number: 2, elapsed: 1.01 });
    }

    #[test]
    fn a_pause_or_another_time_of_the_clock_is_a_gap() {
        assert_eq!(covered(60, 60.0), Covered::Gap, "the process was stopped");
        assert_eq!(covered(60, 1.0), Covered::Gap, "the machine was suspended");
        assert_eq!(covered(3_600, 1.0), Covered::Gap, "the clock was set forward");
        assert_eq!(covered(-1, 1.0), Covered::Gap, "the clock was set back");
        assert_eq!(covered(-3_600, 1.0), Covered::Gap);
        assert_eq!(covered(0, 2.0), Covered::Gap, "the clock was set back by two seconds");
    }
}
