//! Single cases: events out of order, manual actions, overdue deliveries, and a queue with more
//! orders than couriers.

use std::time::Duration;

use chassis::postgres::{
    read::{read, snapshot},
    time_limit::BY_KEY,
};
use couriers::{
    delivery::{
        DeliveryState, ReleasedOrders, WaitReason,
        courier::{Courier, CourierChange, CourierId, CourierStatus, RequestedStatus},
    },
    dispatch::{
        self, DispatchMetrics, MatchCursor, Policy, Wake, mark_overdue, release_overdue, requeue,
    },
    read::{Delivery, Statistics, find_delivery, statistics},
    store::{self, NotAssigned, NotStored, NotUnassigned, Then},
};
use events::OrderStatus::{Cancelled, Completed, Created, Delivering, Pending};
use prometheus_client::registry::Registry;
use sqlx::PgPool;
use testkit::{CourierDatabase, shared};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::support::{
    TIMES, add_couriers, apply, assert_invariants, assert_no_change_by, at, broken_invariants,
    courier, match_all, match_from, scalar, uid,
};

async fn delivery(pool: &PgPool, name: &str) -> Option<Delivery> {
    let id = uid(name);
    let found = snapshot(pool, BY_KEY, async |snapshot| find_delivery(snapshot, &id).await);
    found.await.unwrap()
}

async fn state(pool: &PgPool, name: &str) -> DeliveryState {
    delivery(pool, name).await.unwrap().state
}

async fn stored(pool: &PgPool, id: CourierId) -> Courier {
    let found = read(pool, BY_KEY, async |connection| store::find_courier(connection, id).await);
    found.await.unwrap().unwrap()
}

async fn figures(pool: &PgPool) -> Statistics {
    read(pool, BY_KEY, async |connection| statistics(connection).await).await.unwrap()
}

fn change_to(status: RequestedStatus) -> CourierChange {
    CourierChange { status: Some(status), ..CourierChange::default() }
}

#[tokio::test]
async fn an_order_that_ended_before_its_created_gets_no_courier() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    add_couriers(pool, 2).await;

    apply(pool, &[("a", Cancelled, at(1)), ("b", Completed, at(1))]).await;
    apply(pool, &[("a", Created, at(2)), ("b", Created, at(2))]).await;

    assert_eq!(match_all(pool).await, []);
    assert_eq!(state(pool, "a").await, DeliveryState::Cancelled);
    assert_eq!(state(pool, "b").await, DeliveryState::Completed);
    let again = [("a", Created, at(3)), ("b", Created, at(3)), ("b", Completed, at(3))];
    assert_no_change_by(pool, &again).await;
    assert_invariants(pool).await;
}

#[tokio::test]
async fn a_repeated_event_changes_nothing() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    let [first] = add_couriers(pool, 1).await[..] else { unreachable!() };

    apply(pool, &[("a", Created, at(1))]).await;
    assert_eq!(match_all(pool).await.len(), 1);
    assert_no_change_by(pool, &[("a", Created, at(2))]).await;
    assert_eq!(match_all(pool).await, []);

    apply(pool, &[("a", Completed, at(3_700))]).await;
    assert_no_change_by(pool, &[("a", Completed, at(3_701)), ("a", Created, at(4))]).await;

    let courier = stored(pool, first).await;
    assert_eq!((courier.deliveries, courier.completed, courier.on_time), (1, 1, 1));
    assert_eq!(courier.status, CourierStatus::Available);
    assert_invariants(pool).await;
}

#[tokio::test]
async fn a_late_completed_does_not_free_the_courier_of_another_order() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    let [only] = add_couriers(pool, 1).await[..] else { unreachable!() };
    apply(pool, &[("old", Created, at(1))]).await;
    match_all(pool).await;
    sqlx::query(
        "UPDATE couriers.courier_orders SET assigned_at = now() - interval '2 h', deadline = now() - interval '1 h'",
    )
    .execute(pool)
    .await
    .unwrap();
    assert_eq!(state(pool, "old").await, DeliveryState::Overdue);

    let mut transaction = pool.begin().await.unwrap();
    assert_eq!(mark_overdue(&mut transaction).await.unwrap(), 1);
    assert_eq!(mark_overdue(&mut transaction).await.unwrap(), 0, "only once");
    let mut release = async |grace_seconds, due_before| {
        let grace = Duration::from_secs(grace_seconds);
        release_overdue(&mut transaction, grace, due_before).await.unwrap().len()
    };
    let now = OffsetDateTime::now_utc();
    assert_eq!(release(7_200, now).await, 0);
    assert_eq!(release(60, now - Duration::from_secs(3_600)).await, 0, "it was not due then");
    assert_eq!(release(60, now).await, 1);
    transaction.commit().await.unwrap();
    apply(pool, &[("new", Created, at(2))]).await;
    assert_eq!(match_all(pool).await[0].courier_id, only.get());

    apply(pool, &[("old", Completed, at(3_600))]).await;
    let courier = stored(pool, only).await;
    assert_eq!(courier.status, CourierStatus::Busy, "the courier carries the new order");
    assert_eq!((courier.deliveries, courier.completed, courier.on_time), (2, 1, 0));
    assert_eq!(state(pool, "new").await, DeliveryState::Assigned);

    apply(pool, &[("old", Cancelled, at(3_601))]).await;
    let courier = stored(pool, only).await;
    assert_eq!((courier.status, courier.deliveries), (CourierStatus::Busy, 1));
    assert_invariants(pool).await;
}

#[tokio::test]
async fn the_next_sweep_matches_an_order_whose_wake_up_was_lost() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    let cursor = apply(pool, &[("late", Created, at(5))]).await;
    assert_eq!(match_from(pool, cursor).await, [], "there is no courier");

    // This order is before the stored cursor, and its wake-up is lost.
    apply(pool, &[("early", Created, at(1))]).await;
    store::create_courier(pool, &courier(1, RequestedStatus::Available), None).await.unwrap();
    assert_eq!(match_from(pool, MatchCursor::END).await[0].order_id, "late");
    store::create_courier(pool, &courier(2, RequestedStatus::Available), None).await.unwrap();
    assert_eq!(match_from(pool, MatchCursor::END).await, []);

    assert_eq!(match_all(pool).await[0].order_id, "early");
    assert_invariants(pool).await;
}

#[tokio::test]
async fn a_cancelled_order_leaves_the_statistics_after_completion() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    add_couriers(pool, 1).await;
    apply(pool, &[("a", Created, at(1))]).await;
    match_all(pool).await;

    apply(pool, &[("a", Completed, at(3_700))]).await;
    let completed = figures(pool).await;
    apply(pool, &[("a", Cancelled, at(3_701))]).await;
    let cancelled = figures(pool).await;

    assert_eq!((completed.deliveries, completed.completed, completed.on_time), (1, 1, 1));
    assert_eq!((cancelled.deliveries, cancelled.completed, cancelled.on_time), (0, 0, 0));
    assert_eq!((cancelled.on_time_share(), cancelled.mean_seconds), (None, None));
    assert_invariants(pool).await;
}

#[tokio::test]
async fn a_delivery_has_the_reason_why_it_has_no_courier() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    assert_eq!(delivery(pool, "a").await, None);

    apply(pool, &[("a", Pending, at(9))]).await;
    let found = delivery(pool, "a").await.unwrap();
    assert_eq!(
        (found.state, found.reason),
        (DeliveryState::Expected, Some(WaitReason::NotCreated))
    );

    apply(pool, &[("a", Created, at(10)), ("b", Created, at(5))]).await;
    let found = delivery(pool, "a").await.unwrap();
    assert_eq!((found.state, found.status), (DeliveryState::Waiting, Pending));
    assert_eq!((found.position, found.reason), (Some(2), Some(WaitReason::NoCouriers)));

    store::create_courier(pool, &courier(1, RequestedStatus::Paused), None).await.unwrap();
    assert_eq!(delivery(pool, "a").await.unwrap().reason, Some(WaitReason::AllPaused));

    store::create_courier(pool, &courier(2, RequestedStatus::Available), None).await.unwrap();
    assert_eq!(delivery(pool, "a").await.unwrap().reason, Some(WaitReason::InTurn));

    assert_eq!(match_all(pool).await[0].order_id, "b", "the older order comes first");
    let found = delivery(pool, "a").await.unwrap();
    assert_eq!((found.position, found.reason), (Some(1), Some(WaitReason::AllBusy)));

    apply(pool, &[("a", Delivering, at(11))]).await;
    assert_eq!(state(pool, "a").await, DeliveryState::Waiting);
    assert_invariants(pool).await;
}

#[tokio::test]
async fn a_manual_assignment_skips_the_queue() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    assert!(matches!(
        store::assign(pool, &uid("new"), None, &TIMES, None).await,
        Err(NotAssigned::NoCourier)
    ));
    assert_eq!(delivery(pool, "new").await, None, "nothing is stored");
    assert!(matches!(
        store::unassign(pool, &uid("new"), Then::Hold, None).await,
        Err(NotUnassigned::Unknown)
    ));
    let [only] = add_couriers(pool, 1).await[..] else { unreachable!() };
    apply(pool, &[("a", Created, at(1)), ("b", Created, at(2))]).await;

    let assigned = store::assign(pool, &uid("b"), None, &TIMES, None).await.unwrap();
    assert_eq!(assigned.courier_id, only);
    assert!(matches!(
        store::assign(pool, &uid("b"), None, &TIMES, None).await,
        Err(NotAssigned::Already(courier)) if courier == only
    ));
    assert!(matches!(
        store::unassign(pool, &uid("a"), Then::Hold, None).await,
        Err(NotUnassigned::NotAssigned)
    ));

    assert_eq!(store::unassign(pool, &uid("b"), Then::Hold, None).await.unwrap(), only);
    assert_eq!(state(pool, "b").await, DeliveryState::Held);
    assert_eq!(match_all(pool).await[0].order_id, "a", "a held order is not matched");
    apply(pool, &[("a", Completed, at(3))]).await;
    assert_eq!(match_all(pool).await, []);

    store::assign(pool, &uid("b"), None, &TIMES, None).await.unwrap();
    apply(pool, &[("b", Completed, at(4))]).await;
    assert!(matches!(
        store::unassign(pool, &uid("b"), Then::Hold, None).await,
        Err(NotUnassigned::Ended(Completed))
    ));

    store::assign(pool, &uid("unknown"), None, &TIMES, None).await.unwrap();
    assert_no_change_by(pool, &[("unknown", Created, at(5))]).await;
    assert_eq!(state(pool, "unknown").await, DeliveryState::Assigned);
    assert_invariants(pool).await;
}

#[tokio::test]
async fn a_paused_courier_keeps_their_order_and_gets_no_other() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    let [only] = add_couriers(pool, 1).await[..] else { unreachable!() };
    let (pause, resume) =
        (change_to(RequestedStatus::Paused), change_to(RequestedStatus::Available));
    apply(pool, &[("a", Created, at(1)), ("b", Created, at(2))]).await;
    match_all(pool).await;

    let paused = store::update_courier(pool, only, &pause, None).await.unwrap();
    assert_eq!(paused.status, CourierStatus::Paused);
    let resumed = store::update_courier(pool, only, &resume, None).await.unwrap();
    assert_eq!(resumed.status, CourierStatus::Busy, "the courier carries an order");

    store::update_courier(pool, only, &pause, None).await.unwrap();
    apply(pool, &[("a", Completed, at(3))]).await;
    assert_eq!(match_all(pool).await, [], "a paused courier stays paused");

    let resumed = store::update_courier(pool, only, &resume, None).await.unwrap();
    assert_eq!(resumed.status, CourierStatus::Available);
    assert_eq!(match_all(pool).await[0].order_id, "b");
    assert_invariants(pool).await;
}

#[tokio::test]
async fn a_taken_phone_and_an_unknown_courier_are_refused() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    add_couriers(pool, 1).await;

    let same_phone = store::create_courier(pool, &courier(0, RequestedStatus::Paused), None).await;
    let unknown = "999".parse().unwrap();
    let changed =
        store::update_courier(pool, unknown, &change_to(RequestedStatus::Paused), None).await;

    assert!(matches!(same_phone, Err(NotStored::PhoneTaken)), "{same_phone:?}");
    assert!(matches!(changed, Err(NotStored::Unknown)), "{changed:?}");
    assert_invariants(pool).await;
}

#[tokio::test]
async fn rows_that_contradict_each_other_do_not_stop_the_match() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    let [_, second, third] = add_couriers(pool, 3).await[..] else { unreachable!() };
    apply(pool, &[("a", Created, at(1)), ("b", Created, at(2))]).await;
    assert_eq!(match_all(pool).await.len(), 2);
    sqlx::raw_sql(
        "UPDATE couriers.couriers SET status = 'available' WHERE status = 'busy'; \
         UPDATE couriers.couriers SET deliveries = 5 WHERE deliveries = 0; \
         UPDATE couriers.order_states SET waiting_since = created_at WHERE order_id = 'a'",
    )
    .execute(pool)
    .await
    .unwrap();
    apply(pool, &[("c", Created, at(3)), ("d", Created, at(4))]).await;

    let matched = match_all(pool).await;
    assert_eq!(matched.len(), 1);
    assert_eq!((matched[0].order_id.as_str(), matched[0].courier_id), ("c", third.get()));
    assert!(matches!(
        store::assign(pool, &uid("d"), None, &TIMES, None).await,
        Err(NotAssigned::NoCourier)
    ));

    apply(pool, &[("b", Completed, at(3_700))]).await;
    assert_eq!(match_all(pool).await[0].courier_id, second.get());
}

#[tokio::test]
async fn the_board_is_notified_of_matches_by_a_sweep() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    add_couriers(pool, 1).await;
    // No wake-up follows, as if the replica that applied the event had crashed.
    apply(pool, &[("a", Created, at(1))]).await;
    let policy = Policy {
        times: TIMES,
        grace: Duration::from_secs(60),
        released: ReleasedOrders::Keep,
        sweep: Duration::from_millis(20),
    };
    let metrics = DispatchMetrics::register(&mut Registry::default());
    let (wake, stop) = (Wake::default(), CancellationToken::new());

    let notify = || stop.cancel();
    let run = dispatch::run(pool, policy, &wake, &metrics, notify, stop.clone());

    tokio::time::timeout(Duration::from_secs(10), run).await.expect("the board is notified");
    assert_eq!(state(pool, "a").await, DeliveryState::Assigned);
}

#[tokio::test]
async fn the_oldest_of_3000_orders_go_to_2000_couriers_first() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    sqlx::query(
        "INSERT INTO couriers.couriers (name, phone, transport_type, status) \
         SELECT 'c', '+7' || lpad(n::text, 10, '0'), 'car', 'available' FROM generate_series(1, 2000) AS n",
    )
    .execute(pool)
    .await
    .unwrap();
    // The orders arrive in another order than by their times.
    let names: Vec<String> = (0..3_000).map(|number| format!("o{number:04}")).collect();
    let arrivals: Vec<usize> = (0..3_000).map(|number| number * 1_009 % 3_000).collect();
    for batch in arrivals.chunks(500) {
        let events: Vec<_> = batch
            .iter()
            .map(|number| (names[*number].as_str(), Created, at(*number as i64)))
            .collect();
        apply(pool, &events).await;
    }

    let first = match_all(pool).await;

    assert_eq!(first.len(), 2_000);
    assert!(
        first.iter().all(|one| one.order_id.as_str() < "o2000"),
        "the oldest orders come first"
    );
    assert_eq!(
        scalar(
            &database,
            "SELECT count(*) FROM couriers.order_states WHERE waiting_since IS NOT NULL"
        )
        .await,
        1_000
    );
    let mut next = 2_000;
    for batch in names[..1_000].chunks(300) {
        let events: Vec<_> =
            batch.iter().map(|name| (name.as_str(), Completed, at(3_500))).collect();
        apply(pool, &events).await;
        let mut matched: Vec<_> =
            match_all(pool).await.into_iter().map(|one| one.order_id).collect();
        matched.sort_unstable();
        assert_eq!(matched, names[next..next + batch.len()], "the oldest orders come first");
        next += batch.len();
    }
    assert_eq!(next, 3_000, "every order was assigned");
    let mut connection = pool.acquire().await.unwrap();
    assert!(broken_invariants(&mut connection).await.is_empty());
}

#[tokio::test]
async fn an_order_moves_to_a_chosen_courier() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    let [first, second] = add_couriers(pool, 2).await[..] else { unreachable!() };
    apply(pool, &[("a", Created, at(1)), ("b", Created, at(2))]).await;
    let assign = async |name: &str, to| store::assign(pool, &uid(name), to, &TIMES, None).await;

    let assigned = assign("b", Some(second)).await.unwrap();
    assert_eq!(assigned.courier_id, second, "the other one would be the first");
    assert!(
        matches!(assign("b", Some(second)).await, Err(NotAssigned::Already(id)) if id == second)
    );
    let moved = assign("b", Some(first)).await.unwrap();
    assert_eq!(moved.courier_id, first);
    assert!(assigned.deadline < moved.deadline, "the deadline starts again");
    let [first_row, second_row] = [stored(pool, first).await, stored(pool, second).await];
    assert_eq!((first_row.status, first_row.deliveries), (CourierStatus::Busy, 1));
    assert_eq!((second_row.status, second_row.deliveries), (CourierStatus::Available, 0));

    assert_eq!(match_all(pool).await[0].courier_id, second.get());
    let busy = assign("b", Some(second)).await;
    assert!(matches!(busy, Err(NotAssigned::NotAvailable(CourierStatus::Busy))), "{busy:?}");
    let unknown = assign("new", Some("99".parse().unwrap())).await;
    assert!(matches!(unknown, Err(NotAssigned::UnknownCourier)), "{unknown:?}");
    assert_eq!(delivery(pool, "new").await, None, "nothing is stored");
    assert_invariants(pool).await;
}

#[tokio::test]
async fn an_order_is_not_given_back_while_another_courier_is_free() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    let [first, second] = add_couriers(pool, 2).await[..] else { unreachable!() };
    let assign =
        async || store::assign(pool, &uid("a"), None, &TIMES, None).await.unwrap().courier_id;
    assert_eq!(assign().await, first);
    store::unassign(pool, &uid("a"), Then::Hold, None).await.unwrap();
    // The second courier has more deliveries, so the first one would be the next.
    sqlx::query("UPDATE couriers.couriers SET deliveries = 5 WHERE id = $1")
        .bind(second.get())
        .execute(pool)
        .await
        .unwrap();

    assert_eq!(assign().await, second);
    store::unassign(pool, &uid("a"), Then::Hold, None).await.unwrap();
    let pause = change_to(RequestedStatus::Paused);
    store::update_courier(pool, first, &pause, None).await.unwrap();
    assert_eq!(assign().await, second, "no other courier is free");
}

#[tokio::test]
async fn an_order_goes_back_to_its_place_in_the_queue() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    let [first] = add_couriers(pool, 1).await[..] else { unreachable!() };
    apply(pool, &[("a", Created, at(1)), ("b", Created, at(2)), ("c", Created, at(3))]).await;
    store::assign(pool, &uid("b"), Some(first), &TIMES, None).await.unwrap();

    assert_eq!(store::unassign(pool, &uid("b"), Then::Wait, None).await.unwrap(), first);

    let found = delivery(pool, "b").await.unwrap();
    assert_eq!((found.state, found.position), (DeliveryState::Waiting, Some(2)));
    assert_eq!((found.waiting_since, found.held_at), (Some(at(2)), None));
    let freed = stored(pool, first).await;
    assert_eq!((freed.status, freed.deliveries), (CourierStatus::Available, 0));
    assert_eq!(
        scalar(
            &database,
            "SELECT count(*) FROM couriers.delivery_log JOIN couriers.delivery_outbox \
                 USING (order_id, number, status, cause) \
             WHERE order_id = 'b' AND status = 'requeued' AND cause = 'manual'",
        )
        .await,
        1
    );
    assert_invariants(pool).await;

    // The courier gets the other orders, but not the one that was taken from them.
    for order_id in ["a", "c"] {
        let matched = match_all(pool).await;
        assert_eq!((matched.len(), matched[0].order_id.as_str()), (1, order_id));
        apply(pool, &[(order_id, Completed, at(9))]).await;
    }
    assert_eq!(match_all(pool).await, []);
    let second =
        store::create_courier(pool, &courier(1, RequestedStatus::Available), None).await.unwrap();
    assert_eq!(match_all(pool).await[0].courier_id, second.get());

    // A released delivery: its courier was freed before and may carry another order.
    let statement =
        "UPDATE couriers.courier_orders SET deadline = assigned_at WHERE order_id = 'b'";
    sqlx::raw_sql(statement).execute(pool).await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    mark_overdue(&mut transaction).await.unwrap();
    let later = OffsetDateTime::now_utc() + Duration::from_secs(5);
    release_overdue(&mut transaction, Duration::ZERO, later).await.unwrap();
    transaction.commit().await.unwrap();
    store::assign(pool, &uid("d"), Some(second), &TIMES, None).await.unwrap();
    assert_eq!(store::unassign(pool, &uid("b"), Then::Wait, None).await.unwrap(), second);
    assert_eq!(stored(pool, second).await.status, CourierStatus::Busy);
    assert_eq!(match_all(pool).await[0].courier_id, first.get());
    assert_invariants(pool).await;

    // An order that ends while it waits again leaves the queue.
    store::unassign(pool, &uid("b"), Then::Wait, None).await.unwrap();
    apply(pool, &[("b", Cancelled, at(20))]).await;
    assert_eq!(state(pool, "b").await, DeliveryState::Cancelled);
    assert!(matches!(
        store::unassign(pool, &uid("b"), Then::Wait, None).await,
        Err(NotUnassigned::Ended(Cancelled))
    ));
    assert_invariants(pool).await;
}

#[tokio::test]
async fn a_retired_courier_frees_their_phone_number() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    let [only] = add_couriers(pool, 1).await[..] else { unreachable!() };
    let (retire, restore) =
        (change_to(RequestedStatus::Retired), change_to(RequestedStatus::Available));
    store::assign(pool, &uid("a"), None, &TIMES, None).await.unwrap();
    let carries = store::update_courier(pool, only, &retire, None).await;
    assert!(matches!(carries, Err(NotStored::Carries)), "{carries:?}");
    apply(pool, &[("a", Completed, at(1)), ("b", Created, at(2))]).await;

    let retired = store::update_courier(pool, only, &retire, None).await.unwrap();
    assert_eq!(retired.status, CourierStatus::Retired);
    assert_eq!(match_all(pool).await, [], "a retired courier gets no order");
    assert_eq!(delivery(pool, "b").await.unwrap().reason, Some(WaitReason::NoCouriers));
    let other =
        store::create_courier(pool, &courier(0, RequestedStatus::Paused), None).await.unwrap();
    let taken = store::update_courier(pool, only, &restore, None).await;
    assert!(matches!(taken, Err(NotStored::PhoneTaken)), "{taken:?}");
    store::update_courier(pool, other, &retire, None).await.unwrap();
    let restored = store::update_courier(pool, only, &restore, None).await.unwrap();

    assert_eq!(restored.status, CourierStatus::Available);
    assert_eq!(match_all(pool).await[0].courier_id, only.get());
    assert_invariants(pool).await;
}

#[tokio::test]
async fn a_released_order_is_queued_again_twice_for_another_courier() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    let [first] = add_couriers(pool, 1).await[..] else { unreachable!() };
    apply(pool, &[("a", Created, at(1)), ("b", Created, at(2))]).await;
    match_all(pool).await;
    // Releases everything that is carried, and queues it again.
    let release = async || {
        sqlx::raw_sql(
            "UPDATE couriers.courier_orders SET deadline = assigned_at WHERE released_at IS NULL",
        )
        .execute(pool)
        .await
        .unwrap();
        let mut transaction = pool.begin().await.unwrap();
        mark_overdue(&mut transaction).await.unwrap();
        let now = OffsetDateTime::now_utc() + Duration::from_secs(5);
        let released = release_overdue(&mut transaction, Duration::ZERO, now).await.unwrap();
        let queued = requeue(&mut transaction, &released).await.unwrap();
        transaction.commit().await.unwrap();
        (released.len(), queued)
    };
    assert_eq!(release().await, (1, 1));
    assert_eq!(stored(pool, first).await.deliveries, 0);
    let found = delivery(pool, "a").await.unwrap();
    assert_eq!((found.state, found.position), (DeliveryState::Waiting, Some(1)), "its old place");

    let matched = match_all(pool).await;
    assert_eq!((matched.len(), matched[0].order_id.as_str()), (1, "b"), "not back to the courier");
    assert_eq!(match_all(pool).await, []);
    let second =
        store::create_courier(pool, &courier(1, RequestedStatus::Available), None).await.unwrap();
    let matched = match_all(pool).await;
    assert_eq!((matched[0].order_id.as_str(), matched[0].courier_id), ("a", second.get()));
    assert_eq!(release().await, (2, 2));
    let matched: Vec<_> =
        match_all(pool).await.into_iter().map(|one| (one.order_id, one.courier_id)).collect();
    assert_eq!(matched, [("a".to_owned(), first.get()), ("b".to_owned(), second.get())]);
    assert_eq!(release().await, (2, 1), "at most twice");

    assert_eq!(state(pool, "a").await, DeliveryState::Released);
    assert_eq!(delivery(pool, "a").await.unwrap().reason, Some(WaitReason::Released));
    assert_eq!(state(pool, "b").await, DeliveryState::Waiting);
    let assigned = store::assign(pool, &uid("a"), None, &TIMES, None).await.unwrap();
    assert_eq!(assigned.courier_id, second, "another one than the courier who was late");
    assert_invariants(pool).await;
}
