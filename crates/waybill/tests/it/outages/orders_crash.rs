//! The real program killed at the worst moments, and asked to end in full flow: nothing is lost,
//! nothing is done twice.

use testkit::{TestEnvironment, shared, wait_until};

use crate::support::{Program, Sent};

/// A mixed backlog, a program that dies in it at `point`, and one that goes on.
async fn dies_at(point: &str) {
    let env = TestEnvironment::new(shared()).await;
    let mut sent = Sent::default();
    env.send_all(sent.mixed(0, 300)).await;

    Program::start(&env, Some(point)).was_killed().await;
    assert_ne!(env.lag().await, 0, "it died before the offsets were committed");
    let stored = env.count("orders.orders").await;
    let events = env.read_all(&env.status_topic()).await.len();
    match point {
        "before-commit" => assert_eq!((stored, events), (0, 0)),
        "after-commit" => assert_ne!(stored, 0),
        _ => assert!(stored > 0 && events > 0, "{stored} orders, {events} events"),
    }

    let again = Program::start(&env, None);
    env.drained().await;
    assert!(again.terminate().await.success());
    sent.is_settled(&env).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_around_the_commit_and_the_offsets_it_loses_and_doubles_nothing() {
    // Together, for the broker takes its time to give up a member that died.
    tokio::join!(dies_at("before-commit"), dies_at("after-commit"), dies_at("after-publish"));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_midst_of_the_warm_up_it_starts_again() {
    let env = TestEnvironment::new(shared()).await;
    let mut sent = Sent::default();
    env.send_all(sent.mixed(0, 150)).await;
    let first = Program::start(&env, None);
    env.drained().await;
    assert!(first.terminate().await.success());
    env.send_all(sent.mixed(150, 150)).await;

    Program::start(&env, Some("warm-up")).was_killed().await;

    let again = Program::start(&env, None);
    again.ready().await;
    env.drained().await;
    assert!(again.terminate().await.success());
    sent.is_settled(&env).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_end_in_full_flow_it_drains_and_the_next_goes_on() {
    let env = TestEnvironment::new(shared()).await;
    let mut sent = Sent::default();
    env.send_all(sent.mixed(0, 10_000)).await;
    let first = Program::start(&env, None);
    wait_until("the flow to be on", async || env.count("orders.orders").await > 0).await;
    let status = first.terminate().await;
    assert_eq!(status.code(), Some(0), "{status}");
    let (lag, stored) = (env.lag().await, env.count("orders.orders").await);
    assert!(lag > 0, "it was to end in the midst of the flow");
    assert!(stored < 10_000, "{stored}");
    // What it had taken it finished, and its offsets too: no record is read a second time.
    let settled = env.count("orders.orders").await + env.count("orders.rejected_records").await;
    assert!(settled > 0);

    env.send_all(sent.mixed(10_000, 300)).await;
    let again = Program::start(&env, None);
    env.drained().await;
    assert!(again.terminate().await.success());
    sent.is_settled(&env).await;
    let events = env.read_all(&env.status_topic()).await.len();
    let repeats = sent.orders.keys().filter(|uid| uid[6..].parse::<u32>().unwrap() % 7 == 0);
    assert_eq!(events, sent.orders.len() + repeats.count(), "an orderly end repeats no event");
}
