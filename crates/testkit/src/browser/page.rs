//! One page of the browser, used as a person would use it.

use std::{fmt::Write as _, fs};

use base64::Engine as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::chromium::{Answer, Chromium, PageErrors, folder, lock, shared};
use crate::{eventually, wait_until};

/// The preferences of the person at the browser.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    /// The language that the browser asks for.
    pub lang: &'static str,
    /// `prefers-color-scheme`.
    pub dark: bool,
    /// True if scripts run at all.
    pub javascript: bool,
    /// `prefers-reduced-motion`.
    pub reduced_motion: bool,
    /// Width and height of the window.
    pub window: (u32, u32),
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            lang: "en",
            dark: false,
            javascript: true,
            reduced_motion: false,
            window: (1280, 900),
        }
    }
}

/// A page with a profile of its own.
pub struct Page {
    chromium: &'static Chromium,
    context: String,
    session: String,
    pub(super) reader: Reader,
    errors: PageErrors,
}

impl Page {
    /// Opens `url` for `reader` and waits until it is loaded.
    pub async fn open(reader: Reader, url: &str) -> Self {
        let page = Self::blank(reader).await;
        page.go(url).await;
        page
    }

    async fn blank(reader: Reader) -> Self {
        let chromium = shared();
        let ask = async |method: &str, params, field: &str| {
            let answer = chromium.call(None, method, params).await.expect("Chromium has room");
            answer[field].as_str().expect("Chromium names what it makes").to_owned()
        };
        let context = ask("Target.createBrowserContext", json!({}), "browserContextId").await;
        let target = json!({ "url": "about:blank", "browserContextId": context });
        let target = ask("Target.createTarget", target, "targetId").await;
        let attach = json!({ "targetId": target, "flatten": true });
        let session = ask("Target.attachToTarget", attach, "sessionId").await;
        let errors = chromium.errors_of(&session);
        let page = Self { chromium, context, session, reader, errors };
        page.emulate(reader).await;
        page
    }

    async fn emulate(&self, reader: Reader) {
        for domain in ["Page", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), json!({})).await;
        }
        let name = self.chromium.user_agent().await;
        let preference = |name, value| json!({ "name": name, "value": value });
        let features = [
            preference("prefers-color-scheme", if reader.dark { "dark" } else { "light" }),
            preference(
                "prefers-reduced-motion",
                if reader.reduced_motion { "reduce" } else { "no-preference" },
            ),
        ];
        self.zoom(1).await;
        for (method, params) in [
            ("setUserAgentOverride", json!({ "userAgent": name, "acceptLanguage": reader.lang })),
            ("setEmulatedMedia", json!({ "features": features })),
            ("setScriptExecutionDisabled", json!({ "value": !reader.javascript })),
            // The page behaves as if its window had the focus.
            ("setFocusEmulationEnabled", json!({ "enabled": true })),
        ] {
            self.call(&format!("Emulation.{method}"), params).await;
        }
    }

    /// Sets the zoom factor; the window keeps its size.
    pub async fn zoom(&self, factor: u32) {
        let (width, height) = self.reader.window;
        let metrics = json!({
            "width": width / factor,
            "height": height / factor,
            "deviceScaleFactor": factor,
            "mobile": false,
        });
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Goes to `url` and waits until it is loaded.
    pub async fn go(&self, url: &str) {
        let answer = self.call("Page.navigate", json!({ "url": url })).await;
        assert!(answer["errorText"].is_null(), "{url}: {}", answer["errorText"]);
        self.wait_for("the page to be loaded", "document.readyState === 'complete'").await;
    }

    /// Calls a JavaScript function in each next page, before the scripts of that page.
    pub async fn run_before_scripts(&self, function: &str) {
        let source = json!({ "source": format!("({function})()") });
        self.call("Page.addScriptToEvaluateOnNewDocument", source).await;
    }

    /// Goes back to the page before, as the browser's button does.
    pub async fn back(&self) {
        self.run::<()>("() => history.back()", json!([])).await;
    }

    /// Calls a JavaScript function with `arguments`, a list, and returns its result.
    pub async fn run<T: DeserializeOwned>(&self, function: &str, arguments: Value) -> T {
        let value = self.try_run(function, &arguments).await;
        let value = value.unwrap_or_else(|error| panic!("{function}: {error}"));
        serde_json::from_value(value).unwrap_or_else(|error| panic!("{function}: {error}"))
    }

    /// Evaluates a JavaScript expression.
    pub async fn value<T: DeserializeOwned>(&self, expression: &str) -> T {
        self.run(&format!("() => ({expression})"), json!([])).await
    }

    async fn try_run(&self, function: &str, arguments: &Value) -> Answer {
        let params = json!({
            "expression": format!("({function})(...{arguments})"),
            "awaitPromise": true,
            "returnByValue": true,
        });
        let mut answer = self.try_call("Runtime.evaluate", params).await?;
        match answer.pointer("/exceptionDetails/exception/description") {
            Some(exception) => Err(exception.to_string()),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// Waits until a JavaScript expression is true; `what` names it in the panic after a minute.
    pub async fn wait_for(&self, what: &str, expression: &str) {
        let function = format!("() => Boolean({expression})");
        // The call fails while one document replaces another.
        wait_until(what, async || self.try_run(&function, &json!([])).await == Ok(json!(true)))
            .await;
    }

    /// Waits until `text` is visible; upper and lower case are equal, because styles change them.
    pub async fn wait_for_text(&self, text: &str) {
        const SHOWN: &str = "text => {
            const plain = (text) => text.replace(/\\s+/g, ' ').toLowerCase();
            return plain(document.body?.innerText ?? '').includes(plain(text));
        }";
        wait_until(&format!("the page to show {text:?}"), async || {
            self.try_run(SHOWN, &json!([text])).await == Ok(json!(true))
        })
        .await;
    }

    /// Waits for the first element that `selector` finds, and returns its visible text.
    pub async fn text(&self, selector: &str) -> String {
        const TEXT: &str = "selector => document.querySelector(selector)?.innerText";
        eventually(&format!("{selector} to be there"), async || {
            let text = self.try_run(TEXT, &json!([selector])).await.ok()?;
            text.as_str().map(str::to_owned)
        })
        .await
    }

    /// Returns the path and query of the page's address.
    pub async fn path(&self) -> String {
        self.value("location.pathname + location.search").await
    }

    /// Clicks on the first element that `selector` finds, once it can be clicked.
    pub async fn click(&self, selector: &str) {
        const FIND: &str = "selector => document.querySelector(selector)";
        self.click_found(FIND, selector).await;
    }

    /// Clicks on the link, button or summary whose text or name is `name`, once it can be clicked.
    pub async fn click_on(&self, name: &str) {
        const FIND: &str = "name => [...document.querySelectorAll('a, button, summary')]
            .find((one) => one.checkVisibility()
                && (one.textContent.trim() === name || one.ariaLabel === name))";
        self.click_found(FIND, name).await;
    }

    async fn click_found(&self, find: &str, what: &str) {
        // In the middle of its first line, if nothing lies over it there.
        let place = format!(
            "what => {{
                const element = ({find})(what);
                if (!element) return null;
                element.scrollIntoView({{ block: 'nearest', inline: 'nearest', behavior: 'instant' }});
                const box = element.getClientRects()[0];
                if (!box) return null;
                const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
                const hit = document.elementFromPoint(x, y);
                return element.contains(hit) ? [x, y] : null;
            }}"
        );
        let (x, y) = eventually(&format!("{what} to be clicked"), async || {
            let place = self.try_run(&place, &json!([what])).await.ok()?;
            serde_json::from_value::<Option<(f64, f64)>>(place).ok()?
        })
        .await;
        for (kind, buttons) in [("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)] {
            let button = if kind == "mouseMoved" { "none" } else { "left" };
            let params = json!({
                "type": kind, "x": x, "y": y, "button": button, "buttons": buttons, "clickCount": 1,
            });
            self.call("Input.dispatchMouseEvent", params).await;
        }
    }

    /// Moves the mouse to the corner of the window.
    pub async fn move_mouse_away(&self) {
        let params = json!({ "type": "mouseMoved", "x": 0, "y": 0 });
        self.call("Input.dispatchMouseEvent", params).await;
    }

    /// Types `text`, key by key, into the element that has the focus.
    pub async fn type_text(&self, text: &str) {
        for character in text.chars() {
            self.press(&character.to_string(), Some(&character.to_string()), 0, 0).await;
        }
    }

    /// Presses a key: `Enter`, `Escape`, `Tab`, `Shift+Tab`, or any other by its name in the
    /// DOM.
    pub async fn press_key(&self, name: &str) {
        let (shift, name) = match name.strip_prefix("Shift+") {
            Some(name) => (8, name),
            None => (0, name),
        };
        let (code, text) = match name {
            "Enter" => (13, Some("\r")),
            "Tab" => (9, None),
            "Escape" => (27, None),
            "Backspace" => (8, None),
            " " => (32, Some(" ")),
            _ => (0, None),
        };
        self.press(name, text, code, shift).await;
    }

    async fn press(&self, key: &str, text: Option<&str>, code: u32, modifiers: u32) {
        let down = if text.is_some() { "keyDown" } else { "rawKeyDown" };
        for kind in [down, "keyUp"] {
            let mut params = json!({
                "type": kind,
                "key": key,
                "windowsVirtualKeyCode": code,
                "modifiers": modifiers,
            });
            if let Some(text) = text.filter(|_| kind == "keyDown") {
                params["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", params).await;
        }
    }

    /// Returns the role and name of each element that a screen reader finds on the page.
    pub async fn accessibility_tree(&self) -> Vec<(String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", json!({})).await;
        let nodes = tree["nodes"].as_array().expect("a tree has nodes");
        let text = |node: &Value, field: &str| {
            node[field]["value"].as_str().unwrap_or("").trim().to_owned()
        };
        let visible = nodes.iter().filter(|node| node["ignored"] != true);
        visible.map(|node| (text(node, "role"), text(node, "name"))).collect()
    }

    /// Returns the seconds that the page has spent in scripts since the first call.
    pub async fn script_seconds(&self) -> f64 {
        self.call("Performance.enable", json!({})).await;
        let answer = self.call("Performance.getMetrics", json!({})).await;
        let metrics = answer["metrics"].as_array().expect("metrics are a list");
        let script = metrics.iter().find(|metric| metric["name"] == "ScriptDuration");
        script.and_then(|metric| metric["value"].as_f64()).expect("Chromium measures scripts")
    }

    /// Returns the errors since the page was opened: dialogs, exceptions, and content that the
    /// security policy blocked.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        lock(&self.errors).clone()
    }

    /// Writes a screenshot of the whole page to `target/browser/<name>.png`.
    pub async fn save_screenshot(&self, name: &str) {
        let picture = self.call("Page.captureScreenshot", whole_page()).await;
        save(name, &picture);
    }

    /// Takes a screenshot of the window, as PNG.
    pub async fn screenshot(&self) -> Vec<u8> {
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        decode(&picture).expect("Chromium writes Base64")
    }

    pub(super) async fn call(&self, method: &str, params: Value) -> Value {
        let answer = self.try_call(method, params).await;
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    async fn try_call(&self, method: &str, params: Value) -> Answer {
        self.chromium.call(Some(&self.session), method, params).await
    }

    /// Prints the visible text of the page when its test fails, and saves a screenshot, the document
    /// and the errors.
    #[expect(clippy::print_stderr, reason = "it belongs to the output of the test that fails")]
    fn save_failure(&self) {
        let name = std::thread::current().name().unwrap_or("a-test").replace("::", "-");
        let name = format!("{name}-{}", &self.session[..6]);
        let call = |method, params| self.chromium.call_blocking(&self.session, method, params);
        if let Ok(picture) = call("Page.captureScreenshot", whole_page()) {
            save(&name, &picture);
        }
        let visible = "`${location.href}\n${document.body.innerText}`";
        if let Ok(answer) = call("Runtime.evaluate", json!({ "expression": visible })) {
            let text = answer["result"]["value"].as_str().unwrap_or("no document");
            eprintln!("The page shows:\n{}", text.chars().take(4_000).collect::<String>());
        }
        let expression = "`${location.href}\n${document.documentElement.outerHTML}`";
        let mut text = String::new();
        if let Ok(answer) = call("Runtime.evaluate", json!({ "expression": expression })) {
            text.push_str(answer["result"]["value"].as_str().unwrap_or("no document"));
        }
        for error in self.errors() {
            let _ = write!(text, "\n<!-- {error} -->");
        }
        let _ = fs::write(folder().join(format!("{name}.html")), text);
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.save_failure();
        }
        let context = json!({ "browserContextId": self.context });
        self.chromium.notify(None, "Target.disposeBrowserContext", context);
        self.chromium.forget(&self.session);
    }
}

fn whole_page() -> Value {
    json!({ "format": "png", "captureBeyondViewport": true })
}

fn save(name: &str, picture: &Value) {
    if let Some(bytes) = decode(picture) {
        let _ = fs::write(folder().join(format!("{name}.png")), bytes);
    }
}

fn decode(picture: &Value) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD.decode(picture["data"].as_str()?).ok()
}
