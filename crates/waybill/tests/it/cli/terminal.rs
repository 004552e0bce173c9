//! `waybill load` in a pipe and at a terminal: its output, its messages and its progress bar.

use std::{
    io::Read as _,
    process::{Output, Stdio},
};

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use serde_json::Value;
use testkit::{TestEnvironment, shared};
use tokio::process::Command;

use crate::support::{Scratch, waybill_in};

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_is_sent_and_progress_is_shown_only_on_a_terminal() {
    let env = TestEnvironment::new(shared()).await;
    let folder = Scratch::new();
    let brokers = ["--kafka-brokers", &env.servers.kafka, "--kafka-orders-topic"];
    let (topic, other) = (env.orders_topic(), env.status_topic());
    let piped = [&["load", "--file", "-", "--json"], &brokers[..], &[&*topic]].concat();
    let output = waybill_in(&folder, &piped, &[], b"{\"order_uid\":\"a\"}\n\nlast").await;
    let messages = String::from_utf8_lossy(&output.stderr);

    assert_eq!((output.status.code(), &*messages), (Some(0), ""), "no terminal, no progress");

    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["acknowledged"], &summary["seed"]), (&2.into(), &Value::Null));

    let mut sent: Vec<_> =
        env.read_all(&topic).await.into_iter().map(|record| (record.key, record.value)).collect();
    sent.sort();
    let bytes = |text: &str| Some(text.as_bytes().to_vec());

    assert_eq!(sent, [(None, bytes("last")), (bytes("a"), bytes("{\"order_uid\":\"a\"}"))]);

    // A terminal at standard error shows a progress bar; standard output has the summary alone.
    let flags = [&["load", "--count", "150"], &brokers[..], &[&*other]].concat();
    let (output, shown) = run_on_a_terminal(&flags).await;
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("of 150 sent") && shown.contains('█'), "{shown}");

    let summary = String::from_utf8(output.stdout).unwrap();
    assert!(summary.starts_with("sent          150  ("), "{summary}");
    assert!(!summary.contains('█'), "{summary}");

    let (output, shown) =
        run_on_a_terminal(&[&flags[..], &["--quiet", "--rate", "0"]].concat()).await;
    assert_eq!((output.status.code(), &*shown), (Some(0), ""));
}

/// Runs the program with a terminal at standard error, and returns the output and the text shown.
async fn run_on_a_terminal(flags: &[&str]) -> (Output, String) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let screen = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.args(flags).env("TERM", "xterm").kill_on_drop(true);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(screen).spawn();
    // Now only the program has the terminal open, so reading ends when the program ends.
    drop(command);
    let reading = tokio::task::spawn_blocking(move || {
        let (mut terminal, mut shown) = (std::fs::File::from(terminal), Vec::new());
        // On Linux, the end of a terminal is an error.
        let _ = terminal.read_to_end(&mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    });
    let output = child.unwrap().wait_with_output().await.unwrap();
    (output, reading.await.unwrap())
}

/// Returns the output of a command whose standard output is a device that is full.
async fn with_full_output(flags: &[&str]) -> Output {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.args(flags).env_clear().current_dir(std::env::temp_dir()).stdin(Stdio::null());
    command.stdout(full).stderr(Stdio::piped());
    command.spawn().unwrap().wait_with_output().await.unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_cannot_write_its_output_exits_with_1() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    env.send(None, None, Some(b"no order")).await;
    env.wait_until_drained().await;
    let topic = env.orders_topic();
    for flags in [
        vec!["rejected", "list", "--orders-url", &service.url],
        vec![
            "load",
            "--count",
            "1",
            "--kafka-brokers",
            &env.servers.kafka,
            "--kafka-topic",
            &topic,
        ],
    ] {
        let output = with_full_output(&flags).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {error}");
        assert!(error.contains("writing to standard output: No space left"), "{error}");
    }
    assert_eq!(with_full_output(&["--help"]).await.status.code(), Some(1));
    assert_eq!(with_full_output(&["orders", "--help"]).await.status.code(), Some(1));
}
