//! A browser to drive: chromedriver on a port of its own, and windows that do what a person would.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fantoccini::error::CmdError;
use fantoccini::wd::{WebDriverCompatibleCommand, WindowHandle};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;

/// How long a condition may take to come true. Reconnecting waits up to 20 s between two attempts.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs chromedriver in a process group of its own and ends all of the group, with every Chromium in it, when its
/// standard input closes. That happens with this process, however this process ends.
const KEEPER: &str = r#"trap : TERM
chromedriver --port=0 &
cat >/dev/null
kill -TERM 0
sleep 1
rm -rf "$1"
kill -KILL 0"#;

/// One test at a time: browsers are large.
static TURN: Mutex<()> = Mutex::const_new(());

pub struct Browser {
    port: u16,
    profiles: TempDir,
    keeper: Child,
    life: Option<ChildStdin>,
    /// Takes what chromedriver prints, so that it never waits for room.
    _reader: JoinSet<()>,
    _turn: MutexGuard<'static, ()>,
}

impl Browser {
    /// Waits for its turn. None where there is no chromedriver; but with CI=true that is a failure.
    pub async fn start() -> Option<Self> {
        let turn = TURN.lock().await;
        let mut version = testkit::command("chromedriver");
        version.arg("--version");
        let version = testkit::ended("chromedriver --version", PATIENCE, version).await;
        // What env says of what it cannot find.
        if version.status.code() == Some(127) {
            testkit::skipped("chromedriver is not installed, so nobody looked at the page");
            return None;
        }
        assert!(version.status.success(), "{version:?}");
        let profiles = tempfile::tempdir().expect("a folder for profiles");
        let mut keeper = testkit::command("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(profiles.path())
            // Chromium leaves files in the temporary folder; these too go with the profiles.
            .env("TMPDIR", profiles.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start chromedriver");
        let life = keeper.stdin.take();
        let mut lines = BufReader::new(keeper.stdout.take().expect("its output")).lines();
        let started = async {
            while let Some(line) = lines.next_line().await.expect("read chromedriver's output") {
                if let Some((_, port)) = line.split_once("started successfully on port ") {
                    return port.trim_end_matches('.').parse().expect("a port");
                }
            }
            panic!("chromedriver ended at once");
        };
        let port = tokio::time::timeout(PATIENCE, started)
            .await
            .expect("chromedriver starts");
        let mut reader = JoinSet::new();
        reader.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Some(Self {
            port,
            profiles,
            keeper,
            life,
            _reader: reader,
            _turn: turn,
        })
    }

    pub async fn end(mut self) {
        drop(self.life.take());
        let ended = tokio::time::timeout(PATIENCE, self.keeper.wait()).await;
        ended
            .expect("chromedriver ends in time")
            .expect("chromedriver ends");
    }

    pub async fn window(&self) -> Window {
        self.window_with(json!({})).await
    }

    /// A window of a Chromium with more options: `prefs`, or `args` beside those that all have.
    pub async fn window_with(&self, mut options: Value) -> Window {
        let mut args = vec![json!("--window-size=1180,760")];
        args.extend(options["args"].as_array().cloned().unwrap_or_default());
        options["args"] = json!(args);
        self.open(options).await
    }

    /// A window as wide as the narrowest phone that is still about.
    pub async fn phone(&self) -> Window {
        let metrics =
            json!({"deviceMetrics": {"width": 360, "height": 640, "pixelRatio": 2.0, "touch": true}});
        self.open(json!({"mobileEmulation": metrics})).await
    }

    async fn open(&self, mut options: Value) -> Window {
        let profile = tempfile::tempdir_in(self.profiles.path())
            .expect("a new profile")
            .keep();
        let mut args = vec![
            json!("--headless=new"),
            json!("--no-sandbox"),
            json!("--disable-gpu"),
            json!("--disable-quic"),
            json!("--no-first-run"),
            json!("--disable-background-networking"),
            json!("--disable-component-update"),
            json!("--disable-sync"),
            json!("--disable-dev-shm-usage"),
            json!(format!("--user-data-dir={}", profile.display())),
        ];
        args.extend(options["args"].as_array().cloned().unwrap_or_default());
        options["args"] = json!(args);
        if Path::new("/usr/bin/chromium").exists() {
            options["binary"] = json!("/usr/bin/chromium");
        }
        let capabilities = json!({
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
            // A script that got through as markup would open an alert; see that it fails the test.
            "unhandledPromptBehavior": "ignore",
        });
        let capabilities = capabilities.as_object().cloned().expect("it is an object");
        let driver = format!("http://127.0.0.1:{}", self.port);
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let client = tokio::time::timeout(PATIENCE, builder.capabilities(capabilities).connect(&driver))
            .await
            .expect("a browser window in time")
            .expect("open a browser window");
        Window { client }
    }
}

pub struct Window {
    pub client: Client,
}

impl Window {
    /// Opens one more tab of the same browser and goes on in it. The one before is what it gives back.
    pub async fn open_tab(&self) -> WindowHandle {
        let before = self.client.window().await.expect("the tab that is open");
        let opened = self.client.new_window(true).await.expect("open a tab");
        self.switch_to(&opened.handle).await;
        before
    }

    pub async fn switch_to(&self, tab: &WindowHandle) {
        let switched = self.client.switch_to_window(tab.clone()).await;
        switched.expect("switch to another tab");
    }

    /// Closes the tab and goes on in `next`.
    pub async fn close_tab(&self, next: &WindowHandle) {
        self.client.close_window().await.expect("close the tab");
        self.switch_to(next).await;
    }

    pub async fn visit(&self, url: &str) {
        self.client.goto(url).await.expect("open the page");
        self.until(
            "the page has started",
            "return document.body.dataset.view !== 'starting'",
        )
        .await;
    }

    pub async fn js(&self, script: &str) -> Value {
        tokio::time::timeout(PATIENCE, self.client.execute(script, vec![]))
            .await
            .unwrap_or_else(|_| panic!("the browser does not answer: {script}"))
            .unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until `script` returns something true, and gives it back.
    pub async fn until(&self, what: &str, script: &str) -> Value {
        let begun = tokio::time::Instant::now();
        loop {
            let value = self.js(script).await;
            if !matches!(value, Value::Null | Value::Bool(false)) {
                return value;
            }
            if begun.elapsed() > PATIENCE {
                let body = self.js("return document.body.innerText").await;
                panic!(
                    "waited in vain until {what}; the page says:\n{}",
                    body.as_str().unwrap_or_default()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn click(&self, css: &str) {
        let element = self
            .client
            .find(Locator::Css(css))
            .await
            .unwrap_or_else(|e| panic!("{css}: {e}"));
        element
            .click()
            .await
            .unwrap_or_else(|e| panic!("click {css}: {e}"));
    }

    /// Types into the field `css`, as after a click into it.
    pub async fn type_into(&self, css: &str, text: &str) {
        let element = self
            .client
            .find(Locator::Css(css))
            .await
            .unwrap_or_else(|e| panic!("{css}: {e}"));
        element
            .send_keys(text)
            .await
            .unwrap_or_else(|e| panic!("type into {css}: {e}"));
    }

    /// Types to whatever has the focus, as a person at a keyboard does.
    pub async fn keys(&self, text: &str) {
        let element = self
            .client
            .active_element()
            .await
            .expect("something has the focus");
        element
            .send_keys(text)
            .await
            .unwrap_or_else(|e| panic!("type {text:?}: {e}"));
    }

    pub async fn sign_up(&self, name: &str) {
        self.click("#account input[value='sign-up']").await;
        self.type_into("#username", name).await;
        self.type_into("#secret", "correct horse").await;
        self.click("#enter").await;
        self.connected().await;
    }

    /// Logs in on the form that is shown.
    pub async fn log_in(&self, name: &str) {
        self.click("#account input[value='login']").await;
        self.type_into("#username", name).await;
        self.type_into("#secret", "correct horse").await;
        self.click("#enter").await;
        self.connected().await;
    }

    pub async fn go_to_room(&self, room: &str) {
        self.choose_room(room).await;
        self.connected().await;
    }

    /// Goes to a room, reachable or not.
    pub async fn choose_room(&self, room: &str) {
        self.type_into("#join-name", room).await;
        self.click("#join button[type='submit']").await;
        let shown = format!(
            "return document.getElementById('room-name').textContent === {}",
            json!(room)
        );
        self.until("the room is shown", &shown).await;
    }

    pub async fn say(&self, text: &str) {
        self.type_into("#text", text).await;
        self.click("#send").await;
    }

    pub async fn connected(&self) {
        self.until(
            "the page is connected",
            "return document.body.dataset.view !== 'welcome' && document.getElementById('status').dataset.state === 'connected'",
        )
        .await;
    }

    /// What stands in the log, top to bottom.
    pub async fn texts(&self) -> Vec<String> {
        let texts = self
            .js("return [...document.querySelectorAll('#log .text')].map((text) => text.textContent)")
            .await;
        serde_json::from_value(texts).expect("a list of texts")
    }

    /// Waits until the log holds exactly `texts`, in this order, and nothing is left to be sent.
    pub async fn until_texts(&self, texts: &[&str]) {
        let script = format!(
            "const shown = [...document.querySelectorAll('#log .text')].map((text) => text.textContent);
             return JSON.stringify(shown) === JSON.stringify({}) && !document.querySelector('#pending li')",
            json!(texts)
        );
        self.until(&format!("the log is {texts:?}"), &script).await;
    }

    /// Waits until `texts` stand there unsent, in this order, and nothing else does.
    pub async fn until_unsent(&self, texts: &[&str]) {
        let script = format!(
            "const unsent = [...document.querySelectorAll('#pending .text')].map((text) => text.textContent);
             return JSON.stringify(unsent) === JSON.stringify({})",
            json!(texts)
        );
        self.until(&format!("{texts:?} are unsent"), &script).await;
    }

    /// Waits until the element with this id is seen and says `text` somewhere.
    pub async fn until_says(&self, id: &str, text: &str) {
        let script = format!(
            "const e = document.getElementById('{id}'); return e.checkVisibility() && e.textContent.includes({})",
            json!(text)
        );
        self.until(&format!("{id} says {text:?}"), &script).await;
    }

    /// Waits until the page asks who is there.
    pub async fn until_asked(&self) {
        let asked = "return document.body.dataset.view === 'welcome'";
        self.until("the page asks who is there", asked).await;
    }

    /// Presses the button that says `label` within `css`.
    pub async fn press(&self, css: &str, label: &str) {
        let script = format!(
            "const b = [...document.querySelectorAll({})].find((b) => b.textContent === {}); b?.click(); return Boolean(b)",
            json!(format!("{css} button")),
            json!(label)
        );
        self.until(&format!("{label} can be pressed"), &script).await;
    }

    /// How far the page reaches past the right or the lower edge of the window, in CSS pixels: what is longer scrolls by itself.
    pub async fn overflow(&self) -> i64 {
        let script = "const { scrollWidth, scrollHeight } = document.documentElement;
                      return Math.max(scrollWidth - innerWidth, scrollHeight - innerHeight,
                      ...[...document.querySelectorAll('main, main *')].filter((e) => e.checkVisibility() && !e.closest('.unseen-text'))
                      .map((e) => Math.ceil(e.getBoundingClientRect().right) - innerWidth))";
        self.js(script).await.as_i64().expect("a number")
    }

    /// What the browser complained of, but for connections that failed: those are part of some tests.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self
            .client
            .issue_cmd(BrowserLog)
            .await
            .expect("read the browser's log");
        let entries = entries.as_array().cloned().unwrap_or_default();
        let complaints = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        let complaints = complaints.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned());
        complaints
            .filter(|message| !message.contains("net::ERR_") && !message.contains("WebSocket connection"))
            .collect()
    }

    pub async fn close(self) {
        let closed: Result<(), CmdError> = self.client.close().await;
        closed.expect("close the window");
    }
}

#[derive(Debug)]
struct BrowserLog;

impl WebDriverCompatibleCommand for BrowserLog {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({"type": "browser"}).to_string()))
    }
}
