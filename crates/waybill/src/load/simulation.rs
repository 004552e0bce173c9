//! Simulates the other services that change the status of an order: they confirm it, cook it and
//! deliver it. Some orders are cancelled, and some statuses are repeated, out of order or unknown.
//!
//! Pure: it takes the statuses of orders and the time, and returns the statuses that are due. It sends
//! nothing and reads no clock.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use events::{OrderStatus, OrderUid, StatusWord};
use tokio::time::Instant;

use super::{
    own::RecentOrders,
    rng::Rng,
    shares::{MILLION, Share},
};

/// Bounds the active orders; further orders stay `created`.
const MAX_ACTIVE_ORDERS: usize = 200_000;
/// Bounds the ended orders that are remembered. The order that ended first is forgotten first.
const MAX_REMEMBERED_ORDERS: usize = 100_000;
/// Separates the random streams of plans from those of orders.
const PLAN_STREAM: u64 = 0x6c_69_66_65;

/// The statuses of an order without irregularities.
const REGULAR: [&str; 5] = ["pending", "confirmed", "cooking", "delivering", "completed"];
const CANCELLED: [&str; 3] = ["cancelled", "canceled", "deleted"];
/// Statuses that no service knows.
const UNKNOWN: [&str; 3] = ["refunded", "lost", "in_orbit"];

/// The options of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Walk {
    /// The average time from one status to the next; each time is 0.5 to 1.5 times as long.
    pub(crate) step: Duration,
    /// The share of orders that are cancelled before they are delivered.
    pub(crate) cancels: Share,
    /// The share of orders with a repeated status.
    pub(crate) repeats: Share,
    /// The share of orders with two neighbouring statuses in the wrong order.
    pub(crate) reordered: Share,
    /// The share of orders with an unknown status.
    pub(crate) unknown: Share,
}

/// A status that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) order_id: OrderUid,
    pub(super) status: &'static str,
}

// An order is in one of three states:
//
//   active      from its `created` event; it has a plan, and its next status is due
//               at a known time
//   ended       its last regular status was sent, or any sender sent `completed` or `cancelled`;
//               a repeated `created` does not start it again
//   forgotten   after MAX_REMEMBERED_ORDERS others have ended

/// The active orders, the times at which their next statuses are due, and the ended orders.
pub(super) struct Simulation {
    seed: u64,
    walk: Walk,
    active: HashMap<OrderUid, Plan>,
    due: BTreeSet<(Instant, OrderUid)>,
    /// The orders that have ended; a repeated `created` does not start them again.
    ended: RecentOrders,
}

/// The remaining statuses of an order, each with the time after the one before.
struct Plan {
    next: Instant,
    rest: VecDeque<(Duration, &'static str)>,
    /// True if the simulation itself has sent the last regular status. The remaining statuses are
    /// irregular, and are sent although the order has ended.
    has_ended: bool,
}

impl Simulation {
    pub(super) fn new(seed: u64, walk: Walk) -> Self {
        let (active, due) = (HashMap::new(), BTreeSet::new());
        Self { seed, walk, active, due, ended: RecentOrders::new(MAX_REMEMBERED_ORDERS) }
    }

    /// Handles a status event of an order of this generator, from any sender.
    pub(super) fn receive(&mut self, order_id: &OrderUid, word: StatusWord, now: Instant) {
        match word {
            StatusWord::Status(OrderStatus::Created) => self.start(order_id, now),
            StatusWord::Status(status) if status.is_ended() => {
                self.ended.remember(order_id);
                // Another sender ended the order, so its plan is dropped. If the simulation ended it,
                // this is the simulation's own event, and the irregular rest is still to be sent.
                if self.active.get(order_id).is_some_and(|plan| !plan.has_ended) {
                    self.drop_plan(order_id);
                }
            }
            _ => {}
        }
    }

    fn start(&mut self, order_id: &OrderUid, now: Instant) {
        let is_known = self.active.contains_key(order_id) || self.ended.contains(order_id);
        if is_known || self.active.len() == MAX_ACTIVE_ORDERS {
            return;
        }
        let rest = self.plan(order_id);
        let Some((wait, _)) = rest.front() else { return };
        let next = now + *wait;
        self.due.insert((next, order_id.clone()));
        self.active.insert(order_id.clone(), Plan { next, rest, has_ended: false });
    }

    fn drop_plan(&mut self, order_id: &OrderUid) {
        if let Some(plan) = self.active.remove(order_id) {
            self.due.remove(&(plan.next, order_id.clone()));
        }
    }

    /// Returns the time when the next status is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(super) fn active_orders(&self) -> usize {
        self.active.len()
    }

    /// Removes and returns the next status that is due at `now`.
    pub(super) fn step(&mut self, now: Instant) -> Option<Step> {
        if self.due.first()?.0 > now {
            return None;
        }
        let (at, order_id) = self.due.pop_first()?;
        let plan = self.active.get_mut(&order_id)?;
        let (_, status) = plan.rest.pop_front()?;
        if ends(status) {
            plan.has_ended = true;
            self.ended.remember(&order_id);
        }
        match plan.rest.front() {
            None => {
                self.active.remove(&order_id);
            }
            Some((wait, _)) => {
                // Counted from the time at which it was due, so that a late wake-up does not delay the
                // next status.
                plan.next = at + *wait;
                self.due.insert((plan.next, order_id.clone()));
            }
        }
        Some(Step { order_id, status })
    }

    /// Returns all statuses of an order, each with the time after the one before. They depend only on
    /// the seed and the id.
    fn plan(&self, order_id: &OrderUid) -> VecDeque<(Duration, &'static str)> {
        let words = order_id.as_str().bytes().map(u64::from);
        let mut rng =
            Rng::of(&[self.seed, PLAN_STREAM].into_iter().chain(words).collect::<Vec<_>>());
        let mut happens =
            |share: Share| rng.below(u64::from(MILLION)) < u64::from(share.millionths());
        let (cancelled, repeated) = (happens(self.walk.cancels), happens(self.walk.repeats));
        let (reordered, unknown) = (happens(self.walk.reordered), happens(self.walk.unknown));
        let mut statuses = REGULAR.to_vec();
        if cancelled {
            statuses.truncate(rng.below(4) as usize);
            statuses.push(rng.pick(&CANCELLED));
        } else if rng.chance(10) {
            statuses[4] = "delivered";
        }
        if unknown {
            statuses.insert(rng.below(statuses.len() as u64) as usize, rng.pick(&UNKNOWN));
        }
        if reordered && statuses.len() > 1 {
            let first = rng.below(statuses.len() as u64 - 1) as usize;
            statuses.swap(first, first + 1);
        }
        if repeated {
            let again = rng.below(statuses.len() as u64) as usize;
            statuses.insert(again + 1, statuses[again]);
        }
        statuses
            .into_iter()
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

    fn walk(share: &str) -> Walk {
        let share: Share = share.parse().unwrap();
        let step = Duration::from_secs(2);
        Walk { step, cancels: share, repeats: share, reordered: share, unknown: share }
    }

    const CREATED: StatusWord = StatusWord::Status(OrderStatus::Created);

    fn uid(number: usize) -> OrderUid {
        format!("order-{number}").parse().unwrap()
    }

    /// Returns the steps of one hour, second by second.
    fn all_steps(simulation: &mut Simulation, start: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        for second in 0..3_600 {
            while let Some(step) = simulation.step(start + Duration::from_secs(second)) {
                steps.push(step);
            }
        }
        steps
    }

    #[test]
    fn a_repeated_created_starts_an_order_once() {
        let start = Instant::now();
        let mut simulation = Simulation::new(7, walk("0"));
        for _ in 0..3 {
            simulation.receive(&uid(1), CREATED, start);
        }
        assert_eq!(simulation.active_orders(), 1);
        assert!(simulation.due().unwrap() >= start + Duration::from_secs(1));
        let statuses: Vec<_> =
            all_steps(&mut simulation, start).into_iter().map(|step| step.status).collect();
        assert_eq!(statuses[..4], REGULAR[..4]);
        assert!(
            ["completed", "delivered"].contains(&statuses[4]) && statuses.len() == 5,
            "{statuses:?}"
        );
        assert_eq!((simulation.active_orders(), simulation.due()), (0, None));
    }

    #[test]
    fn an_order_that_others_ended_gets_no_more_statuses() {
        let start = Instant::now();
        let mut simulation = Simulation::new(7, walk("0"));
        simulation.receive(&uid(1), CREATED, start);
        simulation.receive(&uid(1), StatusWord::read("cooking"), start);
        assert_eq!(simulation.active_orders(), 1);
        simulation.receive(&uid(1), StatusWord::read("cancelled"), start);
        assert_eq!((simulation.active_orders(), all_steps(&mut simulation, start)), (0, vec![]));
    }

    #[test]
    fn its_own_events_change_nothing() {
        let start = Instant::now();
        let (mut isolated, mut receiving) =
            (Simulation::new(7, walk("0.5")), Simulation::new(7, walk("0.5")));
        for number in 0..1_000 {
            isolated.receive(&uid(number), CREATED, start);
            receiving.receive(&uid(number), CREATED, start);
        }
        let mut steps = Vec::new();
        for second in 0..3_600 {
            let now = start + Duration::from_secs(second);
            while let Some(step) = receiving.step(now) {
                receiving.receive(&step.order_id, StatusWord::read(step.status), now);
                steps.push(step);
            }
        }
        assert_eq!(steps, all_steps(&mut isolated, start));
    }

    #[test]
    fn an_ended_order_is_not_started_again() {
        let start = Instant::now();
        let mut simulation = Simulation::new(7, walk("0"));
        simulation.receive(&uid(1), CREATED, start);
        assert_eq!(all_steps(&mut simulation, start).len(), 5);
        simulation.receive(&uid(2), StatusWord::read("deleted"), start);
        for number in [1, 2] {
            simulation.receive(&uid(number), CREATED, start);
            assert_eq!(simulation.active_orders(), 0, "{number}");
        }
    }

    #[test]
    fn all_irregularities_happen_and_depend_on_the_seed() {
        let start = Instant::now();
        let mut runs = Vec::new();
        for _ in 0..2 {
            let mut simulation = Simulation::new(7, walk("0.5"));
            (0..1_000).for_each(|number| simulation.receive(&uid(number), CREATED, start));
            runs.push(all_steps(&mut simulation, start));
        }
        assert_eq!(runs[0], runs[1]);
        let mut orders: BTreeMap<OrderUid, Vec<&str>> = BTreeMap::new();
        for Step { order_id, status } in runs.swap_remove(0) {
            orders.entry(order_id).or_default().push(status);
        }
        assert_eq!(orders.len(), 1_000);
        let share =
            |is: fn(&Vec<&str>) -> bool| orders.values().filter(|statuses| is(statuses)).count();
        let cancelled = share(|statuses| statuses.iter().any(|s| CANCELLED.contains(s)));
        let unknown = share(|statuses| statuses.iter().any(|s| UNKNOWN.contains(s)));
        let repeated = share(|statuses| statuses.windows(2).any(|pair| pair[0] == pair[1]));
        for (what, count) in
            [("cancelled", cancelled), ("unknown", unknown), ("repeated", repeated)]
        {
            assert!((400..600).contains(&count), "{what}: {count}");
        }
        for statuses in orders.values() {
            assert!(statuses.iter().any(|status| ends(status)), "{statuses:?}");
        }
    }
}
