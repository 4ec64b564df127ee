//! `deploy/three-replicas`, as a person runs it: through HAProxy, with a replica killed, until Ctrl-C.
#![cfg(test)]

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
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
    _data: tempfile::TempDir,
}

impl Script {
    fn start() -> Self {
        let [port, postgres, redis] = free_ports(&[0; 3]).expect("any three ports");
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
            .env("TMPDIR", data.path())
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
            _data: data,
        }
    }

    async fn prints(&mut self, part: &str) {
        let found = async {
            while let Some(line) = self.stdout.next_line().await.expect("it is UTF-8") {
                if line.contains(part) {
                    return;
                }
            }
            panic!("it ended without saying {part:?}");
        };
        timeout(PATIENCE, found)
            .await
            .unwrap_or_else(|_| panic!("it did not say {part:?}"));
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
        let has = |pid: &u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|&byte| byte == 0)
                .any(|entry| entry == setting.as_bytes())
        };
        self.children().into_iter().find(has).expect("the replica runs")
    }
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
    let mut script = Script::start();
    script.prints("three replicas are ready").await;
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

    let started = script.children();
    assert!(started.len() >= 6, "Postgres, Redis, HAProxy and three replicas");
    signal("INT", script.process.id().expect("it runs")).await;
    for session in &mut sessions {
        let event = session.next().await.expect("it is told before it is closed");
        assert_eq!(event["type"], "reconnect");
        assert_eq!(session.next().await, Err(1012));
    }
    let status = timeout(PATIENCE, script.process.wait())
        .await
        .expect("it ends")
        .unwrap();
    assert!(status.success());
    for pid in started {
        assert!(!runs(pid), "process {pid} was left running");
    }
}

#[tokio::test]
async fn what_it_started_ends_with_it_even_when_it_is_killed() {
    let mut script = Script::start();
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
