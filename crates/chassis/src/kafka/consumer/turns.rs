//! Round-robin over a lane's partitions: chooses the partition from which the lane takes the next
//! record. The next fill starts after the last partition polled. If each fill began with the same
//! partition, that one could starve the others while it has a backlog. Pure: it knows only the
//! number of partitions.

#[derive(Default)]
pub(super) struct Turns(usize);

impl Turns {
    /// Returns the next index below `count`, which must not be 0. After a change of `count`, one
    /// partition may lose one turn.
    pub(super) fn next(&mut self, count: usize) -> usize {
        let turn = if self.0 < count { self.0 } else { 0 };
        self.0 = turn + 1;
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fill_continues_where_the_last_one_ended() {
        let mut turns = Turns::default();
        let fill =
            |turns: &mut Turns, records| (0..records).map(|_| turns.next(3)).collect::<Vec<_>>();

        assert_eq!(fill(&mut turns, 4), [0, 1, 2, 0]);
        assert_eq!(fill(&mut turns, 4), [1, 2, 0, 1]);
    }

    #[test]
    fn turns_stay_in_range_when_partitions_are_revoked() {
        let mut turns = Turns::default();
        (0..7).for_each(|_| {
            turns.next(8);
        });

        assert_eq!((turns.next(2), turns.next(2), turns.next(2)), (0, 1, 0));
        assert_eq!(turns.next(1), 0);
    }
}
