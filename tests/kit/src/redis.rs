//! Redis: one server a cluster, so that a test may stop, flush or restart it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Mutex, MutexGuard},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;

use crate::process::{START_LIMIT, bound_to_us, free_port, run, scratch, serial, spawn, tail, until};

/// A Redis without persistence on a port that it keeps when it is stopped and started again.
pub struct RedisServer {
    port: u16,
    folder: PathBuf,
    arguments: &'static [&'static str],
    child: Mutex<Option<Child>>,
}

impl RedisServer {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more arguments, as `--cluster-enabled yes`.
    pub async fn start_with(arguments: &'static [&'static str]) -> Self {
        let folder = scratch().join(format!("redis-{}", serial()));
        fs::create_dir(&folder).expect("a folder for Redis");
        let this = Self {
            port: free_port(),
            folder,
            arguments,
            child: Mutex::new(None),
        };
        this.start_again().await;
        this
    }

    /// Starts it, empty, on the same port; it must be stopped.
    pub async fn start_again(&self) {
        let mut command = bound_to_us(Path::new("redis-server"), "KILL");
        command.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--daemonize",
            "no",
        ]);
        command
            .arg("--port")
            .arg(self.port.to_string())
            .arg("--dir")
            .arg(&self.folder)
            .args(self.arguments);
        let log = fs::File::create(self.log()).expect("a log file");
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log);
        let child = spawn(command).expect("redis-server starts");
        assert!(self.lock().replace(child).is_none(), "Redis was running");
        let answers = || async { TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() };
        until(
            &format!("Redis listens\n{}", tail(&self.log())),
            START_LIMIT,
            answers,
        )
        .await;
    }

    /// Ends it at once; what it held is gone.
    pub fn stop(&self) {
        if let Some(mut child) = self.lock().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGSTOP: it keeps its connections and answers nobody, until [`unfreeze`](Self::unfreeze).
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn unfreeze(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.lock();
        let id = child.as_ref().expect("Redis is running").id();
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("our own child");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs `redis-cli ARGS` and returns what it prints, one value a line.
    pub async fn cli(&self, args: &[&str]) -> String {
        let mut command = bound_to_us(Path::new("redis-cli"), "KILL");
        command.arg("-p").arg(self.port.to_string()).args(args);
        run(format!("redis-cli {args:?}"), command).await
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}
