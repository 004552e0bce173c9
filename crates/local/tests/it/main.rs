//! The local servers from outside: real programs, real folders, real deaths.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should end there")]

mod kafka_wire;
mod processes;

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use kafka_wire::Wire;
use local::{Kafka, KafkaOptions, LocalServers, LocalServersOptions, Postgres, PostgresOptions};
use tokio::time::timeout;

use crate::processes::{Parent, kill_9, processes_with};

/// A folder that is gone when the test has passed.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("waybill-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path.canonicalize().unwrap())
    }

    fn both(&self) -> LocalServersOptions {
        LocalServersOptions {
            data_dir: self.0.clone(),
            postgres_port: Some(0),
            kafka_port: Some(0),
        }
    }

    fn postgres(&self) -> PostgresOptions {
        PostgresOptions { data_dir: self.0.join("postgres"), port: 0 }
    }

    fn kafka(&self) -> KafkaOptions {
        KafkaOptions { data_dir: self.0.join("kafka"), port: 0 }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After a failure the logs are worth keeping.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn silent(_: &str) {}

fn sql(url: &str, statement: &str) -> String {
    let psql = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", url, "-c", statement])
        .output()
        .unwrap();
    assert!(psql.status.success(), "{statement}: {}", String::from_utf8_lossy(&psql.stderr));
    String::from_utf8(psql.stdout).unwrap().trim().to_owned()
}

/// Runs an example of this crate, which Cargo builds together with its tests.
fn example(name: &str) -> Command {
    let path = env::current_exe().unwrap();
    let path = path.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is missing: build it with `cargo test -p local`", path.display());
    let mut command = Command::new(path);
    command.env("RUST_BACKTRACE", "0");
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn stopped_servers_find_its_data_again() {
    let scratch = Scratch::new("again");
    let mut servers = LocalServers::start(&scratch.both(), &silent).await.unwrap();
    let (postgres, kafka) = (servers.postgres.as_ref().unwrap(), servers.kafka.as_ref().unwrap());
    sql(&postgres.url(), "CREATE TABLE kept AS SELECT 'the first run' AS said");
    let mut wire = Wire::connect(&kafka.brokers());
    wire.create_topic("kept");
    wire.produce("kept", b"the first run");
    servers.stop().await.unwrap();
    processes::wait_until_none_with(&scratch.0);
    drop(servers);

    let mut servers = LocalServers::start(&scratch.both(), &silent).await.unwrap();
    let (postgres, kafka) = (servers.postgres.as_ref().unwrap(), servers.kafka.as_ref().unwrap());
    assert_eq!(sql(&postgres.url(), "SELECT said FROM kept"), "the first run");
    assert_eq!(Wire::connect(&kafka.brokers()).end_offset("kept"), 1);
    servers.stop().await.unwrap();
}

#[tokio::test]
async fn postgres_is_honest_about_durability_and_roomy_enough() {
    let scratch = Scratch::new("settings");
    let mut postgres = Postgres::start(&scratch.postgres(), &silent).await.unwrap();
    let setting = |name: &str| sql(&postgres.url(), &format!("SHOW {name}"));
    assert_eq!(setting("fsync"), "on");
    assert_eq!(setting("synchronous_commit"), "on");
    assert_eq!(setting("full_page_writes"), "on");
    assert_eq!(setting("max_connections"), "200");
    assert_eq!(setting("listen_addresses"), "127.0.0.1");
    assert_eq!(setting("server_encoding"), "UTF8");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_crash_of_each_is_recovered_on_the_same_port() {
    let scratch = Scratch::new("crash");
    let mut servers = LocalServers::start(&scratch.both(), &silent).await.unwrap();
    let (postgres, kafka) = (servers.postgres.as_mut().unwrap(), servers.kafka.as_mut().unwrap());
    let (url, brokers) = (postgres.url(), kafka.brokers());
    sql(&url, "CREATE TABLE kept AS SELECT 'before' AS said");
    let mut wire = Wire::connect(&brokers);
    wire.create_topic("kept");
    wire.produce("kept", b"before");

    postgres.kill().await.unwrap();
    kafka.kill().await.unwrap();
    assert!(std::net::TcpStream::connect(("127.0.0.1", postgres.port())).is_err());
    assert!(std::net::TcpStream::connect(("127.0.0.1", kafka.port())).is_err());
    postgres.restart().await.unwrap();
    kafka.restart().await.unwrap();

    assert_eq!(sql(&url, "SELECT said FROM kept"), "before");
    let mut wire = Wire::connect(&brokers);
    assert_eq!(wire.end_offset("kept"), 1);
    wire.produce("kept", b"after");
    assert_eq!(wire.end_offset("kept"), 2);
    servers.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_parent_leaves_nothing_behind_and_the_next_start_recovers() {
    let scratch = Scratch::new("orphans");
    let parent = Parent::start(example("servers").arg(&scratch.0));
    sql(&parent.url, "CREATE TABLE kept AS SELECT 'before' AS said");
    parent.kill_9();

    // At once, while the children of the killed one are still leaving.
    let mut servers = LocalServers::start(&scratch.both(), &silent).await.unwrap();
    let url = servers.postgres.as_ref().unwrap().url();
    assert_eq!(sql(&url, "SELECT said FROM kept"), "before");
    servers.stop().await.unwrap();
    drop(servers);

    Parent::start(example("servers").arg(&scratch.0)).kill_9();
    processes::wait_until_none_with(&scratch.0);
}

#[tokio::test]
async fn what_survived_its_watcher_is_ended_at_the_next_start() {
    let scratch = Scratch::new("survivors");
    let parent = Parent::start(example("servers").arg(&scratch.0));
    let all = processes_with(&scratch.0);
    let programs: Vec<u32> = ["postgres", "kafka"]
        .map(|name| fs::read_to_string(scratch.0.join(name).join("pid")).unwrap())
        .map(|id| id.trim().parse().unwrap())
        .into();
    let watchers = all.into_iter().filter(|id| !programs.contains(id) && *id != parent.id());
    watchers.for_each(kill_9);
    parent.kill_9();
    assert_eq!(processes_with(&scratch.0).len(), 2, "the two programs should live on");

    let mut servers = LocalServers::start(&scratch.both(), &silent).await.unwrap();
    let now = processes_with(&scratch.0);
    assert!(programs.iter().all(|id| !now.contains(id)), "{programs:?} still among {now:?}");
    servers.stop().await.unwrap();
}

#[tokio::test]
async fn dropping_it_stops_it() {
    let scratch = Scratch::new("dropped");
    let postgres = Postgres::start(&scratch.postgres(), &silent).await.unwrap();
    drop(postgres);
    processes::wait_until_none_with(&scratch.0);
}

#[tokio::test]
async fn an_uninvited_end_is_noticed_and_told() {
    let scratch = Scratch::new("died");
    let mut servers = LocalServers::start(&scratch.both(), &silent).await.unwrap();
    let id = fs::read_to_string(scratch.0.join("kafka/pid")).unwrap();
    kill_9(id.trim().parse().unwrap());
    let told = timeout(Duration::from_secs(5), servers.died()).await.unwrap().to_string();
    assert!(told.starts_with("Apache Kafka has ended (signal: 9 (SIGKILL)); its log "), "{told}");
    servers.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_start_on_the_same_folder_is_refused() {
    let scratch = Scratch::new("second");
    let mut first = Postgres::start(&scratch.postgres(), &silent).await.unwrap();
    let told = Postgres::start(&scratch.postgres(), &silent).await.unwrap_err().to_string();
    let folder = scratch.0.join("postgres");
    assert!(told.contains(&format!("the folder {} is in use", folder.display())), "{told}");
    assert!(told.contains(&format!("by process {}", std::process::id())), "{told}");
    assert_eq!(sql(&first.url(), "SELECT 1"), "1", "the first one is not disturbed");
    first.stop().await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_told_with_the_flag_that_changes_it() {
    let scratch = Scratch::new("port");
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();

    let options = PostgresOptions { port, ..scratch.postgres() };
    let told = Postgres::start(&options, &silent).await.unwrap_err().to_string();
    assert!(told.starts_with(&format!("port {port} for PostgreSQL is in use")), "{told}");
    assert!(told.contains("--postgres-port"), "{told}");

    let options = KafkaOptions { port, ..scratch.kafka() };
    let told = Kafka::start(&options, &silent).await.unwrap_err().to_string();
    assert!(told.starts_with(&format!("port {port} for Apache Kafka is in use")), "{told}");
    assert!(told.contains("--kafka-port"), "{told}");

    drop(taken);
    let options = PostgresOptions { port, ..scratch.postgres() };
    Postgres::start(&options, &silent).await.unwrap().stop().await.unwrap();
}

#[test]
fn a_missing_program_is_told_with_the_way_to_get_it() {
    let scratch = Scratch::new("missing");
    let start = || {
        let mut servers = example("servers");
        servers.arg(&scratch.0);
        servers
    };

    let told = stderr(&start().env("PG_BIN_DIR", "/nowhere").output().unwrap());
    assert!(told.contains("PG_BIN_DIR is /nowhere"), "{told}");

    let told = stderr(&start().env("JAVA_HOME", "/nowhere").output().unwrap());
    assert!(told.contains("Java is missing (/nowhere/bin/java does not run)"), "{told}");
    assert!(told.contains("scripts/setup"), "{told}");

    // A Java, but neither jars nor Maven.
    let java = which("java").canonicalize().unwrap();
    let java_home = java.ancestors().nth(2).unwrap();
    let mut command = start();
    command.env("JAVA_HOME", java_home).env("XDG_DATA_HOME", scratch.0.join("empty"));
    command.env("PATH", path_without("mvn", &scratch.0)).env_remove("KAFKA_HOME");
    let told = stderr(&command.output().unwrap());
    assert!(told.contains("Maven is missing"), "{told}");
    assert!(told.contains("scripts/setup"), "{told}");
    processes::wait_until_none_with(&scratch.0);
}

#[test]
fn with_postgres_migrates_and_passes_on_the_exit_code() {
    let scratch = Scratch::new("with");
    fs::write(scratch.0.join("1_table.sql"), "CREATE TABLE t (a int);").unwrap();
    fs::write(scratch.0.join("2_row.sql"), "INSERT INTO t VALUES (7);").unwrap();
    let with_postgres = |script: &str| {
        let mut command = example("with_postgres");
        command.arg("--migrations").arg(&scratch.0).args(["--schema", "tried", "--"]);
        command.args(["sh", "-c", script]).output().unwrap()
    };
    let told = with_postgres(r#"psql -XAt "$DATABASE_URL" -c 'SELECT a FROM tried.t'; exit 3"#);
    assert_eq!(told.status.code(), Some(3), "{}", stderr(&told));
    assert_eq!(String::from_utf8_lossy(&told.stdout).trim(), "7");

    fs::write(scratch.0.join("3_wrong.sql"), "SELECT nonsense;").unwrap();
    let told = with_postgres("exit 0");
    assert_eq!(told.status.code(), Some(1));
    assert!(stderr(&told).contains("do not apply"), "{}", stderr(&told));
}

fn which(program: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap();
    env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.exists()).unwrap()
}

/// A `PATH` with everything but one program.
fn path_without(program: &str, scratch: &Path) -> PathBuf {
    let bin = scratch.join("bin");
    fs::create_dir(&bin).unwrap();
    for folder in env::split_paths(&env::var_os("PATH").unwrap()) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name() != program {
                // The first of a name wins, as in PATH.
                let _ = std::os::unix::fs::symlink(entry.path(), bin.join(entry.file_name()));
            }
        }
    }
    bin
}
