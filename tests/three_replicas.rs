//! `deploy/three-replicas`, as a person runs it: through HAProxy, with a replica killed, watched, until Ctrl-C.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const PATIENCE: Duration = Duration::from_secs(60);

static NEXT: AtomicU16 = AtomicU16::new(0);

struct Script {
    process: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    port: u16,
    replica_port: u16,
    prometheus_port: u16,
    _data: tempfile::TempDir,
}

impl Script {
    /// With this collector as the `otelcol` that is installed, and more environment variables.
    fn start(collector: Option<&Path>, settings: &[(&str, &str)]) -> Self {
        let [port, postgres, redis, prometheus_port, collector_port] =
            free_ports(&[0; 5]).expect("any five ports");
        // Three in a row, and three that are 1000 higher; the tests of this file begin to look at different places.
        let from = 20_000 + 2_500 * NEXT.fetch_add(1, Ordering::Relaxed);
        let replica_port = (from..30_000)
            .step_by(10)
            .find(|&first| {
                free_ports(&[
                    first,
                    first + 1,
                    first + 2,
                    first + 1000,
                    first + 1001,
                    first + 1002,
                ])
                .is_some()
            })
            .expect("free ports in a row");
        let data = tempfile::tempdir().expect("a temporary folder");
        // Where the tests run as root, Postgres does not.
        std::fs::set_permissions(data.path(), Permissions::from_mode(0o755)).expect("it is ours");
        let bin = data.path().join("bin");
        std::fs::create_dir(&bin).expect("it is ours");
        if let Some(collector) = collector {
            std::os::unix::fs::symlink(collector, bin.join("otelcol")).expect("it is ours");
        }
        let path = std::env::var_os("PATH").expect("a PATH");
        let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&path))).unwrap();
        let mut process = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/three-replicas"))
            .args(["--binary", env!("CARGO_BIN_EXE_chat-gateway")])
            .args([
                "--port",
                &port.to_string(),
                "--postgres-port",
                &postgres.to_string(),
            ])
            .args([
                "--redis-port",
                &redis.to_string(),
                "--replica-port",
                &replica_port.to_string(),
            ])
            .args(["--prometheus-port", &prometheus_port.to_string()])
            .args(["--collector-port", &collector_port.to_string()])
            .env("TMPDIR", data.path())
            .env("PATH", path)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true) // and the kernel passes it on to what the script has started
            .spawn()
            .expect("the script runs");
        let stdout = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        Self {
            process,
            stdout,
            port,
            replica_port,
            prometheus_port,
            _data: data,
        }
    }

    /// Waits for a line with this in it.
    async fn prints(&mut self, part: &str) -> String {
        let found = async {
            while let Some(line) = self.stdout.next_line().await.expect("it is UTF-8") {
                if line.contains(part) {
                    return line;
                }
            }
            panic!("it ended without saying {part:?}");
        };
        timeout(PATIENCE, found)
            .await
            .unwrap_or_else(|_| panic!("it did not say {part:?}"))
    }

    fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://127.0.0.1:{}/api/v1{path}", self.port)
    }

    /// The processes that the script started, by id.
    fn children(&self) -> Vec<u32> {
        let script = self.process.id().expect("it runs").to_string();
        let parent = |pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let after_name = stat.rsplit(')').next().unwrap_or_default();
            after_name.split_whitespace().nth(1).map(str::to_owned)
        };
        let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
        processes
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| parent(pid).as_ref() == Some(&script))
            .collect()
    }

    fn replica(&self, n: u16) -> u32 {
        let setting = format!("LISTEN_ADDR=127.0.0.1:{}", self.replica_port + n - 1);
        let has = |pid: &u32| has_setting(*pid, &setting);
        self.children().into_iter().find(has).expect("the replica runs")
    }

    /// The process of this program.
    fn child(&self, program: &Path) -> Option<u32> {
        let program = program.canonicalize().expect("it is there");
        let runs = |pid: &u32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program);
        self.children().into_iter().find(runs)
    }

    async fn ends_at_ctrl_c(mut self, sessions: &mut [Session]) {
        let started = self.children();
        signal("INT", self.process.id().expect("it runs")).await;
        for session in sessions {
            let event = session.next().await.expect("it is told before it is closed");
            assert_eq!(event["type"], "reconnect");
            assert_eq!(session.next().await, Err(1012));
        }
        let status = timeout(PATIENCE, self.process.wait())
            .await
            .expect("it ends")
            .unwrap();
        assert!(status.success());
        for pid in started {
            assert!(!runs(pid), "process {pid} was left running");
        }
    }
}

fn has_setting(pid: u32, setting: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment
        .split(|&byte| byte == 0)
        .any(|entry| entry == setting.as_bytes())
}

fn free_ports<const N: usize>(wanted: &[u16; N]) -> Option<[u16; N]> {
    let listeners: Vec<_> = wanted
        .iter()
        .map_while(|&port| TcpListener::bind(("127.0.0.1", port)).ok())
        .collect();
    let ports: Vec<_> = listeners
        .iter()
        .map(|listener| listener.local_addr().expect("bound").port())
        .collect();
    ports.try_into().ok()
}

/// Whether the process is there and not just waiting to be collected.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

async fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status()
        .await;
    assert!(sent.expect("kill runs").success());
}

struct Session {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    events: Vec<Value>,
}

impl Session {
    async fn join(script: &Script, token: &str, query: &str) -> Self {
        let mut request = script
            .url("ws", &format!("/rooms/lobby/messages/ws{query}"))
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
        let (socket, _) = tokio_tungstenite::connect_async(request)
            .await
            .expect("the upgrade passes HAProxy");
        let mut session = Self {
            socket,
            events: Vec::new(),
        };
        assert_eq!(session.next().await.unwrap()["type"], "joined");
        session
    }

    /// The next event, or the close code (1006 where the connection just ends).
    async fn next(&mut self) -> Result<Value, u16> {
        while self.events.is_empty() {
            match timeout(PATIENCE, self.socket.next())
                .await
                .expect("something comes")
            {
                Some(Ok(Message::Text(frame))) => {
                    self.events = serde_json::from_str(&frame).expect("an array of events");
                }
                Some(Ok(Message::Close(Some(close)))) => return Err(close.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
        Ok(self.events.remove(0))
    }

    async fn send(&mut self, text: &str) {
        self.socket
            .send(Message::text(json!({ "text": text }).to_string()))
            .await
            .expect("it is written");
    }

    /// Reads on until this message; the other end of the connection may be gone instead.
    async fn hears(&mut self, text: &str) -> bool {
        while let Ok(event) = self.next().await {
            if event["text"] == text {
                return true;
            }
        }
        false
    }
}

async fn log_in(script: &Script) -> String {
    let client = reqwest::Client::new();
    let account = json!({"username": "ann", "secret": "a secret"});
    let answer = client
        .post(script.url("http", "/users"))
        .json(&account)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    let answer = client
        .post(script.url("http", "/login"))
        .json(&account)
        .send()
        .await
        .unwrap();
    let body: Value = answer.json().await.unwrap();
    body["data"]["token"].as_str().expect("a token").to_owned()
}

#[tokio::test]
async fn people_chat_through_haproxy_while_a_replica_is_killed_until_ctrl_c() {
    // A person's own endpoint stays theirs, whatever is installed; nobody listens there, and nobody in the chat minds.
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    let collector = testkit::collector_binary().await;
    let mut script = Script::start(collector.as_deref(), &[endpoint]);
    script.prints("three replicas are ready").await;
    assert!(has_setting(
        script.replica(2),
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:9"
    ));
    assert!(collector.is_none_or(|collector| script.child(&collector).is_none()));
    let token = log_in(&script).await;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(Session::join(&script, &token, "").await);
    }
    sessions[0].send("one").await;
    for session in &mut sessions {
        assert!(session.hears("one").await);
    }

    signal("KILL", script.replica(1)).await;
    script
        .prints("replica-1 ended with status 137; it is started again")
        .await;
    reqwest::Client::new()
        .post(script.url("http", "/rooms/lobby/messages"))
        .bearer_auth(&token)
        .json(&json!({"text": "two"}))
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .expect("HAProxy finds a replica that lives");
    let mut lost = 0;
    for session in &mut sessions {
        if !session.hears("two").await {
            lost += 1;
            *session = Session::join(&script, &token, "?after=1").await;
            assert!(session.hears("two").await);
        }
    }
    assert!(
        (1..6).contains(&lost),
        "{lost} of 6 sessions were on the replica that was killed"
    );

    assert!(
        script.children().len() >= 6,
        "Postgres, Redis, HAProxy and three replicas"
    );
    script.ends_at_ctrl_c(&mut sessions).await;
}

/// Where Prometheus is, if it is installed.
fn prometheus() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join("prometheus"))
        .find(|program| program.is_file())
}

/// Which replicas' deliveries are in the collector's file.
fn delivered(file: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let resources = lines.flat_map(|line| line["resourceSpans"].as_array().cloned().unwrap_or_default());
    resources
        .filter(|resource| resource["scopeSpans"].to_string().contains("\"deliver room\""))
        .flat_map(|resource| resource["resource"]["attributes"].as_array().cloned())
        .flatten()
        .filter(|attribute| attribute["key"] == "service.instance.id")
        .map(|attribute| attribute["value"]["stringValue"].to_string())
        .collect()
}

#[tokio::test]
async fn it_is_watched_by_what_is_installed() {
    let Some(prometheus) = prometheus() else {
        return testkit::skipped("Prometheus is not installed");
    };
    let Some(collector) = testkit::collector_binary().await else {
        return;
    };
    let mut script = Script::start(Some(&collector), &[]);
    script.prints("Prometheus has their metrics").await;
    let line = script.prints("the collector writes their traces: ").await;
    let traces = PathBuf::from(line.split(": ").nth(1).expect("a path"));

    let token = log_in(&script).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(Session::join(&script, &token, "").await); // one on each replica
    }
    sessions[0].send("one").await;
    for session in &mut sessions {
        assert!(session.hears("one").await);
    }
    let api = format!("http://127.0.0.1:{}/api/v1", script.prometheus_port);
    let ask = async |path: &str| -> Value {
        let answer = reqwest::get(format!("{api}/{path}")).await.expect("it answers");
        answer.json().await.expect("JSON")
    };
    testkit::until("three targets are up", PATIENCE, async || {
        let targets = ask("targets").await;
        let targets = targets["data"]["activeTargets"]
            .as_array()
            .expect("targets")
            .clone();
        targets.len() == 3 && targets.iter().all(|target| target["health"] == "up")
    })
    .await;
    let groups = ask("rules").await["data"]["groups"].as_array().cloned();
    assert!(groups.expect("groups").len() > 1, "the rules are loaded");
    testkit::until("each replica's delivery is in the traces", PATIENCE, async || {
        delivered(&traces).len() == 3
    })
    .await;

    for (name, program) in [("prometheus", &prometheus), ("collector", &collector)] {
        signal("KILL", script.child(program).expect("it runs")).await;
        script
            .prints(&format!("{name} ended with status 137; it is started again"))
            .await;
        testkit::until("it runs again", PATIENCE, async || {
            script.child(program).is_some()
        })
        .await;
    }
    script.ends_at_ctrl_c(&mut sessions).await;
}

#[tokio::test]
async fn what_it_started_ends_with_it_even_when_it_is_killed() {
    let collector = testkit::collector_binary().await;
    let mut script = Script::start(collector.as_deref(), &[]);
    script.prints("three replicas are ready").await;
    let started = script.children();
    script.process.kill().await.unwrap();
    let ended = async {
        while started.iter().any(|&pid| runs(pid)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("the kernel tells them");
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_before_anything_is_started() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/three-replicas"))
        .args(["--binary", env!("CARGO_BIN_EXE_chat-gateway"), "--port", &port])
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("port {port} is taken")));
}

#[tokio::test]
async fn what_does_not_fit_together_is_said_before_anything_is_started() {
    let misfits: [(&[&str], &str); 3] = [
        (&["--prometheus-port", "70000x"], "70000x is not a port"),
        (&["--collector", "/there/is/none"], "cannot run /there/is/none"),
        (
            &["--collector-port", "0", "--collector", "/bin/true"],
            "--collector gets nothing",
        ),
    ];
    for (args, sentence) in misfits {
        let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/three-replicas"))
            .args(["--binary", env!("CARGO_BIN_EXE_chat-gateway")])
            .args(args)
            .output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(sentence), "{args:?}: {said}");
    }
}
