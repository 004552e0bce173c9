//! Events out of order, and a queue that is longer than there are couriers.

use chassis::postgres::pool::snapshot;
use couriers::{
    delivery::{
        Reason, Standing,
        courier::{AskedStatus, CourierChange, CourierStatus},
    },
    dispatch::Front,
    read::{Delivery, find_delivery, statistics},
    store::{self, NotAssigned, NotStored, NotUnassigned},
};
use events::OrderStatus::{Cancelled, Completed, Created, Delivering, Pending};
use sqlx::PgPool;
use testkit::{CourierDatabase, shared};

use crate::support::{
    TIMES, add_couriers, all_holds, at, broken, courier, match_all, match_from, scalar, tell,
    tell_again, uid,
};

async fn delivery(pool: &PgPool, name: &str) -> Option<Delivery> {
    find_delivery(&mut snapshot(pool).await.unwrap(), &uid(name)).await.unwrap()
}

async fn standing(pool: &PgPool, name: &str) -> Standing {
    delivery(pool, name).await.unwrap().standing
}

#[tokio::test]
async fn a_cancellation_or_completion_before_created_finds_no_courier_ever() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    add_couriers(pool, 2).await;
    tell(pool, &[("a", Cancelled, at(1)), ("b", Completed, at(1))]).await;
    tell(pool, &[("a", Created, at(2)), ("b", Created, at(2))]).await;
    assert_eq!(match_all(pool).await, []);
    assert_eq!(standing(pool, "a").await, Standing::Cancelled);
    assert_eq!(standing(pool, "b").await, Standing::Completed);
    let again = [("a", Created, at(3)), ("b", Created, at(3)), ("b", Completed, at(3))];
    tell_again(pool, &again).await;
    all_holds(pool).await;
}

#[tokio::test]
async fn what_is_repeated_changes_nothing() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    let [first] = add_couriers(pool, 1).await[..] else { unreachable!() };
    tell(pool, &[("a", Created, at(1))]).await;
    assert_eq!(match_all(pool).await.len(), 1);
    tell_again(pool, &[("a", Created, at(2))]).await;
    assert_eq!(match_all(pool).await, []);
    tell(pool, &[("a", Completed, at(3))]).await;
    tell_again(pool, &[("a", Completed, at(4)), ("a", Created, at(4))]).await;
    let courier = store::find_courier(pool, first).await.unwrap().unwrap();
    assert_eq!((courier.deliveries, courier.completed, courier.on_time), (1, 1, 1));
    assert_eq!(courier.status, CourierStatus::Available);
    all_holds(pool).await;
}

#[tokio::test]
async fn a_late_completed_of_a_released_order_does_not_free_the_courier_of_another() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    let [only] = add_couriers(pool, 1).await[..] else { unreachable!() };
    tell(pool, &[("old", Created, at(1))]).await;
    match_all(pool).await;
    sqlx::query(
        "UPDATE couriers.courier_orders SET assigned_at = now() - interval '2 h', deadline = now() - interval '1 h'",
    )
    .execute(pool)
    .await
    .unwrap();
    assert_eq!(standing(pool, "old").await, Standing::Overdue);
    let mut transaction = pool.begin().await.unwrap();
    let grace = std::time::Duration::from_secs(7_200);
    assert_eq!(couriers::dispatch::release_overdue(&mut transaction, grace).await.unwrap(), 0);
    let grace = std::time::Duration::from_secs(60);
    assert_eq!(couriers::dispatch::release_overdue(&mut transaction, grace).await.unwrap(), 1);
    transaction.commit().await.unwrap();
    tell(pool, &[("new", Created, at(2))]).await;
    assert_eq!(match_all(pool).await[0].courier_id, only.get());

    tell(pool, &[("old", Completed, at(3_600))]).await;
    let courier = store::find_courier(pool, only).await.unwrap().unwrap();
    assert_eq!(courier.status, CourierStatus::Busy, "he carries the new one");
    assert_eq!((courier.deliveries, courier.completed, courier.on_time), (2, 1, 0));
    assert_eq!(standing(pool, "new").await, Standing::Assigned);
    tell(pool, &[("old", Cancelled, at(3_601))]).await;
    let courier = store::find_courier(pool, only).await.unwrap().unwrap();
    assert_eq!((courier.status, courier.deliveries), (CourierStatus::Busy, 1));
    all_holds(pool).await;
}

#[tokio::test]
async fn an_order_of_which_a_killed_replica_told_no_match_is_found_by_the_next_sweep() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    let front = tell(pool, &[("late", Created, at(5))]).await;
    assert_eq!(match_from(pool, front).await, [], "there is no courier");
    // Before the front, and the wake-up is lost.
    tell(pool, &[("early", Created, at(1))]).await;
    store::create_courier(pool, &courier(1, AskedStatus::Available)).await.unwrap();
    assert_eq!(match_from(pool, Front::END).await[0].order_id, "late");
    store::create_courier(pool, &courier(2, AskedStatus::Available)).await.unwrap();
    assert_eq!(match_from(pool, Front::END).await, []);
    assert_eq!(match_all(pool).await[0].order_id, "early");
    all_holds(pool).await;
}

#[tokio::test]
async fn a_cancelled_order_leaves_the_statistics_even_after_its_completion() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    add_couriers(pool, 1).await;
    tell(pool, &[("a", Created, at(1))]).await;
    match_all(pool).await;
    tell(pool, &[("a", Completed, at(2))]).await;
    let figures = statistics(&mut snapshot(pool).await.unwrap()).await.unwrap();
    assert_eq!((figures.deliveries, figures.completed, figures.on_time), (1, 1, 1));
    tell(pool, &[("a", Cancelled, at(3))]).await;
    let figures = statistics(&mut snapshot(pool).await.unwrap()).await.unwrap();
    assert_eq!((figures.deliveries, figures.completed, figures.on_time), (0, 0, 0));
    assert_eq!((figures.on_time_share(), figures.mean_seconds), (None, None));
    all_holds(pool).await;
}

#[tokio::test]
async fn an_order_says_why_it_has_no_courier_yet() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    assert_eq!(delivery(pool, "a").await, None);
    tell(pool, &[("a", Pending, at(9))]).await;
    let told = delivery(pool, "a").await.unwrap();
    assert_eq!((told.standing, told.reason), (Standing::Expected, Some(Reason::NotCreated)));
    tell(pool, &[("a", Created, at(10)), ("b", Created, at(5))]).await;
    let told = delivery(pool, "a").await.unwrap();
    assert_eq!((told.standing, told.status), (Standing::Waiting, Pending));
    assert_eq!((told.position, told.reason), (Some(2), Some(Reason::NoCouriers)));
    store::create_courier(pool, &courier(1, AskedStatus::Paused)).await.unwrap();
    assert_eq!(delivery(pool, "a").await.unwrap().reason, Some(Reason::AllPaused));
    store::create_courier(pool, &courier(2, AskedStatus::Available)).await.unwrap();
    assert_eq!(delivery(pool, "a").await.unwrap().reason, Some(Reason::InTurn));
    assert_eq!(match_all(pool).await[0].order_id, "b", "the older comes first");
    let told = delivery(pool, "a").await.unwrap();
    assert_eq!((told.position, told.reason), (Some(1), Some(Reason::AllBusy)));
    tell(pool, &[("a", Delivering, at(11))]).await;
    assert_eq!(standing(pool, "a").await, Standing::Waiting);
    all_holds(pool).await;
}

#[tokio::test]
async fn by_hand_an_order_jumps_the_queue_and_is_held_when_it_is_taken_away() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    assert!(matches!(store::assign(pool, &uid("new"), &TIMES).await, Err(NotAssigned::NoCourier)));
    assert_eq!(delivery(pool, "new").await, None, "nothing is stored");
    assert!(matches!(store::unassign(pool, &uid("new")).await, Err(NotUnassigned::Unknown)));
    let [only] = add_couriers(pool, 1).await[..] else { unreachable!() };
    tell(pool, &[("a", Created, at(1)), ("b", Created, at(2))]).await;
    let assigned = store::assign(pool, &uid("b"), &TIMES).await.unwrap();
    assert_eq!(assigned.courier_id, only);
    assert!(matches!(
        store::assign(pool, &uid("b"), &TIMES).await,
        Err(NotAssigned::Already(courier)) if courier == only
    ));
    assert!(matches!(store::unassign(pool, &uid("a")).await, Err(NotUnassigned::NotAssigned)));
    assert_eq!(store::unassign(pool, &uid("b")).await.unwrap(), only);
    assert_eq!(standing(pool, "b").await, Standing::Held);
    assert_eq!(match_all(pool).await[0].order_id, "a", "the held one is not matched");
    tell(pool, &[("a", Completed, at(3))]).await;
    assert_eq!(match_all(pool).await, []);
    store::assign(pool, &uid("b"), &TIMES).await.unwrap();
    tell(pool, &[("b", Completed, at(4))]).await;
    assert!(matches!(store::unassign(pool, &uid("b")).await, Err(NotUnassigned::Ended(Completed))));
    store::assign(pool, &uid("unheard"), &TIMES).await.unwrap();
    tell_again(pool, &[("unheard", Created, at(5))]).await;
    assert_eq!(standing(pool, "unheard").await, Standing::Assigned);
    all_holds(pool).await;
}

#[tokio::test]
async fn a_paused_courier_keeps_what_he_carries_and_gets_no_other() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    let [only] = add_couriers(pool, 1).await[..] else { unreachable!() };
    let pause = CourierChange { status: Some(AskedStatus::Paused), ..CourierChange::default() };
    let resume = CourierChange { status: Some(AskedStatus::Available), ..CourierChange::default() };
    tell(pool, &[("a", Created, at(1)), ("b", Created, at(2))]).await;
    match_all(pool).await;
    let paused = store::update_courier(pool, only, &pause).await.unwrap();
    assert_eq!(paused.status, CourierStatus::Paused);
    let resumed = store::update_courier(pool, only, &resume).await.unwrap();
    assert_eq!(resumed.status, CourierStatus::Busy, "he carries");
    store::update_courier(pool, only, &pause).await.unwrap();
    tell(pool, &[("a", Completed, at(3))]).await;
    assert_eq!(match_all(pool).await, [], "paused stays paused");
    let resumed = store::update_courier(pool, only, &resume).await.unwrap();
    assert_eq!(resumed.status, CourierStatus::Available);
    assert_eq!(match_all(pool).await[0].order_id, "b");
    let twin = store::create_courier(pool, &courier(0, AskedStatus::Paused)).await;
    assert!(matches!(twin, Err(NotStored::PhoneTaken)), "{twin:?}");
    let nobody = "999".parse().unwrap();
    let changed = store::update_courier(pool, nobody, &pause).await;
    assert!(matches!(changed, Err(NotStored::Unknown)), "{changed:?}");
    all_holds(pool).await;
}

#[tokio::test]
async fn of_3000_orders_for_2000_couriers_1000_wait_and_are_served_oldest_first() {
    let database = CourierDatabase::new(shared()).await;
    let pool = &database.pool;
    sqlx::query(
        "INSERT INTO couriers.couriers (name, phone, transport_type, status) \
         SELECT 'c', '+7' || lpad(n::text, 10, '0'), 'car', 'available' FROM generate_series(1, 2000) AS n",
    )
    .execute(pool)
    .await
    .unwrap();
    // In an order of arrival that is not the order of their times.
    let names: Vec<String> = (0..3_000).map(|number| format!("o{number:04}")).collect();
    let arrivals: Vec<usize> = (0..3_000).map(|number| number * 1_009 % 3_000).collect();
    for batch in arrivals.chunks(500) {
        let events: Vec<_> = batch
            .iter()
            .map(|number| (names[*number].as_str(), Created, at(*number as i64)))
            .collect();
        tell(pool, &events).await;
    }
    let first = match_all(pool).await;
    assert_eq!(first.len(), 2_000);
    assert!(first.iter().all(|one| one.order_id.as_str() < "o2000"), "the oldest first");
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
        tell(pool, &events).await;
        let mut matched: Vec<_> =
            match_all(pool).await.into_iter().map(|one| one.order_id).collect();
        matched.sort_unstable();
        assert_eq!(matched, names[next..next + batch.len()], "oldest first");
        next += batch.len();
    }
    assert_eq!(next, 3_000, "all are served");
    let mut connection = pool.acquire().await.unwrap();
    assert!(broken(&mut connection).await.is_empty());
}
