//! Cached GET: the release binary serves one order from memory on one core. The baseline is nginx,
//! which returns a constant of the same size on the same core. wrk runs on the other core.

use std::path::Path;

use anyhow::ensure;
use testkit::{Servers, TestEnvironment};

use crate::{
    Cli, backlog,
    child::{self, Folder, Server},
    database,
    figure::{Figure, Round, Target, thousands},
    progress, wrk,
};

const SERVER_CORE: u32 = 0;
const CLIENT_CORE: u32 = 1;

pub(crate) async fn measure(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
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
    let size = cached_size(&order).await?;
    // The fast path does not handle a percent-encoded id, so this address measures the router.
    let by_router = format!("{}/order/%{:02x}{}", waybill.url, uid.as_bytes()[0], &uid[1..]);

    let folder = Folder::new()?;
    let constant = start_nginx(&nginx, &folder.0, size).await?;
    let ask = async |url: &str, server: &Server| {
        let mut client = child::on_core(Some(CLIENT_CORE), &wrk);
        client.args(["-t1", "-c32", &format!("-d{}s", cli.seconds), url]);
        wrk::run(&mut client, cli.seconds, server).await
    };
    let mut rounds = Vec::new();
    for number in 1..=cli.rounds {
        let nginx = ask(&constant.url, &constant).await?;
        let fast = ask(&order, &waybill).await?;
        let routed = ask(&by_router, &waybill).await?;
        progress(&format!(
            "get, round {number} of {}: Waybill {}/s, through its router {}/s, nginx {}/s; CPU per request \
             {:.1}, {:.1}, {:.1} µs",
            cli.rounds,
            thousands(fast.rate),
            thousands(routed.rate),
            thousands(nginx.rate),
            fast.cpu,
            routed.cpu,
            nginx.cpu
        ));
        rounds.push(Round { baseline: nginx.rate, waybill: fast.rate });
    }
    constant.stop().await?;
    waybill.stop().await?;
    database::drop_all(&env, &[]).await?;
    Ok(Figure::of_ratios(
        "get",
        format!("a cached order of {size} bytes on one core; baseline: nginx `return 200`"),
        "requests/s",
        Target::AtLeast { must: 0.9, aim: 1.0 },
        &rounds,
    ))
}

/// Loads an order into the cache, and returns the size of its response.
async fn cached_size(order: &str) -> anyhow::Result<usize> {
    reqwest::get(order).await?.error_for_status()?;
    let answer = reqwest::get(order).await?.error_for_status()?;
    let source = answer.headers().get("x-cache").map(|value| value.as_bytes().to_vec());
    ensure!(source.as_deref() == Some(b"memory"), "the order did not come from memory");
    Ok(answer.bytes().await?.len())
}

async fn start_nginx(nginx: &Path, folder: &Path, size: usize) -> anyhow::Result<Server> {
    let address = format!("127.0.0.1:{}", testkit::free_port()?);
    let place = folder.display();
    let scratch: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("  {name}_temp_path {place}/{name};\n"))
        .collect();
    // One process without a master process, so that one signal stops nginx.
    let settings = format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {place}/pid;\n\
         error_log {place}/error.log;\nevents {{ worker_connections 256; }}\nhttp {{\n{scratch}  \
         access_log off;\n  keepalive_requests 1000000000;\n  default_type application/json;\n  \
         server {{ listen {address}; location / {{ return 200 '{}'; }} }}\n}}\n",
        "x".repeat(size)
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, settings)?;
    let mut command = child::on_core(Some(SERVER_CORE), nginx);
    command.arg("-e").arg(folder.join("error.log")).arg("-c").arg(&file);
    Server::start(command, format!("http://{address}"), "/").await
}
