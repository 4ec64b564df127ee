//! One replica: a process of the binary under test that can be killed, drained and started again on its port.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Child, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use reqwest::header::HeaderMap;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    process::{START_LIMIT, bound_to_us, serial, spawn, tail},
    proxy::Proxy,
};

/// Where a replica is, without the process: cheap to clone into a task.
#[derive(Clone, Debug)]
pub struct Target {
    pub(crate) port: u16,
    http: reqwest::Client,
}

/// An HTTP answer; `body` is null when it was not JSON.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

/// A user who has signed up and logged in.
#[derive(Clone, Debug)]
pub struct Account {
    pub id: i64,
    pub username: String,
    pub token: String,
}

impl Target {
    pub(crate) fn new(port: u16, http: reqwest::Client) -> Self {
        Self { port, http }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same replica by way of a proxy, which was started with [`port`](Self::port).
    pub fn through(&self, proxy: &Proxy) -> Self {
        Self {
            port: proxy.port(),
            http: self.http.clone(),
        }
    }

    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The WebSocket of a room; `query` without its question mark, empty for none.
    pub fn ws_url(&self, room: &str, query: &str) -> String {
        let mark = if query.is_empty() { "" } else { "?" };
        format!(
            "ws://127.0.0.1:{}/api/v1/rooms/{}/messages/ws{mark}{query}",
            self.port,
            encode(room)
        )
    }

    /// The history route of a room, as a path.
    pub fn history_path(room: &str, query: &str) -> String {
        format!("/api/v1/rooms/{}/messages?{query}", encode(room))
    }

    pub async fn try_get(&self, path: &str, token: Option<&str>) -> reqwest::Result<Answer> {
        self.answer(self.http.get(self.base_url() + path), token).await
    }

    pub async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.try_get(path, token)
            .await
            .unwrap_or_else(|e| panic!("GET {path}: {e:?}"))
    }

    pub async fn try_post(&self, path: &str, token: Option<&str>, body: &Value) -> reqwest::Result<Answer> {
        self.answer(self.http.post(self.base_url() + path).json(body), token)
            .await
    }

    pub async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Answer {
        self.try_post(path, token, body)
            .await
            .unwrap_or_else(|e| panic!("POST {path}: {e:?}"))
    }

    async fn answer(&self, request: reqwest::RequestBuilder, token: Option<&str>) -> reqwest::Result<Answer> {
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = serde_json::from_slice(&response.bytes().await?).unwrap_or(Value::Null);
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    /// Signs up and logs in. A name that is taken gets a number appended.
    pub async fn account(&self, name: &str) -> Account {
        let mut username = name.to_owned();
        loop {
            let credentials = json!({"username": username, "secret": "correct horse"});
            let created = self.post("/api/v1/users", None, &credentials).await;
            if created.status == 400 && created.body["error"]["type"] == "USER_EXISTS" {
                username = format!("{name}-{}", serial());
                continue;
            }
            assert_eq!(created.status, 201, "sign-up: {}", created.body);
            let login = self.post("/api/v1/login", None, &credentials).await;
            assert_eq!(login.status, 200, "login: {}", login.body);
            let token = login.body["data"]["token"].as_str().expect("a token").to_owned();
            let id = created.body["data"]["id"].as_i64().expect("an id");
            return Account { id, username, token };
        }
    }

    /// The whole history of a room, oldest first, page by page.
    pub async fn history(&self, room: &str) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let answer = self
                .get(
                    &Self::history_path(room, &format!("after={after}&limit=200")),
                    None,
                )
                .await;
            assert_eq!(answer.status, 200, "history: {}", answer.body);
            let page = answer.body["data"]["messages"]
                .as_array()
                .expect("messages")
                .clone();
            let Some(last) = page.last() else { return all };
            after = last["seq"].as_u64().expect("a seq");
            all.extend(page);
        }
    }
}

/// Percent-encodes a path segment: all but the unreserved characters of RFC 3986.
fn encode(segment: &str) -> String {
    let mut encoded = String::new();
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte as char),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// A process of the binary. Derefs to its [`Target`].
pub struct Replica {
    target: Target,
    ops_port: u16,
    bin: PathBuf,
    environment: BTreeMap<String, String>,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl std::ops::Deref for Replica {
    type Target = Target;
    fn deref(&self) -> &Target {
        &self.target
    }
}

impl AsRef<Target> for Replica {
    fn as_ref(&self) -> &Target {
        &self.target
    }
}

impl AsRef<Target> for Target {
    fn as_ref(&self) -> &Target {
        self
    }
}

impl Replica {
    pub(crate) fn new(
        target: Target,
        ops_port: u16,
        bin: PathBuf,
        environment: BTreeMap<String, String>,
        log: PathBuf,
    ) -> Self {
        Self {
            target,
            ops_port,
            bin,
            environment,
            log,
            child: Mutex::new(None),
        }
    }

    pub fn target(&self) -> Target {
        self.target.clone()
    }

    pub fn port(&self) -> u16 {
        self.target.port
    }

    pub fn ops_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ops_port)
    }

    /// The status of /readyz or another page of the operations port; None when nobody answers.
    pub async fn ops_status(&self, path: &str) -> Option<u16> {
        let request = self
            .target
            .http
            .get(self.ops_url() + path)
            .timeout(Duration::from_secs(5));
        Some(request.send().await.ok()?.status().as_u16())
    }

    /// The text of a page of the operations port; empty when nobody answers.
    pub async fn ops_text(&self, path: &str) -> String {
        match self.target.http.get(self.ops_url() + path).send().await {
            Ok(response) => response.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// Whether it hears its own heartbeat through Redis, as /status says.
    pub async fn hears_redis(&self) -> bool {
        let status = self.ops_text("/status").await;
        let status: serde_json::Value = serde_json::from_str(&status).expect("/status is JSON");
        status["redis"]["up"] == true
    }

    /// The text of /metrics.
    pub async fn metrics(&self) -> String {
        let text = self.ops_text("/metrics").await;
        assert!(!text.is_empty(), "no metrics\n{}", self.log_tail());
        text
    }

    /// Forks the process without waiting until it is ready.
    pub(crate) fn launch(&self) {
        let mut command = bound_to_us(&self.bin, "KILL");
        command.envs(&self.environment);
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("a log file");
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log);
        let child = spawn(command).unwrap_or_else(|e| panic!("cannot start {}: {e}", self.bin.display()));
        assert!(self.lock().replace(child).is_none(), "the replica was running");
    }

    pub(crate) async fn ready(&self) {
        let deadline = Instant::now() + START_LIMIT;
        while self.ops_status("/readyz").await != Some(200) {
            if let Some(status) = self.try_wait() {
                panic!(
                    "the replica ended while it started: {status}\n{}",
                    self.log_tail()
                );
            }
            assert!(
                Instant::now() < deadline,
                "not ready within {START_LIMIT:?}\n{}",
                self.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts it again on the same ports, after [`kill`](Self::kill) or [`wait`](Self::wait), and waits until ready.
    pub async fn start_again(&self) {
        self.launch();
        self.ready().await;
    }

    /// SIGKILL, and waits until the process is gone.
    pub async fn kill(&self) {
        self.signal(Signal::KILL);
        self.wait().await;
    }

    /// SIGTERM, without waiting.
    pub async fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP: the process keeps its sockets and does nothing, until [`unfreeze`](Self::unfreeze).
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn unfreeze(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        kill_process(pid, signal).expect("our own child");
    }

    /// Waits until the process has ended; a minute at most.
    pub async fn wait(&self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.try_wait() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "still running after a minute\n{}",
                self.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn try_wait(&self) -> Option<ExitStatus> {
        let mut child = self.lock();
        let status = child
            .as_mut()
            .expect("was started")
            .try_wait()
            .expect("our own child")?;
        *child = None;
        Some(status)
    }

    /// The process id; it must be running.
    pub fn pid(&self) -> u32 {
        self.lock().as_ref().expect("running").id()
    }

    /// Whether it was started, and has not ended by itself either.
    pub fn is_running(&self) -> bool {
        self.lock().is_some() && self.try_wait().is_none()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("/proc");
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("VmRSS:"))
            .expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// All that the process has written to stdout and stderr.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(mut child) = self.lock().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
