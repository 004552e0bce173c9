//! The one Chromium of a test process, and the pipe to it.
//!
//! Messages of the DevTools protocol are JSON, ended by a NUL. Chromium ends when the pipe does,
//! so it cannot outlive this process, however that ends; the shell that started it then removes
//! its profile.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::wait::WAIT_TIMEOUT;

/// The result of a call, or the error that Chromium reports.
pub(super) type Answer = Result<Value, String>;

/// The callback for the answer to one call.
type Waiting = Box<dyn FnOnce(Answer) + Send>;

/// The errors of a page: dialogs, exceptions, blocked content.
pub(super) type PageErrors = Arc<Mutex<Vec<String>>>;

/// Chromium reads and writes the pipe at descriptors 3 and 4.
const START: &str = r#"profile=$1; shift; "$@" 3<&0 4>&1 </dev/null >/dev/null; rm -rf "$profile""#;

/// No window, no network requests except those of a page, and no timers that slow down in hidden
/// pages. There is no sandbox, because root and most containers cannot have one, and all pages are
/// our own. Names that end with `.lan` are this machine: a browser treats them as another machine.
const FLAGS: [&str; 19] = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--host-resolver-rules=MAP *.lan 127.0.0.1",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--hide-scrollbars",
    "--password-store=basic",
    "--use-mock-keychain",
];

/// A running Chromium.
pub(super) struct Chromium {
    pipe: Mutex<ChildStdin>,
    calls: AtomicU64,
    /// `None` once it has ended.
    waiting: Mutex<Option<HashMap<u64, Waiting>>>,
    errors: Mutex<HashMap<String, PageErrors>>,
    user_agent: OnceLock<String>,
}

/// Returns the Chromium that all tests of this process share.
pub(super) fn shared() -> &'static Chromium {
    static CHROMIUM: OnceLock<Chromium> = OnceLock::new();
    let mut started = None;
    let chromium = CHROMIUM.get_or_init(|| {
        let (chromium, child) = Chromium::start();
        started = Some(child);
        chromium
    });
    if let Some(child) = started {
        std::thread::spawn(|| chromium.read(child));
    }
    chromium
}

/// Returns the folder for screenshots of failures and Chromium's own log: `target/browser/`.
pub(super) fn folder() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own program");
    // target/debug/deps/it-0123456789abcdef
    let target = test.ancestors().nth(3).expect("a test is in a target folder");
    let folder = target.join("browser");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

impl Chromium {
    fn start() -> (Self, Child) {
        let profile = std::env::temp_dir().join(format!(
            "waybill-browser-{}-{:08x}",
            std::process::id(),
            rand::random::<u32>()
        ));
        let log = fs::File::create(log()).expect("the target folder can be written");
        let mut child = Command::new("/bin/sh")
            .args(["-c", START, "browser"])
            .arg(&profile)
            .arg(program())
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C goes to the tests alone; Chromium and the shell end with the pipe.
            .process_group(0)
            .spawn()
            .expect("a shell starts");
        let pipe = child.stdin.take().expect("it is piped");
        let chromium = Self {
            pipe: Mutex::new(pipe),
            calls: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
            errors: Mutex::default(),
            user_agent: OnceLock::new(),
        };
        (chromium, child)
    }

    /// Calls a method, of a page if `session` names one.
    pub(super) async fn call(&self, session: Option<&str>, method: &str, params: Value) -> Answer {
        let (sender, receiver) = oneshot::channel();
        let answered = Box::new(move |answer| drop(sender.send(answer)));
        self.send(session, method, params, answered);
        let answer = tokio::time::timeout(WAIT_TIMEOUT, receiver).await;
        let answer = answer.unwrap_or_else(|_| panic!("Chromium does not answer {method}"));
        answer.unwrap_or_else(|_| panic!("Chromium has ended; see {}", log().display()))
    }

    /// Calls a method of a page and blocks until the answer arrives.
    pub(super) fn call_blocking(&self, session: &str, method: &str, params: Value) -> Answer {
        let (sender, receiver) = mpsc::channel();
        let answered = Box::new(move |answer| drop(sender.send(answer)));
        self.send(Some(session), method, params, answered);
        receiver.recv_timeout(WAIT_TIMEOUT).unwrap_or_else(|_| Err(format!("{method}: no answer")))
    }

    /// Calls a method and ignores the answer.
    pub(super) fn notify(&self, session: Option<&str>, method: &str, params: Value) {
        self.send(session, method, params, Box::new(drop));
    }

    fn send(&self, session: Option<&str>, method: &str, params: Value, answered: Waiting) {
        let id = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        match lock(&self.waiting).as_mut() {
            Some(waiting) => waiting.insert(id, answered),
            None => return answered(Err("Chromium has ended".to_owned())),
        };
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        // If it fails, the reader thread sees the end of the pipe too, and fails all waiting calls.
        let _ = lock(&self.pipe).write_all(&bytes);
    }

    /// Returns the list of a page's errors.
    pub(super) fn errors_of(&self, session: &str) -> PageErrors {
        lock(&self.errors).entry(session.to_owned()).or_default().clone()
    }

    /// Forgets a page that has ended.
    pub(super) fn forget(&self, session: &str) {
        lock(&self.errors).remove(session);
    }

    /// Returns the user agent; a page that sets its language has to repeat it.
    pub(super) async fn user_agent(&self) -> &str {
        if self.user_agent.get().is_none() {
            let version = self.call(None, "Browser.getVersion", json!({})).await;
            let version = version.expect("Chromium reports its version");
            let name = version["userAgent"].as_str().expect("it has a name").to_owned();
            let _ = self.user_agent.set(name);
        }
        self.user_agent.get().expect("it was set just now")
    }

    /// Passes answers to their calls and errors to their pages, until Chromium ends.
    fn read(&self, mut child: Child) {
        let mut messages = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut bytes = Vec::new();
        while messages.read_until(0, &mut bytes).is_ok_and(|read| read > 0) {
            if bytes.pop() == Some(0) {
                let message = serde_json::from_slice(&bytes).expect("Chromium writes JSON");
                self.handle(message);
            }
            bytes.clear();
        }
        // A dropped callback ends the call that waits for it.
        *lock(&self.waiting) = None;
        let _ = child.wait();
    }

    fn handle(&self, mut message: Value) {
        if let Some(id) = message["id"].as_u64() {
            let waiting = lock(&self.waiting).as_mut().and_then(|waiting| waiting.remove(&id));
            if let Some(answered) = waiting {
                answered(match message["error"].take() {
                    Value::Null => Ok(message["result"].take()),
                    error => Err(error.to_string()),
                });
            }
            return;
        }
        let (Some(session), Some(method)) =
            (message["sessionId"].as_str(), message["method"].as_str())
        else {
            return;
        };
        if method == "Page.javascriptDialogOpening" {
            self.notify(Some(session), "Page.handleJavaScriptDialog", json!({ "accept": false }));
        }
        if let Some(error) = page_error(method, &message["params"])
            && let Some(errors) = lock(&self.errors).get(session)
        {
            lock(errors).push(error);
        }
    }
}

/// Returns the error that an event reports, if any.
fn page_error(method: &str, params: &Value) -> Option<String> {
    match method {
        "Page.javascriptDialogOpening" => Some(format!("a dialog: {}", params["message"])),
        "Runtime.exceptionThrown" => {
            let details = &params["exceptionDetails"];
            let text = details.pointer("/exception/description").unwrap_or(&details["text"]);
            Some(format!("an exception: {text}"))
        }
        "Runtime.consoleAPICalled" if params["type"] == "error" => {
            Some(format!("console.error: {}", params["args"]))
        }
        // A 404 is a network entry; some tests request missing pages on purpose.
        "Log.entryAdded" => {
            let entry = &params["entry"];
            let is_error = entry["level"] == "error" && entry["source"] != "network";
            is_error.then(|| format!("{}: {}", entry["source"], entry["text"]))
        }
        _ => None,
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").expect("PATH is set");
    ["chromium", "chromium-browser", "google-chrome"]
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |folder| folder.join(name)))
        .chain(["Chromium", "Google Chrome"].iter().map(|name| {
            Path::new("/Applications").join(format!("{name}.app/Contents/MacOS/{name}"))
        }))
        .find(|program| program.is_file())
        .expect("Chromium is installed; scripts/setup --tests installs it")
}

fn log() -> PathBuf {
    folder().join("chromium.log")
}

/// Locks a mutex even if a test panicked while it held the lock: the data is still complete.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
