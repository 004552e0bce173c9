//! Cached GET: one order from the memory of the release binary on one core, against nginx that
//! returns a constant of the same size on the same core. wrk asks from the other core.

use std::path::Path;

use anyhow::{Context, ensure};
use testkit::{Servers, TestEnvironment};
use tokio::process::Command;

use crate::{
    Cli, backlog,
    child::{self, Server},
    figure::{Figure, Round, Target, thousands},
    ingest, process, say,
};

const SERVER_CORE: u32 = 0;
const CLIENT_CORE: u32 = 1;

pub async fn measure(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    child::find("taskset")?;
    let (wrk, nginx) = (child::find("wrk")?, child::find("nginx")?);
    ensure!(
        std::thread::available_parallelism()?.get() >= 2,
        "the bench `get` needs two cores: one for the server, one for wrk"
    );
    let binary = child::binary(cli.waybill.as_ref()).await?;
    let env = TestEnvironment::new(servers).await;
    backlog::fill(&env, 0..1, None).await?;
    let waybill = child::waybill(&binary, &env, &[], Some(SERVER_CORE)).await?;
    env.wait_until_drained().await;
    let uid: String =
        sqlx::query_scalar("SELECT order_uid FROM orders.orders").fetch_one(&env.pool).await?;
    let order = format!("{}/order/{uid}", waybill.url);
    reqwest::get(&order).await?.error_for_status()?;
    let answer = reqwest::get(&order).await?.error_for_status()?;
    let source = answer.headers().get("x-cache").map(|value| value.as_bytes().to_vec());
    ensure!(source.as_deref() == Some(b"memory"), "the order does not come from memory");
    let size = answer.bytes().await?.len();
    // An id with an escape in it is left to the router.
    let by_router = format!("{}/order/%{:02x}{}", waybill.url, uid.as_bytes()[0], &uid[1..]);

    let folder = Folder::new()?;
    let constant = start_nginx(&nginx, &folder.0, size).await?;
    let mut rounds = Vec::new();
    for number in 1..=cli.rounds {
        let ask = async |url: &str, server: &Server| {
            let mut client = child::on_core(Some(CLIENT_CORE), &wrk);
            client.args(["-t1", "-c32", &format!("-d{}s", cli.seconds), url]);
            ask(&mut client, cli.seconds, server.id()?).await
        };
        let (baseline, of_nginx) = ask(&constant.url, &constant).await?;
        let (rate, of_waybill) = ask(&order, &waybill).await?;
        let (routed, of_router) = ask(&by_router, &waybill).await?;
        let round = Round { baseline, waybill: rate };
        say(&format!(
            "get, round {number} of {}: Waybill {}/s, by its router {}/s, nginx {}/s; CPU a request \
             {of_waybill:.1}, {of_router:.1}, {of_nginx:.1} µs",
            cli.rounds,
            thousands(round.waybill),
            thousands(routed),
            thousands(round.baseline)
        ));
        rounds.push(round);
    }
    constant.stop().await?;
    waybill.stop().await?;
    ingest::remove(&env).await?;
    Ok(Figure::of_ratios(
        "get",
        format!("a cached order of {size} bytes on one core; baseline: nginx `return 200`"),
        "requests/s",
        Target::AtLeast { must: 0.8, aim: 0.95 },
        &rounds,
    ))
}

/// Requests a second that wrk counts, and the microseconds that the server computed for each: on a
/// machine that others use too, these tell more.
pub async fn ask(wrk: &mut Command, seconds: u32, server: u32) -> anyhow::Result<(f64, f64)> {
    let before = process::computed(server)?;
    let output = wrk.output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk: {}", String::from_utf8_lossy(&output.stderr));
    // A refusal is quicker than an answer.
    for trouble in ["Non-2xx", "Socket errors"] {
        ensure!(!text.contains(trouble), "wrk:\n{text}");
    }
    let microseconds = (process::computed(server)? - before).as_secs_f64() * 1e6;
    let rate: f64 = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"))
        .and_then(|rate| rate.trim().parse().ok())
        .with_context(|| format!("wrk says no rate:\n{text}"))?;
    Ok((rate, microseconds / (rate * f64::from(seconds))))
}

async fn start_nginx(nginx: &Path, folder: &Path, size: usize) -> anyhow::Result<Server> {
    let address = format!("127.0.0.1:{}", child::free_port()?);
    let place = folder.display();
    let scratch: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("  {name}_temp_path {place}/{name};\n"))
        .collect();
    // One process and no master: who ends it, ends all of it.
    let settings = format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {place}/pid;\n\
         error_log {place}/error.log;\nevents {{ worker_connections 256; }}\nhttp {{\n{scratch}  \
         access_log off;\n  keepalive_requests 1000000000;\n  default_type application/json;\n  \
         server {{ listen {address}; location / {{ return 200 '{}'; }} }}\n}}\n",
        "x".repeat(size)
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, settings)?;
    let mut command: Command = child::on_core(Some(SERVER_CORE), nginx);
    command.arg("-e").arg(folder.join("error.log")).arg("-c").arg(&file);
    Server::start(command, format!("http://{address}"), "/").await
}

/// A folder that goes when the bench does.
pub struct Folder(pub std::path::PathBuf);

impl Folder {
    pub fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("waybill-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
