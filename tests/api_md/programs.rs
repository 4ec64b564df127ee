//! The two programs of API.md, running: the JavaScript in a browser, the Python in a process.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::{sleep, timeout};

/// How long anything that a test waits for may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    JavaScript,
    Python,
}

/// A program of API.md and who runs it.
pub struct Program {
    runs: Runs,
    /// The processes that end with it.
    _child: Child,
}

enum Runs {
    Browser(Client),
    Python(ChildStdin, Lines<BufReader<ChildStdout>>),
}

impl Program {
    /// `text` with other waits, each of which is in it, on the site at this port of this host. It follows nothing yet.
    pub async fn load(language: Language, text: &str, waits: &[(&str, &str)], port: u16) -> Self {
        let text = waits.iter().fold(text.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "API.md's program says {from}");
            text.replace(from, to)
        });
        match language {
            Language::JavaScript => Self::in_a_browser(&text, port).await,
            Language::Python => Self::in_a_process(&text, port),
        }
    }

    /// As most sites on a network of one's own are: over plain HTTP, and not on `localhost`, which browsers take for safe.
    async fn in_a_browser(text: &str, port: u16) -> Self {
        let (driver, driver_port) = chromedriver().await;
        let options = json!({"goog:chromeOptions": {"args": ["--headless=new", "--no-sandbox", "--disable-gpu",
            "--host-resolver-rules=MAP chat.test 127.0.0.1"]}});
        let options = options.as_object().expect("an object").clone();
        let address = format!("http://127.0.0.1:{driver_port}");
        let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        let browser = builder.capabilities(options).connect(&address);
        let browser = timeout(PATIENCE, browser)
            .await
            .expect("a browser in time")
            .expect("a browser");
        let this = Self {
            runs: Runs::Browser(browser.clone()),
            _child: driver,
        };
        let page = format!("http://chat.test:{port}/");
        timeout(PATIENCE, browser.goto(&page))
            .await
            .expect("a page in time")
            .expect("a page");
        let script = format!("{text}\n{}", include_str!("drive.js"));
        timeout(PATIENCE, browser.execute(&script, vec![]))
            .await
            .expect("in time")
            .expect("API.md's program");
        this
    }

    /// With the library that it names where `tests/run packages` has put that, else with a stand-in for it.
    fn in_a_process(text: &str, port: u16) -> Self {
        let script = format!("{text}\n{}", include_str!("drive.py"));
        let python = python_with_websockets();
        let stand_in = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api_md/stand_in");
        let mut child = testkit::command(python.as_deref().unwrap_or(Path::new("python3")))
            .args(["-c", &script, &format!("http://127.0.0.1:{port}")])
            .env("PYTHONPATH", if python.is_some() { "" } else { stand_in })
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python3 runs");
        let input = child.stdin.take().expect("its input");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self {
            runs: Runs::Python(input, lines),
            _child: child,
        }
    }

    /// Does something (`drive.js` and `drive.py` know what), and gives what has become of it all.
    pub async fn command(&mut self, command: Value) -> Value {
        let answer = async {
            match &mut self.runs {
                Runs::Browser(browser) => browser
                    .execute("return command(arguments[0])", vec![command.clone()])
                    .await
                    .expect("the browser answers"),
                Runs::Python(input, lines) => {
                    let line = format!("{command}\n");
                    input.write_all(line.as_bytes()).await.expect("it listens");
                    let line = lines.next_line().await.expect("it answers");
                    serde_json::from_str(&line.expect("the program still runs")).expect("JSON")
                }
            }
        };
        timeout(PATIENCE, answer)
            .await
            .unwrap_or_else(|_| panic!("no answer to {command}"))
    }

    pub async fn start(&mut self, room: &str, token: &str, position: Value) {
        let start = json!({"room": room, "token": token, "position": position});
        self.command(json!({"start": start})).await;
    }

    pub async fn say(&mut self, texts: &[&str]) -> Value {
        self.command(json!({"say": texts})).await
    }

    /// Waits until this part of what has become of it is so.
    pub async fn until(&mut self, part: &str, expected: Value) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = self.command(json!({})).await;
            if state[part] == expected {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{part} expected: {expected}, not {state}"
            );
            sleep(Duration::from_millis(30)).await;
        }
    }

    pub async fn end(self) {
        if let Runs::Browser(browser) = self.runs {
            let closed = timeout(PATIENCE, browser.close()).await;
            closed.expect("closed in time").expect("the browser closed");
        }
    }
}

fn python_with_websockets() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    let python = target.join("tools/websockets/bin/python");
    if python.exists() {
        return Some(python);
    }
    testkit::skipped(
        "API.md's Python runs with a stand-in: tests/run packages installs the library websockets",
    );
    None
}

async fn chromedriver() -> (Child, u16) {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port")
        .port();
    let driver = testkit::command("chromedriver")
        .arg(format!("--port={port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("chromedriver runs (Debian: apt install chromium-driver)");
    let up = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, up).await.expect("chromedriver answers");
    (driver, port)
}
