//! The local servers as real programs in real folders: restarts, crashes, and errors at the start.

#![expect(clippy::unwrap_used, reason = "a test that cannot continue must fail")]

mod kafka_wire;
mod processes;

use std::{
    env, fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use kafka_wire::Wire;
use local::{Kafka, KafkaOptions, LocalServers, LocalServersOptions, Postgres, PostgresOptions};
use tokio::time::timeout;

use crate::processes::{Parent, kill_9, processes_that_name};

/// A folder that is removed when the test has passed.
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
        // The logs are kept after a failure.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn ignore_progress(_: &str) {}

fn sql(url: &str, statement: &str) -> String {
    let psql = Command::new("psql")
        .env_remove("PGSSLMODE")
        .env_remove("PGOPTIONS")
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
async fn stopped_servers_find_their_data_again() {
    let scratch = Scratch::new("again");
    let mut servers = LocalServers::start(&scratch.both(), &ignore_progress).await.unwrap();
    let (postgres, kafka) = (servers.postgres.as_ref().unwrap(), servers.kafka.as_ref().unwrap());

    sql(&postgres.url(), "CREATE TABLE kept AS SELECT 'the first run' AS said");
    let mut wire = Wire::connect(&kafka.brokers());
    wire.create_topic("kept");
    wire.produce("kept", b"the first run");
    servers.stop().await.unwrap();
    processes::wait_until_none_names(&scratch.0);
    drop(servers);

    let mut servers = LocalServers::start(&scratch.both(), &ignore_progress).await.unwrap();
    let (postgres, kafka) = (servers.postgres.as_ref().unwrap(), servers.kafka.as_ref().unwrap());
    assert_eq!(sql(&postgres.url(), "SELECT said FROM kept"), "the first run");
    assert_eq!(Wire::connect(&kafka.brokers()).end_offset("kept"), 1);
    servers.stop().await.unwrap();
}

#[tokio::test]
async fn postgres_is_durable_and_allows_enough_connections() {
    let scratch = Scratch::new("settings");
    let mut postgres = Postgres::start(&scratch.postgres(), &ignore_progress).await.unwrap();
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
async fn a_crash_of_each_server_is_recovered_on_the_same_port() {
    let scratch = Scratch::new("crash");
    let mut servers = LocalServers::start(&scratch.both(), &ignore_progress).await.unwrap();
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
async fn a_killed_parent_leaves_no_process_and_no_damage() {
    let scratch = Scratch::new("orphans");
    let parent = Parent::start(example("servers").arg(&scratch.0));

    sql(&parent.url, "CREATE TABLE kept AS SELECT 'before' AS said");
    parent.kill_9();

    // They are started immediately, while the children of the killed parent are still ending.
    let mut servers = LocalServers::start(&scratch.both(), &ignore_progress).await.unwrap();
    let url = servers.postgres.as_ref().unwrap().url();
    assert_eq!(sql(&url, "SELECT said FROM kept"), "before");
    servers.stop().await.unwrap();
    drop(servers);

    Parent::start(example("servers").arg(&scratch.0)).kill_9();
    processes::wait_until_none_names(&scratch.0);
}

#[tokio::test]
async fn servers_without_a_watcher_are_ended_by_the_next_start() {
    let scratch = Scratch::new("survivors");
    let parent = Parent::start(example("servers").arg(&scratch.0));
    let all = processes_that_name(&scratch.0);
    let programs: Vec<u32> = ["postgres", "kafka"]
        .map(|name| fs::read_to_string(scratch.0.join(name).join("pid")).unwrap())
        .map(|id| id.trim().parse().unwrap())
        .into();
    let watchers = all.into_iter().filter(|id| !programs.contains(id) && *id != parent.id());

    watchers.for_each(kill_9);
    parent.kill_9();
    assert_eq!(processes_that_name(&scratch.0).len(), 2, "the two programs should still run");

    let mut servers = LocalServers::start(&scratch.both(), &ignore_progress).await.unwrap();
    let now = processes_that_name(&scratch.0);
    assert!(programs.iter().all(|id| !now.contains(id)), "{programs:?} still among {now:?}");
    servers.stop().await.unwrap();
}

#[tokio::test]
async fn a_dropped_server_is_stopped() {
    let scratch = Scratch::new("dropped");
    let postgres = Postgres::start(&scratch.postgres(), &ignore_progress).await.unwrap();

    drop(postgres);
    processes::wait_until_none_names(&scratch.0);
}

#[tokio::test]
async fn an_unexpected_end_is_reported() {
    let scratch = Scratch::new("died");
    let mut servers = LocalServers::start(&scratch.both(), &ignore_progress).await.unwrap();
    let id = fs::read_to_string(scratch.0.join("kafka/pid")).unwrap();

    kill_9(id.trim().parse().unwrap());
    let error = timeout(Duration::from_secs(5), servers.died()).await.unwrap().to_string();
    assert!(error.starts_with("Apache Kafka has ended (signal: 9 (SIGKILL)); its log "), "{error}");
    servers.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_start_on_the_same_folder_is_refused() {
    let scratch = Scratch::new("second");
    let mut first = Postgres::start(&scratch.postgres(), &ignore_progress).await.unwrap();
    let error =
        Postgres::start(&scratch.postgres(), &ignore_progress).await.unwrap_err().to_string();
    let folder = scratch.0.join("postgres");

    assert!(error.contains(&format!("the folder {} is in use", folder.display())), "{error}");
    assert!(error.contains(&format!("by process {}", std::process::id())), "{error}");
    assert_eq!(sql(&first.url(), "SELECT 1"), "1", "the first one is not disturbed");
    first.stop().await.unwrap();
}

#[tokio::test]
async fn a_used_port_is_reported_with_the_flag_that_changes_it() {
    let scratch = Scratch::new("port");
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();

    let options = PostgresOptions { port, ..scratch.postgres() };
    let error = Postgres::start(&options, &ignore_progress).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("port {port} for PostgreSQL is in use")), "{error}");
    assert!(error.contains("--postgres-port"), "{error}");

    let options = KafkaOptions { port, ..scratch.kafka() };
    let error = Kafka::start(&options, &ignore_progress).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("port {port} for Apache Kafka is in use")), "{error}");
    assert!(error.contains("--kafka-port"), "{error}");

    drop(taken);
    let options = PostgresOptions { port, ..scratch.postgres() };
    Postgres::start(&options, &ignore_progress).await.unwrap().stop().await.unwrap();
}

#[test]
fn a_missing_program_is_reported_with_a_way_to_install_it() {
    let scratch = Scratch::new("missing");
    let start = || {
        let mut servers = example("servers");
        servers.arg(&scratch.0);
        servers
    };

    let error = stderr(&start().env("PG_BIN_DIR", "/nowhere").output().unwrap());
    assert!(error.contains("PG_BIN_DIR is /nowhere"), "{error}");

    // Java is there, but neither jars nor Maven.
    let java = which("java").canonicalize().unwrap();
    let java_home = java.ancestors().nth(2).unwrap();
    let mut command = start();
    command.env("JAVA_HOME", java_home).env("XDG_DATA_HOME", scratch.0.join("empty"));
    command.env("PATH", path_without(&["mvn"], &scratch.0)).env_remove("KAFKA_HOME");
    let error = stderr(&command.output().unwrap());

    assert!(error.contains("Maven is missing"), "{error}");
    assert!(error.contains("scripts/setup"), "{error}");

    processes::wait_until_none_names(&scratch.0);
}

/// A Java 11, as far as the search for a Java is concerned.
const OLD_JAVA: &str = "#!/bin/sh\necho 'openjdk version \"11.0.22\" 2024-01-16' >&2\n";

#[test]
fn the_first_java_that_is_new_enough_is_found() {
    let scratch = Scratch::new("java");
    let old = scratch.0.join("java11/bin/java");
    fs::create_dir_all(old.parent().unwrap()).unwrap();
    fs::write(&old, OLD_JAVA).unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
    // Without Maven, the search for the jars is the next error. Without a package manager, setup
    // installs nothing if it finds no Java.
    let path = path_without(&["mvn", "apt-get", "dnf", "brew"], &scratch.0);
    let old_home = scratch.0.join("java11");
    for home in ["/nowhere", old_home.to_str().unwrap()] {
        let mut command = example("servers");
        command.arg(&scratch.0).env("JAVA_HOME", home).env("PATH", &path);
        command.env("JAVA_TOOL_OPTIONS", "-Dname=\"two words\" -Da=' version \"8\"'");
        command.env("XDG_DATA_HOME", scratch.0.join("empty")).env_remove("KAFKA_HOME");
        let error = stderr(&command.output().unwrap());
        assert!(error.contains("Maven is missing"), "{home}: {error}");

        let mut setup = Command::new("sh");
        setup.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/setup"));
        setup.env("JAVA_HOME", home).env("PATH", &path).env("KAFKA_HOME", "/nowhere");
        setup.env("JAVA_TOOL_OPTIONS", "-Dname=\"two words\"");
        let error = stderr(&setup.output().unwrap());
        assert!(!error.contains("java"), "{home}: {error}");
    }
    processes::wait_until_none_names(&scratch.0);
}

#[test]
fn with_postgres_migrates_and_returns_the_exit_code() {
    let scratch = Scratch::new("with");
    fs::write(scratch.0.join("1_table.sql"), "CREATE TABLE t (a int);").unwrap();
    fs::write(scratch.0.join("2_row.sql"), "INSERT INTO t VALUES (7);").unwrap();
    let with_postgres = |script: &str| {
        let mut command = example("with_postgres");
        // psql's variables are for other servers.
        command.env("PGSSLMODE", "require").env("PGOPTIONS", "-c default_transaction_read_only=on");
        command.arg("--migrations").arg(&scratch.0).args(["--schema", "tried", "--"]);
        command.args(["sh", "-c", script]).output().unwrap()
    };
    let output = with_postgres(r#"psql -XAt "$DATABASE_URL" -c 'SELECT a FROM tried.t'; exit 3"#);

    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "7");

    fs::write(scratch.0.join("3_wrong.sql"), "SELECT nonsense;").unwrap();
    let output = with_postgres("exit 0");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("do not apply"), "{}", stderr(&output));
}

fn which(program: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap();
    env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.exists()).unwrap()
}

/// Returns a `PATH` with all programs except these.
fn path_without(programs: &[&str], scratch: &Path) -> PathBuf {
    let bin = scratch.join("bin");
    fs::create_dir(&bin).unwrap();
    for folder in env::split_paths(&env::var_os("PATH").unwrap()) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if !programs.iter().any(|program| entry.file_name() == *program) {
                // As in PATH, the first program of each name is used, so later links may fail.
                let _ = std::os::unix::fs::symlink(entry.path(), bin.join(entry.file_name()));
            }
        }
    }
    bin
}
