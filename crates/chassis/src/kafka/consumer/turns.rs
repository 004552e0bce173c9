//! The turns of a lane's partitions: from which of them the next record is taken. They go on where the
//! last fill ended, because a fill that always began with the same partition would starve the others
//! while that one is busy. Pure: it knows only the number of partitions.

#[derive(Default)]
pub(super) struct Turns(usize);

impl Turns {
    /// Returns the next index below `count`, which is not 0. After a change of `count` a partition
    /// may be passed over once.
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
    fn turns_go_on_where_the_last_fill_ended() {
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
