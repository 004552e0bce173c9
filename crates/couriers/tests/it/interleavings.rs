//! Two orders, two couriers and two or three replicas around the match, in every interleaving of
//! their statements: nobody waits while one is available, no order is matched twice, no deadlock.
//!
//! After its commit each replica does what the service does: it wakes its dispatch, which matches.
//! Nobody sweeps, so that a wake-up that is lost stays lost.

use std::time::Duration;

use couriers::{
    delivery::courier::{AskedStatus, CourierChange, CourierId},
    dispatch::{self, Front},
    store,
};
use events::OrderStatus::{self, Cancelled, Completed, Cooking, Created, Pending};
use sqlx::{PgConnection, PgPool};
use testkit::{CourierDatabase, shared};

use crate::{
    stepper::{Stepper, Work, next_path},
    support::{TIMES, at, broken, courier, match_all, match_from, tell, uid},
};

/// What one replica does.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// A batch of events.
    Tell(&'static [(&'static str, OrderStatus)]),
    /// One of events that happened earlier.
    TellEarlier(&'static [(&'static str, OrderStatus)]),
    /// What a wake-up from elsewhere, or the sweep, has it do.
    Match,
    Release,
    Assign(&'static str),
    Unassign(&'static str),
    Ask(i64, AskedStatus),
    /// To take a phone number that another courier has.
    TakePhone(i64),
}
use Act::{Ask, Assign, Match, Release, TakePhone, Tell, TellEarlier, Unassign};

impl Act {
    /// Does it on a connection of its own, as the service would.
    async fn act(self, pool: PgPool) {
        let mut front = Front::START;
        match self {
            Tell(events) | TellEarlier(events) => {
                let at = at(if matches!(self, Tell(_)) { 9 } else { 5 });
                let events: Vec<_> = events.iter().map(|(n, s)| (*n, *s, at)).collect();
                front = tell(&pool, &events).await;
            }
            // A wake-up for the sake of somebody whom another replica has told of, or will.
            Match => front = Front::END,
            Release => {
                let mut transaction = pool.begin().await.unwrap();
                let grace = Duration::from_secs(60);
                dispatch::release_overdue(&mut transaction, grace).await.unwrap();
                transaction.commit().await.unwrap();
            }
            Assign(order) => {
                let assigned = store::assign(&pool, &uid(order), &TIMES).await;
                assert!(!matches!(assigned, Err(store::NotAssigned::Database(_))), "{assigned:?}");
                // A match waits for its turn until this has ended: there is nothing to wake.
                return;
            }
            Unassign(order) => {
                let taken = store::unassign(&pool, &uid(order)).await;
                assert!(!matches!(taken, Err(store::NotUnassigned::Database(_))), "{taken:?}");
            }
            Ask(id, status) => {
                let change = CourierChange { status: Some(status), ..CourierChange::default() };
                let id = CourierId::try_from(id).unwrap();
                store::update_courier(&pool, id, &change).await.unwrap();
            }
            TakePhone(id) => {
                let phone = Some(courier(0, AskedStatus::Paused).phone);
                let change = CourierChange { phone, ..CourierChange::default() };
                let id = CourierId::try_from(id).unwrap();
                let changed = store::update_courier(&pool, id, &change).await;
                assert!(matches!(changed, Err(store::NotStored::PhoneTaken)), "{changed:?}");
            }
        }
        match_from(&pool, front).await;
    }
}

/// What is so before the race: what the orders have been told, and who of two couriers is paused.
#[derive(Debug, Clone, Copy)]
struct Before {
    couriers: [AskedStatus; 2],
    /// Told, then matched.
    matched: &'static [(&'static str, OrderStatus)],
    /// Told after that.
    told: &'static [(&'static str, OrderStatus)],
    are_overdue: bool,
}

const FREE: AskedStatus = AskedStatus::Available;
const PAUSED: AskedStatus = AskedStatus::Paused;
const BOTH_FREE: Before =
    Before { couriers: [FREE, FREE], matched: &[], told: &[], are_overdue: false };
const ONE_FREE: Before = Before { couriers: [FREE, PAUSED], ..BOTH_FREE };
/// `a` is carried by the only courier, `b` waits.
const CARRIED: Before = Before { matched: &[("a", Created)], told: &[("b", Created)], ..ONE_FREE };

async fn prepare(pool: &PgPool, administrator: &mut PgConnection, before: Before) {
    sqlx::raw_sql(
        "DELETE FROM couriers.courier_orders; DELETE FROM couriers.order_states; \
         DELETE FROM couriers.couriers; ALTER SEQUENCE couriers.couriers_id_seq RESTART; \
         SELECT setval('couriers.waiting_front', 0), setval('couriers.available_front', 0)",
    )
    .execute(&mut *administrator)
    .await
    .unwrap();
    for (number, status) in (0..).zip(before.couriers) {
        store::create_courier(pool, &courier(number, status)).await.unwrap();
    }
    let with_times = |events: &[(&'static str, OrderStatus)]| -> Vec<_> {
        events.iter().map(|(name, status)| (*name, *status, at(1))).collect()
    };
    if !before.matched.is_empty() {
        tell(pool, &with_times(before.matched)).await;
        match_all(pool).await;
    }
    if before.are_overdue {
        sqlx::raw_sql(
            "UPDATE couriers.courier_orders \
             SET assigned_at = now() - interval '2 h', deadline = now() - interval '1 h'",
        )
        .execute(administrator)
        .await
        .unwrap();
    }
    tell(pool, &with_times(before.told)).await;
}

/// Runs every interleaving, and checks what must hold after each.
async fn race(before: Before, acts: &[Act]) {
    let database = CourierDatabase::new(shared()).await;
    let mut administrator = database.administrator().await;
    // Nothing here is to outlive a crash.
    sqlx::raw_sql(
        "DO $$ BEGIN EXECUTE format( \
            'ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$",
    )
    .execute(&mut administrator)
    .await
    .unwrap();
    let mut stepper = Stepper::new(&database, acts.len()).await;
    let mut path = Some(Vec::new());
    let mut number = 0;
    while let Some(choices) = path {
        prepare(&database.pool, &mut administrator, before).await;
        let works = acts.iter().zip(&stepper.replicas);
        let works = works.map(|(act, pool)| Box::pin(act.act(pool.clone())) as Work).collect();
        let chosen = stepper.run(works, &choices).await;
        let said = || format!("{acts:?} from {before:?}, choices {chosen:?}");
        let mut broken = broken(&mut administrator).await;
        let is_missed: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM couriers.couriers WHERE status = 'available') AND EXISTS \
             (SELECT FROM couriers.order_states WHERE waiting_since IS NOT NULL AND held_at IS NULL)",
        )
        .fetch_one(&mut administrator)
        .await
        .unwrap();
        if is_missed {
            broken.insert("one waits while one is available".to_owned(), 1);
        }
        assert!(broken.is_empty(), "{broken:?} after {}", said());
        number += 1;
        path = next_path(chosen);
    }
    assert!(number > 5, "{number} interleavings of {acts:?}");
}

/// `a` and `b` wait.
const WAITING: Before = Before { told: &[("a", Created), ("b", Created)], ..BOTH_FREE };
/// `a` and `b` are carried.
const BOTH_CARRIED: Before = Before { matched: &[("a", Created), ("b", Created)], ..BOTH_FREE };

#[tokio::test(flavor = "multi_thread")]
async fn match_against_match() {
    tokio::join!(
        race(WAITING, &[Match, Match, Match]),
        race(Before { couriers: [FREE, PAUSED], ..WAITING }, &[Match, Match]),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn enqueue_against_free() {
    let carried = Before { told: &[], ..CARRIED };
    tokio::join!(
        race(carried, &[Tell(&[("b", Created)]), Tell(&[("a", Completed)])]),
        race(carried, &[Tell(&[("b", Created)]), Tell(&[("a", Cancelled)])]),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn enqueue_against_resume_and_enqueue() {
    let all_paused = Before { couriers: [PAUSED, PAUSED], ..BOTH_FREE };
    tokio::join!(
        race(all_paused, &[Tell(&[("a", Created)]), Ask(1, FREE)]),
        race(ONE_FREE, &[Tell(&[("a", Created)]), Tell(&[("a", Created), ("b", Created)])]),
        race(BOTH_FREE, &[Tell(&[("a", Created)]), TellEarlier(&[("b", Created)])]),
        race(CARRIED, &[TellEarlier(&[("c", Created)]), Tell(&[("a", Completed)])]),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_two_replicas_tell() {
    const BATCH: Act = Tell(&[("a", Completed), ("b", Pending)]);
    race(CARRIED, &[BATCH, BATCH]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn match_against_cancel_and_advance() {
    tokio::join!(
        race(WAITING, &[Match, Tell(&[("a", Cancelled)])]),
        race(CARRIED, &[Match, Tell(&[("a", Cancelled)])]),
        race(CARRIED, &[Match, Tell(&[("a", Completed), ("b", Cancelled)])]),
        race(WAITING, &[Match, Tell(&[("a", Cooking), ("b", Cancelled)])]),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn match_against_pause_and_change() {
    let paused = Before { couriers: [PAUSED, PAUSED], ..WAITING };
    tokio::join!(
        race(WAITING, &[Match, Ask(1, PAUSED)]),
        race(Before { couriers: [FREE, PAUSED], ..WAITING }, &[Match, Ask(2, FREE)]),
        race(WAITING, &[Match, TakePhone(2)]),
        race(CARRIED, &[Tell(&[("a", Completed)]), Ask(1, PAUSED)]),
        race(paused, &[Ask(1, FREE), Ask(2, FREE)]),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn match_against_hands() {
    tokio::join!(
        race(WAITING, &[Match, Assign("a")]),
        race(WAITING, &[Match, Assign("b"), Assign("b")]),
        race(WAITING, &[Match, Unassign("a")]),
        race(CARRIED, &[Match, Unassign("a")]),
        race(ONE_FREE, &[Assign("new"), Tell(&[("new", Created)])]),
        race(WAITING, &[Assign("a"), Tell(&[("a", Cancelled)])]),
        race(CARRIED, &[Unassign("a"), Tell(&[("a", Completed)])]),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn release_against_match_ends_and_hands() {
    let overdue = Before { are_overdue: true, ..CARRIED };
    let both_overdue = Before { are_overdue: true, ..BOTH_CARRIED };
    tokio::join!(
        race(overdue, &[Release, Match]),
        race(overdue, &[Release, Tell(&[("a", Completed)])]),
        race(overdue, &[Release, Unassign("a")]),
        race(overdue, &[Release, Ask(1, PAUSED)]),
        race(both_overdue, &[Release, Release]),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_against_ends() {
    race(BOTH_CARRIED, &[Tell(&[("a", Completed), ("b", Cancelled)]), Tell(&[("b", Cancelled)])])
        .await;
}
