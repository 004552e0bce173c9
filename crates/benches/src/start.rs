//! Start: from the exec of the release binary, with an empty table, until it is ready.

use std::time::Instant;

use testkit::{Servers, TestEnvironment};

use crate::{
    Cli, child, database,
    figure::{Figure, Target},
    progress,
};

/// The number of starts in one round.
const STARTS: u32 = 5;

pub(crate) async fn measure(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let binary = child::binary(cli.waybill.as_ref()).await?;
    let env = TestEnvironment::new(servers).await;
    let mut times = Vec::new();
    for _ in 0..cli.rounds * STARTS {
        let begun = Instant::now();
        let waybill = child::waybill(&binary, &env, &[], None).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        waybill.stop().await?;
    }
    database::drop_all(&env, &[]).await?;
    times.sort_by(f64::total_cmp);
    let (fastest, slowest) = (times[0], times[times.len() - 1]);
    progress(&format!("start: {fastest:.0} to {slowest:.0} ms"));
    Ok(Figure::of_value(
        "start",
        format!("from exec to ready with an empty table, the slowest of {}", times.len()),
        "ms",
        Target::AtMost { must: 300.0, aim: 150.0 },
        slowest,
    ))
}
