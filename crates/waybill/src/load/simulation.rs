//! The rest of the world: what becomes of an order once it is created. Somebody confirms it, cooks
//! it, carries it; now and then a customer cancels, and now and then a message comes twice, too
//! early, or makes no sense.
//!
//! Pure: seed, words and instants go in, status words come out. It sends nothing and reads no clock.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    time::Duration,
};

use events::{OrderStatus, OrderUid, StatusWord};
use tokio::time::Instant;

use super::{
    rng::Rng,
    shares::{MILLION, Share},
};

/// The most orders that are walked at once; those created beyond it stay as they are.
const MOST: usize = 200_000;
/// The most ended orders that are remembered; those that ended longest ago are forgotten first.
const REMEMBERED: usize = 100_000;
/// Sets the streams of lives apart from those of orders.
const LIVES: u64 = 0x6c_69_66_65;

/// The way of an order that nothing happens to.
const WAY: [&str; 5] = ["pending", "confirmed", "cooking", "delivering", "completed"];
const CANCELLED: [&str; 3] = ["cancelled", "canceled", "deleted"];
/// Words that no service knows.
const NONSENSE: [&str; 3] = ["refunded", "lost", "in_orbit"];

/// How orders are walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    /// From one status to the next, on the average; each takes half to one and a half of it.
    pub step: Duration,
    /// Of the orders: cancelled before they are delivered.
    pub cancels: Share,
    /// Of the orders: one of the statuses is told twice.
    pub repeats: Share,
    /// Of the orders: two neighbouring statuses come the wrong way round.
    pub reordered: Share,
    /// Of the orders: a word that nobody knows is among the statuses.
    pub unknown: Share,
}

/// A status that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) order_id: OrderUid,
    pub(super) status: &'static str,
}

/// The orders that are on their way, and what happens to each of them when.
pub(super) struct World {
    seed: u64,
    walk: Walk,
    lives: HashMap<OrderUid, Life>,
    due: BTreeSet<(Instant, OrderUid)>,
    ended: Ended,
}

struct Life {
    next: Instant,
    rest: VecDeque<(Duration, &'static str)>,
    /// Its end was told here; what is left of its way is mischief, and is told all the same.
    is_over: bool,
}

/// Orders that have ended: a repeated `created` does not begin them again.
#[derive(Default)]
struct Ended {
    known: HashSet<OrderUid>,
    in_turn: VecDeque<OrderUid>,
}

impl Ended {
    fn remember(&mut self, order_id: &OrderUid) {
        if !self.known.insert(order_id.clone()) {
            return;
        }
        self.in_turn.push_back(order_id.clone());
        if self.in_turn.len() > REMEMBERED
            && let Some(oldest) = self.in_turn.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

impl World {
    pub(super) fn new(seed: u64, walk: Walk) -> Self {
        let (lives, due) = (HashMap::new(), BTreeSet::new());
        Self { seed, walk, lives, due, ended: Ended::default() }
    }

    /// Hears a status of an order, whoever told it.
    pub(super) fn hear(&mut self, order_id: &OrderUid, word: StatusWord, now: Instant) {
        match word {
            StatusWord::Status(OrderStatus::Created) => self.begin(order_id, now),
            StatusWord::Status(status) if status.is_ended() => {
                self.ended.remember(order_id);
                // Ended by somebody else: what was planned for it no longer happens.
                if self.lives.get(order_id).is_some_and(|life| !life.is_over) {
                    self.forget(order_id);
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, order_id: &OrderUid, now: Instant) {
        let is_known = self.lives.contains_key(order_id) || self.ended.known.contains(order_id);
        if is_known || self.lives.len() == MOST {
            return;
        }
        let rest = self.plan(order_id);
        let Some((wait, _)) = rest.front() else { return };
        let next = now + *wait;
        self.due.insert((next, order_id.clone()));
        self.lives.insert(order_id.clone(), Life { next, rest, is_over: false });
    }

    fn forget(&mut self, order_id: &OrderUid) {
        if let Some(life) = self.lives.remove(order_id) {
            self.due.remove(&(life.next, order_id.clone()));
        }
    }

    /// When the next status is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// How many orders are on their way.
    pub(super) fn alive(&self) -> usize {
        self.lives.len()
    }

    /// Takes the next status that is due by `now`.
    pub(super) fn step(&mut self, now: Instant) -> Option<Step> {
        if self.due.first()?.0 > now {
            return None;
        }
        let (at, order_id) = self.due.pop_first()?;
        let life = self.lives.get_mut(&order_id)?;
        let (_, status) = life.rest.pop_front()?;
        if ends(status) {
            life.is_over = true;
            self.ended.remember(&order_id);
        }
        match life.rest.front() {
            None => {
                self.lives.remove(&order_id);
            }
            Some((wait, _)) => {
                // Reckoned from when it was due: a late wake-up shifts nothing.
                life.next = at + *wait;
                self.due.insert((life.next, order_id.clone()));
            }
        }
        Some(Step { order_id, status })
    }

    /// An order's whole way, the same for the same seed and id: how long after the one before each
    /// status comes.
    fn plan(&self, order_id: &OrderUid) -> VecDeque<(Duration, &'static str)> {
        let words = order_id.as_str().bytes().map(u64::from);
        let mut rng = Rng::of(&[self.seed, LIVES].into_iter().chain(words).collect::<Vec<_>>());
        let mut happens =
            |share: Share| rng.below(u64::from(MILLION)) < u64::from(share.millionths());
        let (cancelled, repeated) = (happens(self.walk.cancels), happens(self.walk.repeats));
        let (reordered, unknown) = (happens(self.walk.reordered), happens(self.walk.unknown));
        let mut way = WAY.to_vec();
        if cancelled {
            way.truncate(rng.below(4) as usize);
            way.push(rng.pick(&CANCELLED));
        } else if rng.chance(10) {
            way[4] = "delivered";
        }
        if unknown {
            way.insert(rng.below(way.len() as u64) as usize, rng.pick(&NONSENSE));
        }
        if reordered && way.len() > 1 {
            let first = rng.below(way.len() as u64 - 1) as usize;
            way.swap(first, first + 1);
        }
        if repeated {
            let again = rng.below(way.len() as u64) as usize;
            way.insert(again + 1, way[again]);
        }
        way.into_iter()
            .map(|status| (self.walk.step * (500 + rng.below(1_001) as u32) / 1_000, status))
            .collect()
    }
}

fn ends(status: &str) -> bool {
    matches!(StatusWord::read(status), StatusWord::Status(status) if status.is_ended())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn walk(mischief: &str) -> Walk {
        let share: Share = mischief.parse().unwrap();
        let step = Duration::from_secs(2);
        Walk { step, cancels: share, repeats: share, reordered: share, unknown: share }
    }

    const CREATED: StatusWord = StatusWord::Status(OrderStatus::Created);

    fn uid(number: usize) -> OrderUid {
        format!("order-{number}").parse().unwrap()
    }

    /// Everything that happens within an hour, second by second.
    fn lived(world: &mut World, start: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        for second in 0..3_600 {
            while let Some(step) = world.step(start + Duration::from_secs(second)) {
                steps.push(step);
            }
        }
        steps
    }

    #[test]
    fn an_undisturbed_order_goes_its_way_once_however_often_it_is_created() {
        let start = Instant::now();
        let mut world = World::new(7, walk("0"));
        for _ in 0..3 {
            world.hear(&uid(1), CREATED, start);
        }
        assert_eq!(world.alive(), 1);
        assert!(world.due().unwrap() >= start + Duration::from_secs(1));
        let told: Vec<_> = lived(&mut world, start).into_iter().map(|step| step.status).collect();
        assert_eq!(told[..4], WAY[..4]);
        assert!(["completed", "delivered"].contains(&told[4]) && told.len() == 5, "{told:?}");
        assert_eq!((world.alive(), world.due()), (0, None));
    }

    #[test]
    fn what_others_have_ended_is_walked_no_further() {
        let start = Instant::now();
        let mut world = World::new(7, walk("0"));
        world.hear(&uid(1), CREATED, start);
        world.hear(&uid(1), StatusWord::read("cooking"), start);
        assert_eq!(world.alive(), 1);
        world.hear(&uid(1), StatusWord::read("cancelled"), start);
        assert_eq!((world.alive(), lived(&mut world, start)), (0, vec![]));
    }

    #[test]
    fn what_it_hears_of_its_own_words_changes_nothing() {
        let start = Instant::now();
        let (mut deaf, mut hearing) = (World::new(7, walk("0.5")), World::new(7, walk("0.5")));
        for number in 0..1_000 {
            deaf.hear(&uid(number), CREATED, start);
            hearing.hear(&uid(number), CREATED, start);
        }
        let mut heard = Vec::new();
        for second in 0..3_600 {
            let now = start + Duration::from_secs(second);
            while let Some(step) = hearing.step(now) {
                hearing.hear(&step.order_id, StatusWord::read(step.status), now);
                heard.push(step);
            }
        }
        assert_eq!(heard, lived(&mut deaf, start));
    }

    #[test]
    fn an_ended_order_is_not_begun_again_and_few_are_remembered() {
        let start = Instant::now();
        let mut world = World::new(7, walk("0"));
        world.hear(&uid(1), CREATED, start);
        assert_eq!(lived(&mut world, start).len(), 5);
        world.hear(&uid(2), StatusWord::read("deleted"), start);
        for number in [1, 2] {
            world.hear(&uid(number), CREATED, start);
            assert_eq!(world.alive(), 0, "{number}");
        }
        for number in 3..REMEMBERED + 10 {
            world.hear(&uid(number), StatusWord::read("completed"), start);
        }
        assert_eq!((world.ended.known.len(), world.ended.in_turn.len()), (REMEMBERED, REMEMBERED));
    }

    #[test]
    fn all_mischief_happens_and_the_same_seed_tells_the_same() {
        let start = Instant::now();
        let mut runs = Vec::new();
        for _ in 0..2 {
            let mut world = World::new(7, walk("0.5"));
            (0..1_000).for_each(|number| world.hear(&uid(number), CREATED, start));
            runs.push(lived(&mut world, start));
        }
        assert_eq!(runs[0], runs[1]);
        let mut lives: BTreeMap<OrderUid, Vec<&str>> = BTreeMap::new();
        for Step { order_id, status } in runs.swap_remove(0) {
            lives.entry(order_id).or_default().push(status);
        }
        assert_eq!(lives.len(), 1_000);
        let share = |is: fn(&Vec<&str>) -> bool| lives.values().filter(|life| is(life)).count();
        let cancelled = share(|life| life.iter().any(|s| CANCELLED.contains(s)));
        let unknown = share(|life| life.iter().any(|s| NONSENSE.contains(s)));
        let repeated = share(|life| life.windows(2).any(|pair| pair[0] == pair[1]));
        for (what, count) in
            [("cancelled", cancelled), ("unknown", unknown), ("repeated", repeated)]
        {
            assert!((400..600).contains(&count), "{what}: {count}");
        }
        for life in lives.values() {
            assert!(life.iter().any(|status| ends(status)), "{life:?}");
        }
    }
}
