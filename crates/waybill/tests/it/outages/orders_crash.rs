//! The order service is killed around a commit and stopped under load: nothing is lost and nothing
//! is done twice.

use testkit::{TestEnvironment, shared, wait_until};

use crate::support::{Program, Sent};

/// Kills a program that reads a backlog at `point`, and asserts that the next one settles
/// everything.
async fn assert_orders_survive_a_crash(point: &str) {
    let env = TestEnvironment::new(shared()).await;
    let mut sent = Sent::default();
    env.send_all(sent.mixed(0, 300)).await;

    Program::start(&env, Some(&format!("{point}=kill"))).assert_killed().await;
    assert_ne!(env.lag().await, 0, "the program ended before it committed the offsets");
    let stored = env.count("orders.orders").await;
    let events = env.read_all(&env.status_topic()).await.len();
    match point {
        "begin" | "before-commit" => assert_eq!((stored, events), (0, 0)),
        "after-publish" | "store-offsets" => {
            assert!(stored > 0 && events > 0, "{stored} orders, {events} events");
        }
        _ => assert_ne!(stored, 0),
    }

    let again = Program::start(&env, None);
    env.wait_until_drained().await;
    assert!(again.terminate().await.success());
    sent.assert_settled(&env).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_around_the_commit_loses_and_repeats_nothing() {
    // They run in parallel, because the broker takes long to remove a killed member of a group.
    tokio::join!(
        assert_orders_survive_a_crash("begin"),
        assert_orders_survive_a_crash("before-commit"),
        assert_orders_survive_a_crash("after-commit"),
        assert_orders_survive_a_crash("cache-update"),
        assert_orders_survive_a_crash("before-publish"),
        assert_orders_survive_a_crash("between-sends"),
        assert_orders_survive_a_crash("after-publish"),
        assert_orders_survive_a_crash("store-offsets")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn transient_errors_at_every_step_lose_and_repeat_nothing() {
    const ERRORS: &str = "begin=30%error;before-commit=30%error;after-commit=30%error;\
                          send=5%error;warm-up=1*error";
    let env = TestEnvironment::new(shared()).await;
    let mut sent = Sent::default();
    env.send_all(sent.mixed(0, 300)).await;

    let service = Program::start(&env, Some(ERRORS));
    env.wait_until_drained().await;

    assert!(service.terminate().await.success());
    sent.assert_settled(&env).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_the_warm_up_is_recovered_from() {
    let env = TestEnvironment::new(shared()).await;
    let mut sent = Sent::default();

    env.send_all(sent.mixed(0, 150)).await;
    let first = Program::start(&env, None);
    env.wait_until_drained().await;

    assert!(first.terminate().await.success());

    env.send_all(sent.mixed(150, 150)).await;

    Program::start(&env, Some("warm-up=kill")).assert_killed().await;

    let again = Program::start(&env, None);
    again.wait_until_ready().await;
    env.wait_until_drained().await;

    assert!(again.terminate().await.success());
    sent.assert_settled(&env).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_drains_and_repeats_no_event() {
    let env = TestEnvironment::new(shared()).await;
    let mut sent = Sent::default();

    env.send_all(sent.mixed(0, 10_000)).await;
    let first = Program::start_with(&env, &["--batch-rows", "20"]);
    wait_until("the first orders to be stored", async || env.count("orders.orders").await > 0)
        .await;
    let status = first.terminate().await;

    assert_eq!(status.code(), Some(0), "{status}");

    let (lag, stored) = (env.lag().await, env.count("orders.orders").await);
    assert!(lag > 0, "the stop must come while orders are consumed");
    assert!(stored < 10_000, "{stored}");

    env.send_all(sent.mixed(10_000, 300)).await;
    let again = Program::start(&env, None);
    env.wait_until_drained().await;

    assert!(again.terminate().await.success());
    sent.assert_settled(&env).await;

    let events = env.read_all(&env.status_topic()).await.len();
    let repeats = sent.orders.keys().filter(|uid| uid[6..].parse::<u32>().unwrap() % 7 == 0);
    assert_eq!(events, sent.orders.len() + repeats.count(), "a graceful stop repeats no event");
}
