//! PostgreSQL is frozen instead of down: connections stay open and never answer. Each call ends
//! within its limit, and the pool replaces the connections.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::PgConnection;
use testkit::{CourierDatabase, OwnServers, Service, TestEnvironment, shared, wait_until};

use crate::support::{
    add_courier, assert_served_from, assign, call, order, post, record, run_sql, send_keyed_status,
    set_courier_status, wait_for_delivery,
};

/// The connections for requests, a third of the default of `POSTGRES_CONNECTIONS`.
const CONNECTIONS: i64 = 3;
/// The limits of reads by key, and of lists and changes.
const BY_KEY: Duration = Duration::from_secs(2);
const LIST: Duration = Duration::from_secs(10);
/// Machines that run tests may be slow.
const SLACK: Duration = Duration::from_secs(3);

/// The connections of a service, seen from PostgreSQL.
struct Sessions {
    administrator: PgConnection,
    service: &'static str,
    /// The server processes that this test has stopped.
    frozen: Vec<Pid>,
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.thaw();
    }
}

impl Sessions {
    async fn of_orders(env: &TestEnvironment) -> Self {
        Self::of("orders", env.administrator().await)
    }

    async fn of_couriers(database: &CourierDatabase) -> Self {
        Self::of("couriers", database.administrator().await)
    }

    fn of(service: &'static str, administrator: PgConnection) -> Self {
        Self { administrator, service, frozen: Vec::new() }
    }

    async fn pids(&mut self, filter: &str) -> Vec<i32> {
        let statement = format!(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
                 AND application_name = 'waybill {}' AND {filter}",
            self.service
        );
        // PostgreSQL otherwise shows the same sessions until the end of a transaction.
        run_sql(&mut self.administrator, "SELECT pg_stat_clear_snapshot()").await;
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(statement));
        query.fetch_all(&mut self.administrator).await.unwrap()
    }

    /// Makes the service open all of its connections, and returns when they are idle: a lock on
    /// `table` blocks the answers to `path`, which reads one entry, until all connections wait.
    async fn fill_pool(&mut self, service: &Service, path: &str, table: &str) {
        run_sql(&mut self.administrator, &format!("BEGIN; LOCK TABLE {table}")).await;
        let send = || tokio::spawn(service.http.get(service.at(path)).send());
        let mut answers: Vec<_> = (0..CONNECTIONS).map(|_| send()).collect();
        let frozen: Vec<String> =
            self.frozen.iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
        let running = format!(
            "wait_event_type = 'Lock' AND pid <> ALL (ARRAY[{}]::integer[])",
            frozen.join(",")
        );
        let deadline = Instant::now() + LIST;
        let mut sent_at = Instant::now();
        while self.pids(&running).await.len() < CONNECTIONS as usize {
            assert!(Instant::now() < deadline, "not all connections are opened");
            // A request that found no free connection has ended without one, and one that waits for
            // the lock ends after its limit: more are sent than end meanwhile.
            if sent_at.elapsed() > BY_KEY / 8 {
                sent_at = Instant::now();
                answers.push(send());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        run_sql(&mut self.administrator, "COMMIT").await;
        for answer in answers {
            let status = answer.await.unwrap().unwrap().status().as_u16();
            assert!([200, 404, 503].contains(&status), "{status}");
        }
    }

    /// Stops the server processes of all connections that the service has now.
    async fn freeze(&mut self) {
        for pid in self.pids("true").await {
            let pid = Pid::from_raw(pid).unwrap();
            kill_process(pid, Signal::STOP).unwrap();
            self.frozen.push(pid);
        }
    }

    /// Lets the stopped server processes run on.
    fn thaw(&mut self) {
        for pid in self.frozen.drain(..) {
            // A process whose connection was closed is gone.
            let _ = kill_process(pid, Signal::CONT);
        }
    }

    async fn terminate(&mut self) {
        for pid in self.pids("true").await {
            let terminate = sqlx::query("SELECT pg_terminate_backend($1, 10000)").bind(pid);
            terminate.execute(&mut self.administrator).await.unwrap();
        }
    }
}

/// A method, a path, the limit, and the statuses that may answer.
type Call<'a> = (&'a str, &'a str, Duration, &'a [u16]);

/// Sends requests at the same time, and asserts that each is answered with one of its statuses
/// within its limit.
async fn assert_answered_in_time(service: &Service, calls: &[Call<'_>]) {
    let answers = calls.iter().map(async |(method, path, limit, statuses)| {
        let since = Instant::now();
        let (status, answer) = call(service, method, path, "").await;
        let took = since.elapsed();
        assert!(statuses.contains(&status), "{method} {path}: {status} {answer}");
        assert!(took < *limit + SLACK, "{method} {path} took {took:?}");
    });
    join_all(answers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_for_orders_end_while_postgresql_is_frozen() {
    let own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let service = env.start(&[]).await;
    let cached = order("cached", 1);
    env.send_all([record(&cached)]).await;
    env.send(Some(0), None, Some(b"{")).await;
    env.wait_until_drained().await;
    let rejected = service.json("/rejected").await["items"][0]["id"].as_str().unwrap().to_owned();

    let mut sessions = Sessions::of_orders(&env).await;
    sessions.fill_pool(&service, "/order/nobody/status", "orders.orders").await;
    sessions.freeze().await;

    assert_served_from(&service, &cached, "memory").await;
    let rejected = format!("/rejected/{rejected}");
    let calls: [Call<'_>; 8] = [
        ("GET", "/order/nobody", BY_KEY, &[503]),
        ("GET", "/order/soon?wait=1s", Duration::from_secs(1), &[503]),
        ("GET", "/order/cached/status", BY_KEY, &[503]),
        ("POST", "/order/cached/cancel", BY_KEY, &[503]),
        ("GET", &rejected, BY_KEY, &[503]),
        ("GET", "/order/cached/history", LIST, &[503]),
        ("GET", "/orders", LIST, &[503]),
        ("GET", "/rejected", LIST, &[503]),
    ];
    assert_answered_in_time(&service, &calls).await;

    // The frozen connections have left their places in the pool: all of them are replaced.
    sessions.fill_pool(&service, "/order/nobody/status", "orders.orders").await;
    assert_eq!(service.get("/order/nobody").await.status(), 404);
    assert_eq!(service.json("/order/cached/status").await["status"], "created");

    // The queue of misses and the pages on frozen connections.
    sessions.freeze().await;
    let since = Instant::now();
    let misses = (0..300).map(async |number| {
        let status = service.get(&format!("/order/miss-{number}")).await.status();
        assert!([404, 503].contains(&status.as_u16()), "{status}");
    });
    join_all(misses).await;
    let took = since.elapsed();
    assert!(took < BY_KEY + SLACK, "300 misses took {took:?}");

    sessions.thaw();
    let late = order("late", 1);
    env.send_all([record(&late)]).await;
    env.wait_until_drained().await;
    assert_served_from(&service, &late, "memory").await;
    service.stop().await.unwrap();
    own.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_sent_while_postgresql_is_frozen() {
    let own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let service = env.start(&[]).await;
    env.send_all([record(&order("cached", 1))]).await;
    env.wait_until_drained().await;
    let mut sessions = Sessions::of_orders(&env).await;
    sessions.fill_pool(&service, "/order/nobody/status", "orders.orders").await;

    sessions.freeze().await;
    let pages = ["/", "/order/cached", "/order/nobody", "/rejected"].map(async |path| {
        let since = Instant::now();
        let page = service.http.get(service.at(path)).header("accept", "text/html");
        let page = page.send().await.unwrap();
        let took = since.elapsed();
        assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
        assert!(took < LIST + BY_KEY + SLACK, "{path} took {took:?}");
    });
    join_all(pages).await;

    sessions.fill_pool(&service, "/order/nobody/status", "orders.orders").await;
    sessions.thaw();
    service.stop().await.unwrap();
    own.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_for_couriers_end_while_postgresql_is_frozen() {
    let own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let database = env.courier_database().await;
    // No sweep runs during the test, so no frozen connection holds the lock of the match.
    let service = env.start_couriers(&database, &["--dispatch-sweep", "1h"]).await;
    let id = add_courier(&service, "Anna", "car", "paused").await;
    send_keyed_status(&env, "waiting", "created").await;
    env.wait_until_couriers_drained().await;
    let mut sessions = Sessions::of_couriers(&database).await;
    sessions.fill_pool(&service, "/courier/1", "couriers.couriers").await;
    sessions.freeze().await;

    let (courier, statistics) = (format!("/courier/{id}"), format!("/courier/{id}/statistics"));
    // Dispatch measures its queue every 5 seconds, and may replace the connections before a call.
    let either: &[u16] = &[200, 503];
    let calls: [Call<'_>; 8] = [
        ("GET", &courier, BY_KEY, either),
        ("GET", &statistics, BY_KEY, either),
        ("GET", "/delivery/waiting", BY_KEY, either),
        ("GET", "/", Duration::from_secs(5), either),
        ("GET", "/couriers", LIST, either),
        ("GET", "/queue", LIST, either),
        ("GET", "/statistics", LIST, either),
        ("GET", "/rejected", LIST, either),
    ];
    assert_answered_in_time(&service, &calls).await;
    sessions.fill_pool(&service, "/courier/1", "couriers.couriers").await;

    // The connection of a change is tested, so the change does not even fail.
    sessions.freeze().await;
    let since = Instant::now();
    let id = add_courier(&service, "Boris", "car", "available").await;
    let (status, assigned) = assign(&service, "manual").await;
    assert!(since.elapsed() < LIST + SLACK);
    assert!(status == 200 || status == 409, "{assigned}");

    // Dispatch and intake continue on new connections.
    wait_until("the waiting order or the manual one to get the courier", async || {
        database.count(&format!("couriers.active_deliveries WHERE courier_id = {id}")).await == 1
    })
    .await;
    sessions.thaw();
    send_keyed_status(&env, "late", "created").await;
    env.wait_until_couriers_drained().await;
    assert_eq!(service.get("/delivery/late").await.status(), 200);
    service.stop().await.unwrap();
    own.stop().await;
}

/// A frozen transaction holds a row: a manual action that waits for the row also holds the lock of
/// the match.
#[tokio::test(flavor = "multi_thread")]
async fn dispatch_does_not_wait_for_an_action_that_waits() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let service = env.start_couriers(&database, &["--dispatch-sweep", "1h"]).await;
    let id = add_courier(&service, "Anna", "car", "paused").await;
    send_keyed_status(&env, "locked", "created").await;
    env.wait_until_couriers_drained().await;
    let mut frozen = database.administrator().await;
    let lock = "BEGIN; SELECT FROM couriers.order_states WHERE order_id = 'locked' FOR UPDATE";
    run_sql(&mut frozen, lock).await;

    let since = Instant::now();
    let (status, answer) = assign(&service, "locked").await;
    let took = since.elapsed();
    send_keyed_status(&env, "free", "created").await;
    set_courier_status(&service, id, "available").await;
    wait_for_delivery(&service, "free", "assigned").await;

    assert_eq!(status, 503, "{answer}");
    assert!(took < Duration::from_secs(2) + SLACK, "{took:?}");
    run_sql(&mut frozen, "ROLLBACK").await;
    assert_eq!(assign(&service, "locked").await.0, 409, "no courier is available");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn terminated_idle_connections_cause_no_503() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;
    let id = add_courier(&couriers, "Anna", "car", "available").await;
    let mut of_orders = Sessions::of_orders(&env).await;
    let mut of_couriers = Sessions::of_couriers(&database).await;

    let paths = ["/order/nobody", "/orders", "/order/nobody/history", "/rejected"];
    for path in paths {
        of_orders.fill_pool(&orders, "/order/nobody/status", "orders.orders").await;
        of_orders.terminate().await;
        let status = orders.get(path).await.status();
        assert!(status == 200 || status == 404, "{path}: {status}");
    }
    for path in [&format!("/courier/{id}"), "/couriers", "/queue", "/delivery/nobody"] {
        of_couriers.fill_pool(&couriers, "/courier/1", "couriers.couriers").await;
        of_couriers.terminate().await;
        let status = couriers.get(path).await.status();
        assert!(status == 200 || status == 404, "{path}: {status}");
    }
    of_couriers.fill_pool(&couriers, "/courier/1", "couriers.couriers").await;
    of_couriers.terminate().await;
    add_courier(&couriers, "Boris", "car", "available").await;
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

/// Makes the commit of a new courier take a minute.
const SLOW_COMMIT: &str = "
CREATE FUNCTION couriers.wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(60);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON couriers.couriers
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.name = 'Slow')
    EXECUTE FUNCTION couriers.wait();";

#[tokio::test(flavor = "multi_thread")]
async fn an_unconfirmed_change_is_answered_as_unknown() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let service = env.start_couriers(&database, &[]).await;
    run_sql(&mut database.administrator().await, SLOW_COMMIT).await;
    let mut sessions = Sessions::of_couriers(&database).await;

    let body = json!({ "name": "Slow", "phone": "+79990000001", "transport_type": "car" });
    let since = Instant::now();
    let answer = post(&service, "/courier", &body.to_string()).await;

    assert_eq!(answer.status(), 503);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["type"], "/docs#database-unavailable");
    assert!(problem["detail"].as_str().unwrap().contains("unknown whether it was stored"));
    let took = since.elapsed();
    assert!(took >= LIST && took < LIST + SLACK, "{took:?}");

    // The server notices that the connection is closed, and ends the commit and its locks.
    let deadline = Instant::now() + Duration::from_secs(10);
    while !sessions.pids("wait_event = 'PgSleep'").await.is_empty() {
        assert!(Instant::now() < deadline, "the abandoned commit still runs");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(database.count("couriers.couriers").await, 0);
    // The same call later is a new change.
    run_sql(&mut database.administrator().await, "DROP TRIGGER slow_commit ON couriers.couriers")
        .await;
    assert_eq!(post(&service, "/courier", &body.to_string()).await.status(), 201);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_on_a_frozen_connection_is_retried_within_seconds() {
    const FIRST_TRANSACTION: Duration = Duration::from_secs(5);
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let send = async |uid: &str| {
        let (key, value) = record(&order(uid, 1));
        env.send(Some(0), Some(&key), Some(&value)).await;
    };
    send("before").await;
    env.wait_until_drained().await;
    let mut sessions = Sessions::of_orders(&env).await;
    sessions.freeze().await;
    let since = Instant::now();

    send("after").await;
    wait_until("the order to be stored", async || env.count("orders.orders").await == 2).await;

    let took = since.elapsed();
    assert!(took < FIRST_TRANSACTION + SLACK, "{took:?}");
    sessions.thaw();
    service.stop().await.unwrap();
}
