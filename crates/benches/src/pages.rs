//! Pages in the real browser: the first paint of the board with 2,000 couriers and of the flow page,
//! each without that of a page of one line from the same service, and the time of scripts in an
//! update of the board.

use std::time::Duration;

use anyhow::Context;
use sqlx::PgConnection;
use testkit::{
    Servers, TestEnvironment,
    browser::{Page, Reader},
};

use crate::{
    Cli, database,
    figure::{Figure, Target, median},
    progress,
};

/// The board has this number of couriers, nine of ten with an order; the others are paused.
const COURIERS: i64 = 2_000;
const CARRIED: i64 = 1_800;
const WAITING: i64 = 500;

const LOADS: u32 = 20;
const UPDATES: u32 = 20;

pub(crate) async fn measure(_: &Cli, servers: &Servers) -> anyhow::Result<[Figure; 3]> {
    let env = TestEnvironment::new(servers).await;
    let database = env.courier_database().await;
    let mut administrator = database.administrator().await;
    settle(&mut administrator).await?;
    let service = env.start_couriers(&database, &[]).await;
    let page = Page::open(Reader::default(), &service.at("/ping")).await;

    let mut paints = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..LOADS {
        for (path, times) in ["/ping", "/", "/flow"].iter().zip(&mut paints) {
            times.push(first_paint(&page, &service.at(path)).await);
        }
    }
    let [blank, board, flow] = paints.map(|mut times| median(&mut times));
    progress(&format!(
        "pages: first paint of a line {blank:.0} ms, of the board {board:.0} ms, of the flow page \
         {flow:.0} ms"
    ));

    page.go(&service.at("/")).await;
    page.wait_for("the live feed", "document.querySelector('#feed:not([hidden])')").await;
    let before = page.script_seconds().await;
    for number in 0..UPDATES {
        // The courier of the order is freed and takes the order that has waited longest.
        let (order_id, event) = completed(i64::from(number));
        env.send_status(Some(&order_id), event.as_bytes()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let update = (page.script_seconds().await - before) * 1e3 / f64::from(UPDATES);
    drop(page);
    service.stop().await?;
    database.pool.close().await;
    let name = sqlx::query_scalar("SELECT current_database()::text")
        .fetch_one(&mut administrator)
        .await
        .context("reading the name of the database")?;
    drop(administrator);
    database::drop_all(&env, &[name]).await?;

    let figure = |name, what: String, must, aim, value| {
        Figure::of_value(name, what, "ms", Target::AtMost { must, aim }, value)
    };
    let paint =
        |page| format!("first paint of {page}, without that of one line, median of {LOADS}");
    Ok([
        figure(
            "board-paint",
            paint(format!("the board with {COURIERS} couriers and {WAITING} waiting orders")),
            200.0,
            100.0,
            board - blank,
        ),
        figure(
            "board-update",
            format!("scripts in each of {UPDATES} seconds with one delivery that ends"),
            50.0,
            20.0,
            update,
        ),
        figure("flow-paint", paint("the flow page".to_owned()), 150.0, 75.0, flow - blank),
    ])
}

/// Loads a page, and returns the milliseconds until its first paint.
async fn first_paint(page: &Page, url: &str) -> f64 {
    page.go(url).await;
    let entries = "performance.getEntriesByName('first-contentful-paint')";
    page.wait_for("the first paint", &format!("{entries}.length > 0")).await;
    page.value(&format!("{entries}[0].startTime")).await
}

async fn settle(administrator: &mut PgConnection) -> anyhow::Result<()> {
    for statement in [
        format!(
            "INSERT INTO couriers.couriers (name, phone, transport_type, status, deliveries) \
             SELECT 'Courier ' || n, '+7' || lpad(n::text, 10, '0'), \
                 (ARRAY['on_foot', 'scooter', 'car'])[1 + n % 3], \
                 CASE WHEN n <= {CARRIED} THEN 'busy' ELSE 'paused' END, (n <= {CARRIED})::integer \
             FROM generate_series(1, {COURIERS}) AS n"
        ),
        format!(
            "INSERT INTO couriers.order_states \
                 (order_id, rank, created_at, changed_at, waiting_since) \
             SELECT 'order-' || n, 0, at, at, CASE WHEN n > {CARRIED} THEN at END \
             FROM generate_series(1, {CARRIED} + {WAITING}) AS n, \
                 LATERAL (SELECT now() - n * interval '1 s' AS at) AS clock"
        ),
        format!(
            "INSERT INTO couriers.courier_orders \
                 (order_id, courier_id, transport_type, assigned_at, deadline, by_hand) \
             SELECT 'order-' || id, id, transport_type, now(), now() + id * interval '1 s', false \
             FROM couriers.couriers WHERE id <= {CARRIED}"
        ),
        "VACUUM ANALYZE".to_owned(),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut *administrator).await?;
    }
    Ok(())
}

/// Returns an order and the event that completes it; the latest deadline comes first.
fn completed(number: i64) -> (String, String) {
    let order_id = format!("order-{}", CARRIED - number);
    let event = format!(
        r#"{{"order_id":"{order_id}","status":"completed","created_at":"2026-01-01T10:00:00.000Z"}}"#
    );
    (order_id, event)
}
