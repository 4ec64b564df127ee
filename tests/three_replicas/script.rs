//! The script, the processes that it has started, and what it prints.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::session::Session;

static NEXT: AtomicU16 = AtomicU16::new(0);

pub struct Script {
    pub process: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    port: u16,
    replica_port: u16,
    pub prometheus_port: u16,
    _data: tempfile::TempDir,
}

impl Script {
    /// With this collector as the `otelcol` that is installed, and more environment variables.
    pub fn start(collector: Option<&Path>, settings: &[(&str, &str)]) -> Self {
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
        let mut process =
            testkit::command(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/three-replicas"))
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
    pub async fn prints(&mut self, part: &str) -> String {
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

    pub fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://127.0.0.1:{}/api/v1{path}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The processes that the script started, by id.
    pub fn children(&self) -> Vec<u32> {
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

    pub fn replica(&self, n: u16) -> u32 {
        let setting = format!("LISTEN_ADDR=127.0.0.1:{}", self.replica_port + n - 1);
        let has = |pid: &u32| has_setting(*pid, &setting);
        self.children().into_iter().find(has).expect("the replica runs")
    }

    /// The process of this program.
    pub fn child(&self, program: &Path) -> Option<u32> {
        let program = program.canonicalize().expect("it is there");
        let runs = |pid: &u32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program);
        self.children().into_iter().find(runs)
    }

    pub async fn ends_at_ctrl_c(mut self, sessions: &mut [Session]) {
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

pub fn has_setting(pid: u32, setting: &str) -> bool {
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
pub fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

pub async fn signal(name: &str, pid: u32) {
    let mut kill = testkit::command("kill");
    kill.args(["-s", name, &pid.to_string()]);
    let sent = testkit::ended("kill", PATIENCE, kill).await;
    assert!(sent.status.success());
}
