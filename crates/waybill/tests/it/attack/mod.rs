//! Clients that attack the services over HTTP: sockets that keep connections busy, malformed and
//! ambiguous requests, and floods. The services answer no 5xx other than a 503 beyond a bound,
//! answer or close in time, and keep serving everyone else.

mod floods;
mod messages;
mod paths;
mod sockets;

use std::{io::Write as _, net::SocketAddr, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Mutex,
    time::timeout,
};

/// The longest time until a service has answered or closed any connection that sends no complete
/// request: 6 seconds, with some for a busy machine.
const END_TIMEOUT: Duration = Duration::from_secs(12);

/// Held by tests with thousands of sockets: together they would exceed the limit of open files.
static MANY_SOCKETS: Mutex<()> = Mutex::const_new(());

/// Raises the limit of open files for this number of sockets and everything else in this process.
/// Prints a sentence and returns false if the system does not allow that.
fn can_open(sockets: u64) -> bool {
    let needed = sockets + 2_000;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return true;
    }
    if setrlimit(Resource::Nofile, Rlimit { current: Some(needed), ..limit }).is_ok() {
        return true;
    }
    // Not by `eprintln`, which the output of a test that passes does not contain.
    let _ = writeln!(
        std::io::stderr(),
        "not tested: the system allows only {:?} open files, and this test needs {needed}; raise \
         the hard limit (ulimit -Hn)",
        limit.maximum
    );
    false
}

/// The answers to the bytes of one connection, and how the connection ended.
#[derive(Debug)]
struct Exchange {
    statuses: Vec<u16>,
    text: String,
    /// True if the service closed the connection in time.
    is_closed: bool,
}

/// Sends bytes, says that no more follow if `is_half_closed`, and reads to the end of the
/// connection.
async fn exchange(address: SocketAddr, bytes: &[u8], is_half_closed: bool) -> Exchange {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let sending = async {
        // The service may answer and close before everything is sent.
        let _ = writer.write_all(bytes).await;
        if is_half_closed {
            let _ = writer.shutdown().await;
        }
        // Kept open until the service closes the connection.
        std::future::pending::<()>().await;
    };
    let mut answers = Vec::new();
    let reading = async {
        // A reset counts as the end.
        let _ = reader.read_to_end(&mut answers).await;
    };
    let is_closed = tokio::select! {
        outcome = timeout(END_TIMEOUT, reading) => outcome.is_ok(),
        () = sending => unreachable!("it never ends"),
    };
    let text = String::from_utf8_lossy(&answers).into_owned();
    // The head of a further answer follows the body of the one before without a line break.
    let statuses = text.split("HTTP/1.").skip(1);
    let statuses = statuses.filter_map(|answer| answer.get(2..5)?.parse().ok()).collect();
    Exchange { statuses, text, is_closed }
}
