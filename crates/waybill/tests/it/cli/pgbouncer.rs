//! A real PgBouncer in transaction mode between the services and PostgreSQL.

use std::{net::TcpListener, os::unix::fs::PermissionsExt as _, process::Stdio};

use testkit::{CourierDatabase, TestEnvironment, shared, wait_until};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::support::{
    Scratch, add_courier, assert_served, order, record, send_keyed_status, wait_for_delivery,
    waybill,
};

/// A PgBouncer with fewer sessions than the services have connections, so that connections share
/// sessions.
struct PgBouncer {
    /// Dropping it kills it.
    _child: Child,
    _folder: Scratch,
    port: u16,
}

impl PgBouncer {
    async fn start(env: &TestEnvironment, settings: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = Scratch::new();
        let (users, file) = (folder.0.join("users"), folder.0.join("pgbouncer.ini"));
        std::fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(&users, format!("\"{}_user\" \"secret\"\n", env.name)).unwrap();
        let configuration = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = plain\nauth_file = {}\n\
             pool_mode = transaction\ndefault_pool_size = 3\n{settings}\n",
            host(&env.servers.postgres).split_once(':').unwrap().1,
            users.display()
        );
        std::fs::write(&file, configuration).unwrap();
        // On Debian, it is not in the PATH of an ordinary user.
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap());
        let mut command = Command::new("pgbouncer");
        command.env("PATH", path).arg(&file).kill_on_drop(true);
        // It refuses to run as root.
        if rustix::process::geteuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = child.spawn().expect("PgBouncer is installed");
        wait_until("PgBouncer to listen", async || {
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        Self { _child: child, _folder: folder, port }
    }

    /// Returns an address of PostgreSQL as one of PgBouncer.
    fn in_front_of(&self, url: &str) -> String {
        url.replace(host(url), &format!("127.0.0.1:{}", self.port))
    }

    /// Returns the environment and the database of the courier service behind it.
    fn environment(
        &self,
        env: &TestEnvironment,
        couriers: &CourierDatabase,
    ) -> (TestEnvironment, CourierDatabase) {
        let (mut env, mut couriers) = (env.clone(), couriers.clone());
        env.servers.postgres = self.in_front_of(&env.servers.postgres);
        couriers.url = self.in_front_of(&couriers.url);
        (env, couriers)
    }
}

fn host(url: &str) -> &str {
    url.split_once('@').unwrap().1.split_once('/').unwrap().0
}

/// Asserts that both services do their work behind a PgBouncer with these settings.
async fn assert_services_work(settings: &str) {
    let env = TestEnvironment::new(shared()).await;
    let couriers = env.courier_database().await;
    let pooler = PgBouncer::start(&env, settings).await;
    let (behind, couriers_behind) = pooler.environment(&env, &couriers);
    env.send_all((0..300).map(|number| record(&order(&format!("first-{number}"), number)))).await;

    let (orders, board) = behind.start_both(&couriers_behind).await;
    env.wait_until_drained().await;
    assert_eq!(env.count("orders.orders").await, 300);
    add_courier(&board, "Ada", "car", "available").await;
    wait_until("an order to be assigned", async || board.json("/statistics").await["active"] == 1)
        .await;
    add_courier(&board, "Eve", "car", "available").await;
    send_keyed_status(&env, "first-7", "cancelled").await;
    wait_for_delivery(&board, "first-7", "cancelled").await;
    wait_until("both couriers to have an order", async || {
        board.json("/statistics").await["active"] == 2
    })
    .await;

    // Reads of all kinds, at the same time on more connections than PgBouncer has sessions.
    let paths = ["/orders", "/order/first-7/history", "/rejected", "/order/first-8/status"];
    let reads = paths.into_iter().cycle().take(60).map(|path| orders.get(path));
    for answer in futures_util::future::join_all(reads).await {
        assert_eq!(answer.status(), 200, "{}", answer.url());
    }
    let paths = ["/couriers", "/queue", "/statistics", "/"];
    let reads = paths.into_iter().cycle().take(60).map(|path| board.get(path));
    for answer in futures_util::future::join_all(reads).await {
        assert_eq!(answer.status(), 200, "{}", answer.url());
    }
    env.wait_until_couriers_drained().await;
    orders.stop().await.unwrap();
    board.stop().await.unwrap();

    // Another client uses the same sessions, and is warm without memory of the first one.
    let orders = behind.start(&["--cache-bytes", "1000000"]).await;
    assert_served(&orders, &order("first-299", 299)).await;
    orders.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn services_work_behind_pgbouncer_in_transaction_mode() {
    assert_services_work("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_work_if_pgbouncer_ignores_their_settings() {
    assert_services_work("ignore_startup_parameters = options,extra_float_digits").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_with_a_session_of_their_own_refuse_pgbouncer() {
    let env = TestEnvironment::new(shared()).await;
    for settings in ["", "ignore_startup_parameters = options,extra_float_digits"] {
        let pooler = PgBouncer::start(&env, settings).await;
        let direct = format!(
            "postgres://{0}_user:secret@{1}/{0}_orders",
            env.name,
            host(&env.servers.postgres)
        );
        let url = pooler.in_front_of(&direct);
        let (orders, status) = (env.orders_topic(), env.status_topic());
        for role in ["migrate", "audit"] {
            let variables = [
                ("ORDERS_DATABASE_URL", url.as_str()),
                ("KAFKA_BROKERS", &env.servers.kafka),
                ("KAFKA_ORDERS_TOPIC", &orders),
                ("KAFKA_STATUS_TOPIC", &status),
            ];
            let output = waybill(&[role], &variables).await;
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{role}: {error}");
            assert!(error.contains("a pooler such as PgBouncer is at this address"), "{error}");
        }
    }
}
