//! The orders of this generator. The simulation changes the status of no other order: it may run with
//! the Kafka of a system in use.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chassis::kafka::config::KafkaConfig;
use events::OrderUid;

use super::rng::Rng;

/// Bounds the sent orders that are remembered. If more orders than these wait for the order service,
/// the oldest ones stay `created`.
const MAX_SENT_ORDERS: usize = 1_000_000;
/// The longest difference between the clocks of this machine and of Kafka. Events are read from this
/// long before the start, because the first ones may have earlier times than the start.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);
/// The age up to which a run continues the orders of former runs. After this time, their
/// couriers are free again in any case: the longest delivery time and the grace are 45 minutes.
const MAX_FORMER_AGE: Duration = Duration::from_secs(3_600);

/// Recognises the orders of this generator. Clones share the sent orders.
#[derive(Clone)]
pub(super) enum OwnOrders {
    /// The orders that this run has sent.
    Sent(Arc<Mutex<RecentOrders>>),
    /// The orders whose ids begin with the tag, which former runs have sent, too.
    Tagged(u32),
}

impl OwnOrders {
    /// The orders of this run; with the name of a role, also those of its former runs with the same
    /// Kafka and the same prefix of consumer groups.
    pub(super) fn new(resumed: Option<&str>, kafka: &KafkaConfig) -> Self {
        let Some(role) = resumed else {
            return Self::Sent(Arc::new(Mutex::new(RecentOrders::new(MAX_SENT_ORDERS))));
        };
        // Each installation has its own source, so another one on the same Kafka has another tag.
        let words: Vec<u64> = kafka.event_source(role).bytes().map(u64::from).collect();
        Self::Tagged(Rng::of(&words).next() as u32)
    }

    /// Returns the tag at the beginning of all ids, if they have one.
    pub(super) fn tag(&self) -> Option<u32> {
        match self {
            Self::Sent(_) => None,
            Self::Tagged(tag) => Some(*tag),
        }
    }

    /// Returns how long before the start the first event may be.
    pub(super) fn max_age(&self) -> Duration {
        match self {
            Self::Sent(_) => MAX_CLOCK_DIFFERENCE,
            Self::Tagged(_) => MAX_FORMER_AGE,
        }
    }

    /// Adds an order. Must be called before the order is sent, because its `created` event may arrive
    /// at once.
    pub(super) fn add(&self, key: &str) {
        // A key that is not a valid id has no events.
        if let (Self::Sent(sent), Ok(order_id)) = (self, key.parse()) {
            sent.lock().unwrap_or_else(PoisonError::into_inner).remember(&order_id);
        }
    }

    pub(super) fn contains(&self, order_id: &OrderUid) -> bool {
        match self {
            Self::Sent(sent) => {
                sent.lock().unwrap_or_else(PoisonError::into_inner).contains(order_id)
            }
            Self::Tagged(tag) => order_id.as_str().starts_with(&tag_text(*tag)),
        }
    }
}

/// Returns the beginning of the ids with this tag.
pub(super) fn tag_text(tag: u32) -> String {
    format!("{tag:08x}")
}

/// The latest orders that were added, up to a maximum.
pub(super) struct RecentOrders {
    max: usize,
    set: HashSet<OrderUid>,
    by_age: VecDeque<OrderUid>,
}

impl RecentOrders {
    pub(super) fn new(max: usize) -> Self {
        Self { max, set: HashSet::new(), by_age: VecDeque::new() }
    }

    pub(super) fn remember(&mut self, order_id: &OrderUid) {
        if !self.set.insert(order_id.clone()) {
            return;
        }
        self.by_age.push_back(order_id.clone());
        if self.by_age.len() > self.max
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.set.remove(&oldest);
        }
    }

    pub(super) fn contains(&self, order_id: &OrderUid) -> bool {
        self.set.contains(order_id)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Tool {
        #[command(flatten)]
        kafka: KafkaConfig,
    }

    fn kafka(group: &str) -> KafkaConfig {
        Tool::parse_from(["tool", "--kafka-group-id", group]).kafka
    }

    #[test]
    fn a_run_knows_the_orders_that_it_has_sent() {
        let own = OwnOrders::new(None, &kafka("waybill"));
        let sending = own.clone();
        sending.add("a");
        sending.add("not an id\n");
        assert!(own.contains(&"a".parse().unwrap()) && !own.contains(&"b".parse().unwrap()));
        assert_eq!(own.tag(), None);
    }

    #[test]
    fn an_installation_knows_the_orders_of_its_former_runs() {
        let own = OwnOrders::new(Some("up"), &kafka("waybill"));
        let next = OwnOrders::new(Some("up"), &kafka("waybill"));
        let other = OwnOrders::new(Some("up"), &kafka("other"));
        let load = OwnOrders::new(Some("load"), &kafka("waybill"));
        let order = format!("{}0123456789abcdetest", tag_text(own.tag().unwrap()));
        let order = order.parse().unwrap();
        assert!(own.contains(&order) && next.contains(&order) && !other.contains(&order));
        assert!(!load.contains(&order), "`up` and `load` may run with the same Kafka");
        assert!(!own.contains(&"b563feb7b2b84b6test".parse().unwrap()));
    }

    #[test]
    fn the_oldest_order_is_forgotten_first() {
        let mut recent = RecentOrders::new(2);
        let uids = ["a", "b", "a", "c"].map(|uid| uid.parse::<OrderUid>().unwrap());
        uids.iter().for_each(|uid| recent.remember(uid));
        assert_eq!([0, 1, 3].map(|at| recent.contains(&uids[at])), [false, true, true]);
        assert_eq!((recent.set.len(), recent.by_age.len()), (2, 2));
    }
}
