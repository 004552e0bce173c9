//! Logs on standard error: as lines on a terminal, otherwise as JSON.
//!
//! ```text
//! tracing ─▶ queue of lines ─▶ one thread ─▶ standard error
//! ```
//!
//! Logging never fails, blocks or panics. A line is dropped if it cannot be written, or if the
//! queue is full, for example because no program reads standard error any more. So a full disk or a
//! broken pipe does not stop the service, and delays its end by a second at most.

use std::{
    io::{self, IsTerminal, Write},
    sync::{OnceLock, mpsc},
    time::Duration,
};

use tracing_subscriber::EnvFilter;

/// The most log lines that wait to be written.
const MAX_QUEUED_LINES: usize = 4_096;
/// The longest time that [`flush`] waits.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

enum Message {
    Line(Vec<u8>),
    /// The thread drops the sender, after all lines before this message are written.
    Flush(mpsc::Sender<()>),
}

static QUEUE: OnceLock<mpsc::SyncSender<Message>> = OnceLock::new();

/// Starts logging, also of panics. `RUST_LOG` is the filter, `info` by default.
pub fn start() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,rdkafka=error,librdkafka=error,sqlx=warn"));
    let queue = QUEUE.get_or_init(|| {
        let (sender, receiver) = mpsc::sync_channel(MAX_QUEUED_LINES);
        // The thread ends with the process: the sender is never dropped.
        std::thread::spawn(move || write_lines(&receiver));
        sender
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(|| LineWriter(queue));
    // A second start in one process keeps the first.
    let started = if io::stderr().is_terminal() {
        builder.with_target(false).compact().try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    if started.is_ok() {
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    }
}

/// Waits, for at most a second, until the lines logged so far are written. Called before the
/// process exits.
pub fn flush() {
    let Some(queue) = QUEUE.get() else { return };
    let (done, written) = mpsc::channel();
    // If the queue is full, standard error is not being read, and waiting would not help.
    if queue.try_send(Message::Flush(done)).is_ok() {
        let _ = written.recv_timeout(FLUSH_TIMEOUT);
    }
}

fn write_lines(queue: &mpsc::Receiver<Message>) {
    for message in queue {
        match message {
            Message::Line(line) => {
                let _ = io::stderr().write_all(&line);
            }
            Message::Flush(done) => drop(done),
        }
    }
}

/// Puts each line into the queue, or drops it.
struct LineWriter(&'static mpsc::SyncSender<Message>);

impl Write for LineWriter {
    /// Takes a whole line: the subscriber writes each event with one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = self.0.try_send(Message::Line(line.to_vec()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
