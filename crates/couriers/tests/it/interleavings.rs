//! Races of two or three replicas with two orders and two couriers, in every interleaving of their
//! statements. No order may wait while a courier is available, no order may be matched twice, and
//! no deadlock may occur.
//!
//! After its commit each replica does the same as the service: it wakes its dispatch, which
//! matches. No replica sweeps, so the test fails if a wake-up is lost.

use std::time::Duration;

use couriers::{
    delivery::courier::{CourierChange, CourierId, RequestedStatus},
    dispatch::{self, MatchCursor},
    store::{self, Then},
};
use events::OrderStatus::{self, Cancelled, Completed, Cooking, Created, Pending};
use sqlx::{PgConnection, PgPool};
use testkit::{CourierDatabase, shared};
use time::OffsetDateTime;

use crate::{
    stepper::{Stepper, Work, next_path},
    support::{TIMES, apply, at, broken_invariants, courier, match_all, match_from, uid},
};

/// The action of one replica.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// Applies a batch of events.
    Apply(&'static [(&'static str, OrderStatus)]),
    /// Applies a batch of events that happened earlier.
    ApplyEarlier(&'static [(&'static str, OrderStatus)]),
    /// Matches after a wake-up that had another cause.
    Match,
    Release,
    Assign(&'static str),
    /// Assigns an order to a chosen courier.
    AssignTo(&'static str, i64),
    Unassign(&'static str),
    /// Unassigns an order, which then waits in the queue.
    Requeue(&'static str),
    SetStatus(i64, RequestedStatus),
    /// Requests a phone number that another courier has.
    TakePhone(i64),
}
use Act::{
    Apply, ApplyEarlier, Assign, AssignTo, Match, Release, Requeue, SetStatus, TakePhone, Unassign,
};

impl Act {
    /// Acts on a separate connection, as the service would.
    async fn act(self, pool: PgPool) {
        let mut cursor = MatchCursor::START;
        match self {
            Apply(events) | ApplyEarlier(events) => {
                let at = at(if matches!(self, Apply(_)) { 9 } else { 5 });
                let events: Vec<_> = events.iter().map(|(n, s)| (*n, *s, at)).collect();
                cursor = apply(&pool, &events).await;
            }
            // Another replica has added the new entry, or will add it; it announces the entry
            // itself.
            Match => cursor = MatchCursor::END,
            Release => {
                let mut transaction = pool.begin().await.unwrap();
                let grace = Duration::from_secs(60);
                let now = OffsetDateTime::now_utc();
                dispatch::release_overdue(&mut transaction, grace, now).await.unwrap();
                transaction.commit().await.unwrap();
            }
            Assign(order) | AssignTo(order, _) => {
                let to = match self {
                    AssignTo(_, id) => Some(CourierId::try_from(id).unwrap()),
                    _ => None,
                };
                let assigned = store::assign(&pool, &uid(order), to, &TIMES, None).await;
                assert!(!matches!(assigned, Err(store::NotAssigned::Database(_))), "{assigned:?}");
                // A match waits for the lock until this has ended. A move frees a courier, but no
                // order waits in the races with moves. So dispatch need not be woken.
                return;
            }
            Unassign(order) | Requeue(order) => {
                let then = if matches!(self, Requeue(_)) { Then::Wait } else { Then::Hold };
                let unassigned = store::unassign(&pool, &uid(order), then, None).await;
                assert!(
                    !matches!(unassigned, Err(store::NotUnassigned::Database(_))),
                    "{unassigned:?}"
                );
            }
            SetStatus(id, status) => {
                let change = CourierChange { status: Some(status), ..CourierChange::default() };
                let id = CourierId::try_from(id).unwrap();
                store::update_courier(&pool, id, &change, None).await.unwrap();
            }
            TakePhone(id) => {
                let phone = Some(courier(0, RequestedStatus::Paused).phone);
                let change = CourierChange { phone, ..CourierChange::default() };
                let id = CourierId::try_from(id).unwrap();
                let changed = store::update_courier(&pool, id, &change, None).await;
                assert!(matches!(changed, Err(store::NotStored::PhoneTaken)), "{changed:?}");
            }
        }
        match_from(&pool, cursor).await;
    }
}

/// The state of the database before the race.
#[derive(Debug, Clone, Copy)]
struct Before {
    couriers: [RequestedStatus; 2],
    /// Events that are applied and then matched.
    matched: &'static [(&'static str, OrderStatus)],
    /// Events that are applied after the match.
    waiting: &'static [(&'static str, OrderStatus)],
    are_overdue: bool,
}

const FREE: RequestedStatus = RequestedStatus::Available;
const PAUSED: RequestedStatus = RequestedStatus::Paused;
const BOTH_FREE: Before =
    Before { couriers: [FREE, FREE], matched: &[], waiting: &[], are_overdue: false };
const ONE_FREE: Before = Before { couriers: [FREE, PAUSED], ..BOTH_FREE };
/// The only courier who is not paused carries `a`; `b` waits.
const CARRIED: Before =
    Before { matched: &[("a", Created)], waiting: &[("b", Created)], ..ONE_FREE };

async fn prepare(pool: &PgPool, administrator: &mut PgConnection, before: Before) {
    sqlx::raw_sql(
        "DELETE FROM couriers.courier_orders; DELETE FROM couriers.order_states; \
         DELETE FROM couriers.delivery_log; DELETE FROM couriers.delivery_outbox; \
         DELETE FROM couriers.couriers; ALTER SEQUENCE couriers.couriers_id_seq RESTART; \
         SELECT setval('couriers.waiting_front', 0), setval('couriers.available_front', 0)",
    )
    .execute(&mut *administrator)
    .await
    .unwrap();
    for (number, status) in (0..).zip(before.couriers) {
        store::create_courier(pool, &courier(number, status), None).await.unwrap();
    }
    let with_times = |events: &[(&'static str, OrderStatus)]| -> Vec<_> {
        events.iter().map(|(name, status)| (*name, *status, at(1))).collect()
    };
    if !before.matched.is_empty() {
        apply(pool, &with_times(before.matched)).await;
        match_all(pool).await;
    }
    if before.are_overdue {
        sqlx::raw_sql(
            "UPDATE couriers.courier_orders \
             SET assigned_at = now() - interval '2 h', deadline = now() - interval '1 h', \
                 overdue_at = now() - interval '50 min'",
        )
        .execute(administrator)
        .await
        .unwrap();
    }
    apply(pool, &with_times(before.waiting)).await;
}

/// Runs every interleaving, and asserts the invariants after each.
async fn assert_race(before: Before, acts: &[Act]) {
    let database = CourierDatabase::new(shared()).await;
    let mut administrator = database.administrator().await;
    // No data of this test needs to survive a crash, so a commit need not wait for the disk.
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
        let description = || format!("{acts:?} from {before:?}, choices {chosen:?}");
        let mut broken = broken_invariants(&mut administrator).await;
        let is_missed: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM couriers.couriers WHERE status = 'available') AND EXISTS \
             (SELECT FROM couriers.order_states \
                 WHERE waiting_since IS NOT NULL AND held_at IS NULL AND taken_from IS NULL)",
        )
        .fetch_one(&mut administrator)
        .await
        .unwrap();
        if is_missed {
            broken.insert("an order waits while a courier is available".to_owned(), 1);
        }
        assert!(broken.is_empty(), "{broken:?} after {}", description());
        number += 1;
        path = next_path(chosen);
    }
    assert!(number > 5, "{number} interleavings of {acts:?}");
}

/// `a` and `b` wait.
const WAITING: Before = Before { waiting: &[("a", Created), ("b", Created)], ..BOTH_FREE };
/// Two couriers carry `a` and `b`.
const BOTH_CARRIED: Before = Before { matched: &[("a", Created), ("b", Created)], ..BOTH_FREE };

#[tokio::test(flavor = "multi_thread")]
async fn matches_race_with_matches() {
    tokio::join!(
        assert_race(WAITING, &[Match, Match, Match]),
        assert_race(Before { couriers: [FREE, PAUSED], ..WAITING }, &[Match, Match]),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enqueued_order_races_with_a_freed_courier() {
    let carried = Before { waiting: &[], ..CARRIED };
    tokio::join!(
        assert_race(carried, &[Apply(&[("b", Created)]), Apply(&[("a", Completed)])]),
        assert_race(carried, &[Apply(&[("b", Created)]), Apply(&[("a", Cancelled)])]),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn enqueued_orders_race_with_each_other_and_a_resume() {
    let all_paused = Before { couriers: [PAUSED, PAUSED], ..BOTH_FREE };
    tokio::join!(
        assert_race(all_paused, &[Apply(&[("a", Created)]), SetStatus(1, FREE)]),
        assert_race(
            ONE_FREE,
            &[Apply(&[("a", Created)]), Apply(&[("a", Created), ("b", Created)])]
        ),
        assert_race(BOTH_FREE, &[Apply(&[("a", Created)]), ApplyEarlier(&[("b", Created)])]),
        assert_race(CARRIED, &[ApplyEarlier(&[("c", Created)]), Apply(&[("a", Completed)])]),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_apply_the_same_batch() {
    const BATCH: Act = Apply(&[("a", Completed), ("b", Pending)]);
    assert_race(CARRIED, &[BATCH, BATCH]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_match_races_with_a_cancellation_and_an_advance() {
    tokio::join!(
        assert_race(WAITING, &[Match, Apply(&[("a", Cancelled)])]),
        assert_race(CARRIED, &[Match, Apply(&[("a", Cancelled)])]),
        assert_race(CARRIED, &[Match, Apply(&[("a", Completed), ("b", Cancelled)])]),
        assert_race(WAITING, &[Match, Apply(&[("a", Cooking), ("b", Cancelled)])]),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_match_races_with_changes_of_couriers() {
    let paused = Before { couriers: [PAUSED, PAUSED], ..WAITING };
    tokio::join!(
        assert_race(WAITING, &[Match, SetStatus(1, PAUSED)]),
        assert_race(Before { couriers: [FREE, PAUSED], ..WAITING }, &[Match, SetStatus(2, FREE)]),
        assert_race(WAITING, &[Match, TakePhone(2)]),
        assert_race(CARRIED, &[Apply(&[("a", Completed)]), SetStatus(1, PAUSED)]),
        assert_race(paused, &[SetStatus(1, FREE), SetStatus(2, FREE)]),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_match_races_with_manual_actions() {
    tokio::join!(
        assert_race(WAITING, &[Match, Assign("a")]),
        assert_race(WAITING, &[Match, Assign("b"), Assign("b")]),
        assert_race(WAITING, &[Match, Unassign("a")]),
        assert_race(CARRIED, &[Match, Unassign("a")]),
        assert_race(CARRIED, &[Match, Requeue("a")]),
        assert_race(CARRIED, &[Requeue("a"), Apply(&[("a", Completed)])]),
        assert_race(ONE_FREE, &[Assign("new"), Apply(&[("new", Created)])]),
        assert_race(WAITING, &[Assign("a"), Apply(&[("a", Cancelled)])]),
        assert_race(CARRIED, &[Unassign("a"), Apply(&[("a", Completed)])]),
    );
}

/// The first courier carries `a`, and the second one is free.
const ONE_CARRIED: Before = Before { matched: &[("a", Created)], ..BOTH_FREE };

#[tokio::test(flavor = "multi_thread")]
async fn a_move_races_with_events_pauses_and_releases() {
    tokio::join!(
        assert_race(ONE_CARRIED, &[AssignTo("a", 2), Apply(&[("a", Completed)])]),
        assert_race(ONE_CARRIED, &[AssignTo("a", 2), SetStatus(2, PAUSED)]),
        assert_race(ONE_CARRIED, &[AssignTo("a", 2), Unassign("a")]),
        assert_race(Before { are_overdue: true, ..ONE_CARRIED }, &[AssignTo("a", 2), Release]),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_races_with_matches_ends_and_manual_actions() {
    let overdue = Before { are_overdue: true, ..CARRIED };
    let both_overdue = Before { are_overdue: true, ..BOTH_CARRIED };
    tokio::join!(
        assert_race(overdue, &[Release, Match]),
        assert_race(overdue, &[Release, Apply(&[("a", Completed)])]),
        assert_race(overdue, &[Release, Unassign("a")]),
        assert_race(overdue, &[Release, SetStatus(1, PAUSED)]),
        assert_race(both_overdue, &[Release, Release]),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_of_deliveries_race_with_each_other() {
    assert_race(
        BOTH_CARRIED,
        &[Apply(&[("a", Completed), ("b", Cancelled)]), Apply(&[("b", Cancelled)])],
    )
    .await;
}
