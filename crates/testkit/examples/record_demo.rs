//! Films the pages in use, for the README: `scripts/record-demo` builds what this needs and
//! starts it.
//!
//! ```text
//! waybill up ─▶ real Chromium ─▶ pictures, each with its duration ─▶ img2webp ─▶ docs/demo.webp
//! ```
//!
//! Typing and pointing have a pace that a viewer can follow, independent of the time that a picture
//! takes; only updates of the pages are shown in real time.
#![allow(missing_docs, reason = "an example")]
#![allow(clippy::print_stderr, reason = "an example prints its result")]

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use serde_json::{Value, json};
use testkit::{
    browser::{Page, Reader},
    eventually,
};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep_until},
};

const WINDOW: (u32, u32) = (1200, 820);
/// The time between two pictures while the pages update.
const PICTURE_INTERVAL: Duration = Duration::from_millis(400);
/// Draws a circle at the mouse position, because a headless browser draws no pointer.
const POINTER: &str = "() => {
    const pointer = document.createElement('div');
    pointer.id = 'pointer';
    Object.assign(pointer.style, {
        position: 'fixed', width: '22px', height: '22px', margin: '-11px', borderRadius: '50%',
        background: 'rgb(11 95 174 / 35%)', border: '2px solid rgb(11 95 174)',
        pointerEvents: 'none', zIndex: 9, left: '-50px', top: '-50px',
    });
    document.documentElement.append(pointer);
}";

/// Films the order page and the courier board in use.
#[derive(Parser)]
struct Arguments {
    /// The program that is filmed.
    #[arg(long, value_name = "PATH", default_value = "target/debug/waybill")]
    waybill: PathBuf,
    /// The output file of the film, an animated WebP.
    #[arg(long, value_name = "PATH", default_value = "docs/demo.webp")]
    film: PathBuf,
    /// The output file of a still picture of the order page, a PNG.
    #[arg(long, value_name = "PATH", default_value = "docs/page.png")]
    still: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let folder = std::env::temp_dir().join(format!("waybill-demo-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let recorded = record(&arguments, &folder).await;
    let removed = fs::remove_dir_all(&folder).context("removing the pictures");
    recorded.and(removed)
}

async fn record(arguments: &Arguments, folder: &Path) -> anyhow::Result<()> {
    let (orders, couriers) = (free_address()?, free_address()?);
    let mut system = start(&arguments.waybill, &folder.join("data"), orders, couriers)?;
    let (orders, couriers) = (format!("http://{orders}"), format!("http://{couriers}"));
    // Waits until orders have been delivered, so that no part of the board is empty. Each step may
    // take a minute.
    for (what, number) in [("active", 1), ("completed", 1), ("completed", 8)] {
        eventually("deliveries", async || {
            let figures = ask(&format!("{couriers}/statistics")).await.ok()?;
            (figures[what].as_i64()? >= number).then_some(())
        })
        .await;
    }
    for id in [1, 2] {
        let pause = json!({ "id": id, "status": "paused" });
        let call = reqwest::Client::new().put(format!("{couriers}/courier")).json(&pause);
        call.send().await?.error_for_status()?;
    }
    let film = film(&orders, &couriers, folder, &arguments.still).await;
    stop(&mut system).await?;
    film?.write(&arguments.film).await
}

/// Starts both services and a simulation with slightly fewer couriers than it needs.
fn start(
    waybill: &Path,
    data: &Path,
    orders: SocketAddr,
    couriers: SocketAddr,
) -> anyhow::Result<Child> {
    Command::new(waybill)
        .args(["up", "--postgres-port", "0", "--kafka-port", "0", "--rate", "1"])
        .args(["--couriers", "20"])
        .args(["--orders-http-addr", &orders.to_string()])
        .args(["--couriers-http-addr", &couriers.to_string()])
        .arg("--data-dir")
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {}", waybill.display()))
}

async fn stop(system: &mut Child) -> anyhow::Result<()> {
    let id = system.id().context("waybill ended by itself")?.to_string();
    Command::new("kill").args(["-INT", &id]).status().await?;
    let ended = system.wait().await?;
    ensure!(ended.success(), "waybill up ended with {ended}");
    Ok(())
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

async fn ask(url: &str) -> reqwest::Result<Value> {
    reqwest::get(url).await?.json().await
}

/// Films the newest orders, a search, a cancellation, and a dispatcher who unassigns an order and
/// resumes a paused courier.
async fn film(orders: &str, couriers: &str, folder: &Path, still: &Path) -> anyhow::Result<Film> {
    let page = Page::open(Reader { window: WINDOW, ..Reader::default() }, orders).await;
    let mut film = Film { page, folder: folder.to_owned(), frames: Vec::new(), at: (560.0, 420.0) };
    film.show_pointer().await;
    film.watch(4).await?;

    let uid = newly_assigned(orders, couriers).await;
    film.click(".find input").await?;
    film.type_text(&uid).await?;
    film.page.press_key("Enter").await;
    let courier = "document.querySelector('#courier p')?.textContent.length > 1";
    film.page.wait_for("the courier", courier).await;
    film.watch(6).await?;
    fs::write(still, film.picture_without_pointer().await)?;
    film.click(".btn.danger").await?;
    let cancelled = "document.querySelector('#status').textContent === 'cancelled'";
    film.page.wait_for("the order to be cancelled", cancelled).await;
    film.watch(6).await?;

    film.click(&format!("nav a[href^='{couriers}']")).await?;
    film.page.wait_for("the board to be live", "!document.querySelector('#feed').hidden").await;
    film.show_pointer().await;
    film.watch(5).await?;
    film.click("#road [data-act=unassign]").await?;
    film.page
        .wait_for("a held order", "document.querySelector('#held').innerText.includes('held')")
        .await;
    film.watch(4).await?;
    film.click("#paused [data-status=available]").await?;
    film.watch(5).await?;
    Ok(film)
}

/// Returns one of the newest orders that has just been given to a courier.
async fn newly_assigned(orders: &str, couriers: &str) -> String {
    eventually("a new order to have a courier", async || {
        let newest = ask(&format!("{orders}/orders?limit=6")).await.ok()?;
        for order in newest["items"].as_array()? {
            let uid = order["order_uid"].as_str()?;
            let delivery = ask(&format!("{couriers}/delivery/{uid}")).await.ok()?;
            if delivery["state"] == "assigned" && delivery["order_status"] == "created" {
                return Some(uid.to_owned());
            }
        }
        None
    })
    .await
}

/// Pictures in order, each with its duration in milliseconds.
struct Film {
    page: Page,
    folder: PathBuf,
    frames: Vec<(PathBuf, Vec<u8>, u128)>,
    at: (f64, f64),
}

impl Film {
    /// Takes a picture; one that equals the picture before it extends that picture's duration.
    async fn take(&mut self, duration: Duration) -> anyhow::Result<()> {
        let picture = self.page.screenshot().await;
        let duration = duration.as_millis();
        match self.frames.last_mut() {
            Some((_, last, total)) if *last == picture => *total += duration,
            _ => {
                let path = self.folder.join(format!("{:04}.png", self.frames.len()));
                fs::write(&path, &picture)?;
                self.frames.push((path, picture, duration));
            }
        }
        Ok(())
    }

    /// Films the page for a number of pictures while it updates.
    async fn watch(&mut self, pictures: u32) -> anyhow::Result<()> {
        let begin = Instant::now();
        for number in 1..=pictures {
            self.take(PICTURE_INTERVAL).await?;
            sleep_until(begin + PICTURE_INTERVAL * number).await;
        }
        Ok(())
    }

    async fn show_pointer(&mut self) {
        let _: Option<Value> = self.page.run(POINTER, json!([])).await;
        self.place_pointer().await;
    }

    async fn place_pointer(&self) {
        const PLACE: &str = "(x, y) => {
            Object.assign(document.querySelector('#pointer').style, { left: `${x}px`, top: `${y}px` });
        }";
        let _: Option<Value> = self.page.run(PLACE, json!([self.at.0, self.at.1])).await;
    }

    async fn picture_without_pointer(&mut self) -> Vec<u8> {
        let here = std::mem::replace(&mut self.at, (-50.0, -50.0));
        self.place_pointer().await;
        let picture = self.page.screenshot().await;
        self.at = here;
        self.place_pointer().await;
        picture
    }

    /// Moves the pointer to an element, and clicks.
    async fn click(&mut self, selector: &str) -> anyhow::Result<()> {
        const MIDDLE: &str = "(selector) => {
            const element = document.querySelector(selector);
            element.scrollIntoView({ block: 'nearest', behavior: 'instant' });
            const box = element.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }";
        let (x, y): (f64, f64) = self.page.run(MIDDLE, json!([selector])).await;
        let (from_x, from_y) = self.at;
        for step in 1..=5 {
            let done = f64::from(step) / 5.0;
            // Slower at both ends.
            let done = done * done * (3.0 - 2.0 * done);
            self.at = (from_x + (x - from_x) * done, from_y + (y - from_y) * done);
            self.place_pointer().await;
            self.take(Duration::from_millis(60)).await?;
        }
        self.take(Duration::from_millis(300)).await?;
        self.page.click(selector).await;
        Ok(())
    }

    /// Types, two keys a picture.
    async fn type_text(&mut self, text: &str) -> anyhow::Result<()> {
        let letters: Vec<char> = text.chars().collect();
        for pair in letters.chunks(2) {
            self.page.type_text(&pair.iter().collect::<String>()).await;
            self.take(Duration::from_millis(70)).await?;
        }
        self.take(Duration::from_millis(400)).await
    }

    /// Combines the pictures into one film.
    async fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut command = Command::new("img2webp");
        command.args(["-loop", "0", "-lossy", "-q", "70", "-m", "4"]);
        for (picture, _, duration) in &self.frames {
            command.args(["-d", &duration.to_string()]).arg(picture);
        }
        let output = command.arg("-o").arg(path).output().await.context("starting img2webp")?;
        if !output.status.success() {
            bail!("img2webp failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let total: u128 = self.frames.iter().map(|(_, _, duration)| duration).sum();
        let bytes = fs::metadata(path)?.len();
        eprintln!("{}: {} s, {} KB", path.display(), total / 1_000, bytes / 1_000);
        Ok(())
    }
}
