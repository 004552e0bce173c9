//! Folders with unusual names: both servers use exactly the folder that they are given.

use std::{collections::BTreeSet, fs, path::Path};

use local::{LocalServers, LocalServersOptions, Obstacle, Postgres, PostgresOptions};

use crate::{
    Scratch, example, ignore_progress,
    processes::{self, Parent},
    sql,
};

/// A name with every kind of character that Java, Kafka, log4j or PostgreSQL gives a meaning.
const UNUSUAL: &str = r#"\u0041\n é😀 Стол %20+#?;=:!"q" 'q' ${a} $b"#;

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn both_servers_use_the_folder_that_they_are_given() {
    let scratch = Scratch::new("unusual");
    let folder = scratch.0.join(UNUSUAL);

    // The locale of a service manager or of cron, in which Java expects ASCII.
    let mut servers = example("servers");
    servers.arg(&folder).env("LANG", "C").env_remove("LC_ALL").env_remove("LC_CTYPE");
    let parent = Parent::start(&mut servers);

    assert_eq!(sql(&parent.url, "SHOW server_encoding"), "UTF8");
    assert_eq!(
        names(&scratch.0),
        BTreeSet::from([UNUSUAL.to_owned()]),
        "nothing appears beside it"
    );
    assert_eq!(names(&folder), ["kafka", "postgres"].map(str::to_owned).into());
    let expected = ["data", "lock", "log", "log4j2.xml", "pid", "server.properties"];
    assert_eq!(names(&folder.join("kafka")), expected.map(str::to_owned).into());
    assert!(folder.join("kafka/data/meta.properties").exists());
    assert!(folder.join("postgres/cluster/PG_VERSION").exists());
    // Without its configuration, log4j reports that it uses a default one.
    let log = fs::read_to_string(folder.join("kafka/log")).unwrap();
    assert!(!log.to_lowercase().contains("configuration"), "{log}");

    parent.kill_9();
    processes::wait_until_none_names(&scratch.0);
}

#[tokio::test]
async fn a_comma_is_refused_for_kafka_and_works_for_postgresql() {
    let scratch = Scratch::new("comma");
    let data_dir = scratch.0.join("a, b");
    let mut options = LocalServersOptions {
        data_dir: data_dir.clone(),
        postgres_port: Some(0),
        kafka_port: Some(0),
    };

    let error = LocalServers::start(&options, &ignore_progress).await.unwrap_err();
    assert!(error.is::<Obstacle>() && error.to_string().contains("comma"), "{error}");
    assert!(!data_dir.exists(), "the folder is not created");

    options.kafka_port = None;
    let mut servers = LocalServers::start(&options, &ignore_progress).await.unwrap();
    let url = servers.postgres.as_ref().unwrap().url();
    let socket = sql(&url, "SHOW unix_socket_directories");
    assert!(socket.is_empty() || socket.contains("a, b"), "{socket}");
    servers.stop().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn postgresql_runs_in_a_folder_whose_name_is_not_utf_8() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let scratch = Scratch::new("bytes");
    let data_dir = scratch.0.join(OsStr::from_bytes(b"data \xE9"));
    let options = PostgresOptions { data_dir, port: 0 };
    let mut postgres = Postgres::start(&options, &ignore_progress).await.unwrap();

    assert_eq!(sql(&postgres.url(), "SELECT 1"), "1");
    postgres.stop().await.unwrap();
}
