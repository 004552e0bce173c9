//! What several tests need: orders with a number, the real program, and what must hold in the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use testkit::{CourierDatabase, Service, TestEnvironment, order_json::SAMPLE, wait_until};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};

/// The sample order under another id, with an amount that tells contents apart.
pub fn order(uid: &str, amount: i64) -> Value {
    let mut order: Value = serde_json::from_str(SAMPLE).unwrap();
    order["order_uid"] = json!(uid);
    order["payment"]["amount"] = json!(amount);
    order
}

/// An order as a producer keys and sends it.
pub fn record(order: &Value) -> (Vec<u8>, Vec<u8>) {
    (order["order_uid"].as_str().unwrap().as_bytes().to_vec(), order.to_string().into_bytes())
}

/// What a service was sent and must have made of it.
#[derive(Clone, Default)]
pub struct Sent {
    /// Each valid order by its id.
    pub orders: BTreeMap<String, Value>,
    /// How many records are invalid.
    pub invalid: usize,
}

impl Sent {
    /// Notes `count` orders from number `first` on, every seventh sent twice and an invalid record
    /// after every tenth, and gives their records.
    pub fn mixed(&mut self, first: usize, count: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut records = Vec::new();
        for number in first..first + count {
            let uid = format!("order-{number:06}");
            let order = order(&uid, number as i64);
            records.push(record(&order));
            if number % 7 == 0 {
                records.push(record(&order));
            }
            if number % 10 == 0 {
                records
                    .push((uid.clone().into_bytes(), format!("{{\"bad\": {number}").into_bytes()));
                self.invalid += 1;
            }
            self.orders.insert(uid, order);
        }
        records
    }

    /// Everything is settled: each valid order exactly once and field for field, each rejection
    /// exactly once and at least once on the dead-letter topic, each `created` at least once.
    pub async fn is_settled(&self, env: &TestEnvironment) {
        env.drained().await;
        let service = env.start(&[]).await;
        self.is_served(env, &service).await;
        service.stop().await.unwrap();
    }

    /// As [`is_settled`](Self::is_settled), asked of a service that runs.
    pub async fn is_served(&self, env: &TestEnvironment, service: &Service) {
        assert_eq!(env.count("orders.orders").await as usize, self.orders.len());
        assert_eq!(env.count("orders.orders WHERE version > 1").await, 0, "a repeat is no version");
        assert_eq!(env.count("orders.rejected_records").await as usize, self.invalid);
        for (uid, order) in &self.orders {
            let answer = service.get(&format!("/order/{uid}")).await;
            assert_eq!(answer.status(), 200, "{uid}");
            assert_eq!(&answer.json::<Value>().await.unwrap(), order);
        }
        let created: BTreeSet<String> = env
            .read_all(&env.status_topic())
            .await
            .into_iter()
            .map(|event| event.headers["ce_id"].clone())
            .collect();
        let wanted: BTreeSet<String> =
            self.orders.keys().map(|uid| format!("{uid}:1:created")).collect();
        assert_eq!(created, wanted);
        let letters: BTreeSet<_> = env
            .read_all(&env.dead_letters())
            .await
            .into_iter()
            .map(|mut letter| {
                let place = ["partition", "offset"]
                    .map(|part| letter.headers.remove(&format!("__connect.errors.{part}")));
                (place, letter.value)
            })
            .collect();
        assert_eq!(letters.len(), self.invalid);
    }
}

/// Has an administrator change the orders' database.
pub async fn alter(env: &TestEnvironment, statements: &str) {
    let server = env.servers.postgres.rsplit_once('/').unwrap().0;
    let url = format!("{server}/{}_orders", env.name);
    let mut administrator = PgConnection::connect(&url).await.unwrap();
    let statements = sqlx::AssertSqlSafe(statements.to_owned());
    sqlx::raw_sql(statements).execute(&mut administrator).await.unwrap();
}

/// A folder that is gone after the test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        let name = format!("waybill-it-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program with flags and variables, in a folder without a `.env`, run to its end.
pub async fn waybill(flags: &[&str], variables: &[(&str, &str)]) -> Output {
    let folder = Scratch::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.args(flags).current_dir(&folder.0).env_clear().envs(variables.iter().copied());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, command.output()).await.expect("it ends by itself").unwrap()
}

/// The real program in the role of a service. Dropping it kills it.
pub struct Program {
    child: Child,
    url: String,
}

impl Program {
    /// Starts the order service; `crash_at` names the point at which it shall die.
    pub fn start(env: &TestEnvironment, crash_at: Option<&str>) -> Self {
        Self::start_role("orders", env.flags(), crash_at)
    }

    /// The same of the courier service, with further flags.
    pub fn start_couriers(
        env: &TestEnvironment,
        database: &CourierDatabase,
        more: &[&str],
        crash_at: Option<&str>,
    ) -> Self {
        let mut flags = env.courier_flags(database);
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        Self::start_role("couriers", flags, crash_at)
    }

    fn start_role(role: &str, mut flags: Vec<String>, crash_at: Option<&str>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let flag = format!("--{role}-http-addr");
        let place = flags.iter().position(|one| *one == flag).unwrap();
        flags[place + 1].clone_from(&address);
        let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
        command.arg(role).args(flags).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match crash_at {
            Some(point) => command.env("WAYBILL_CRASH_AT", point),
            None => command.env_remove("WAYBILL_CRASH_AT"),
        };
        Self { child: command.spawn().unwrap(), url: format!("http://{address}") }
    }

    /// Starts this role with these flags and an address of its own, its log in a file.
    pub fn start_with(role: &str, flags: &[(&str, &str)], log: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
        command.args([role, &format!("--{role}-http-addr"), &address]).kill_on_drop(true);
        command.args(flags.iter().flat_map(|(flag, value)| [flag, value])).env_remove("RUST_LOG");
        let log = std::fs::File::create(log).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self { child: command.spawn().unwrap(), url: format!("http://{address}") }
    }

    /// The order service with these variables alone, in this folder.
    pub fn start_in(folder: &Scratch, variables: &[(&str, &str)]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
        command.args(["orders", "--orders-http-addr", &address]).kill_on_drop(true);
        command.current_dir(&folder.0).env_clear().envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), url: format!("http://{address}") }
    }

    /// Kills it by SIGKILL, whatever it is about.
    pub async fn kill(mut self) {
        self.child.start_kill().unwrap();
        self.was_killed().await;
    }

    /// The status of an answer to GET.
    pub async fn status(&self, path: &str) -> u16 {
        let answer = reqwest::get(format!("{}{path}", self.url)).await;
        answer.expect("it answers").status().as_u16()
    }

    /// Does it answer, and say that it would like to be asked?
    pub async fn answers(&self) -> bool {
        let answer = reqwest::get(format!("{}/readyz", self.url)).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&self) {
        wait_until("the program to be ready", async || self.answers().await).await;
    }

    /// Waits until it is dead, and checks that SIGKILL was it.
    pub async fn was_killed(mut self) {
        let status = self.end().await;
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}");
    }

    /// Asks it to end by SIGTERM and waits for its exit status.
    pub async fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.end().await
    }

    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        kill_process(id, signal).unwrap();
    }

    async fn end(&mut self) -> ExitStatus {
        let patience = std::time::Duration::from_secs(60);
        tokio::time::timeout(patience, self.child.wait()).await.expect("it ends").unwrap()
    }
}

/// The same as [`waybill`] in a folder of the test's, with something on standard input.
pub async fn waybill_in(
    folder: &Scratch,
    flags: &[&str],
    variables: &[(&str, &str)],
    input: &[u8],
) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.args(flags).current_dir(&folder.0).env_clear().envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that does not read its input may end before it is written.
    let _ = stdin.write_all(input).await;
    drop(stdin);
    let ended =
        tokio::time::timeout(std::time::Duration::from_secs(60), child.wait_with_output()).await;
    ended.expect("it ends by itself").unwrap()
}

/// One number of `/metrics`.
pub async fn metric(service: &Service, name: &str) -> f64 {
    let text = service.get("/metrics").await.text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}
