//! Postgres: one server a test process (two when a bench asks for default durability), a database for each cluster; and
//! servers of a test's own, to be stopped, copied, put back and promoted.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::OnceCell;

use crate::{
    process::{
        START_LIMIT, bound_to_us, ended, free_port, isolated, run, scratch, serial, spawn, until,
        with_default_signals,
    },
    sql::psql,
};

/// How safe a commit is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// It waits for the disk.
    Default,
    /// It outlives the server's death, not the machine's.
    Process,
    /// It is fast.
    None,
}

impl Durability {
    const fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Default => &[],
            Self::Process => &["fsync=off"],
            Self::None => &["fsync=off", "synchronous_commit=off", "full_page_writes=off"],
        }
    }
}

/// A Postgres. Dropped, it ends as by [`stop`](Self::stop); it does with the test process too, however that ends.
pub struct PostgresServer {
    /// Has the data in `data`, by which the watchdog finds it.
    folder: PathBuf,
    port: u16,
    durability: Durability,
    user: Option<(String, u32, u32)>,
    child: Mutex<Option<Child>>,
}

/// What a Postgres had at a moment, to be put back.
pub struct OlderCopy(PathBuf);

impl PostgresServer {
    /// The server that all tests of this process share. Without `durable` a commit does not wait for the disk: no
    /// test stops this one, so only its speed changes.
    pub(crate) async fn shared(durable: bool) -> &'static Self {
        static FAST: OnceCell<PostgresServer> = OnceCell::const_new();
        static DURABLE: OnceCell<PostgresServer> = OnceCell::const_new();
        let (cell, durability) = match durable {
            true => (&DURABLE, Durability::Default),
            false => (&FAST, Durability::None),
        };
        cell.get_or_init(|| Self::initialised(durability)).await
    }

    /// A server of a test's own. What it has committed outlives its process.
    pub async fn start() -> Self {
        Self::initialised(Durability::Process).await
    }

    async fn initialised(durability: Durability) -> Self {
        let this = Self::new(durability);
        let mut initdb = as_user(&this.user, &program("initdb"));
        initdb.args([
            "--no-sync",
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "-D",
        ]);
        initdb.arg(this.data());
        run("initdb".into(), initdb).await;
        this.start_again().await;
        this
    }

    /// A folder and a port, nothing more yet.
    fn new(durability: Durability) -> Self {
        let folder = scratch().join(format!("postgres-{}", serial()));
        fs::create_dir(&folder).expect("a folder for Postgres");
        let user = unprivileged();
        if let Some((_, uid, gid)) = &user {
            chown(&folder, Some(*uid), Some(*gid)).expect("root may chown");
        }
        Self {
            folder,
            port: free_port(),
            durability,
            user,
            child: Mutex::new(None),
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Starts it on its port, with the data that it has, and waits until it answers.
    pub async fn start_again(&self) {
        let log = self.folder.join("log");
        let mut server = as_user(&self.user, &program("postgres"));
        server
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(&self.folder)
            .arg("-p")
            .arg(self.port.to_string());
        let always = [
            "listen_addresses=127.0.0.1",
            "max_connections=300",
            "shared_buffers=128MB",
        ];
        for setting in always.iter().chain(self.durability.settings()) {
            server.arg("-c").arg(setting);
        }
        let output = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log file");
        server
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a handle"))
            .stderr(output);
        let child = spawn(server).expect("Postgres starts");
        assert!(self.lock().replace(child).is_none(), "Postgres was running");
        let url = self.url("postgres");
        let ready = || async {
            let mut asks = psql(&url);
            asks.args(["-c", "SELECT 1"]);
            ended("SELECT 1", START_LIMIT, asks).await.status.success()
        };
        until(
            &format!("Postgres answers (log: {})", log.display()),
            START_LIMIT,
            ready,
        )
        .await;
    }

    /// A new, empty database; its URL.
    pub async fn database(&self) -> String {
        let name = format!("chat_{}", serial());
        self.sql(&format!("CREATE DATABASE {name}")).await;
        self.url(&name)
    }

    /// Runs SQL in the database `postgres`.
    pub async fn sql(&self, sql: &str) -> String {
        let mut command = psql(&self.url("postgres"));
        command.args(["-c", sql]);
        run(sql.into(), command).await
    }

    /// Ends it at once, as `pg_ctl stop -m immediate` does: its connections break, its port refuses.
    pub async fn stop(&self) {
        let child = self.lock().take().expect("Postgres was running");
        tokio::task::spawn_blocking(move || quit(child))
            .await
            .expect("no panic");
    }

    /// What it has now, of all databases.
    pub async fn copy(&self) -> OlderCopy {
        let copy = self.folder.join(format!("copy-{}", serial()));
        self.back_up(&copy, &[]).await;
        OlderCopy(copy)
    }

    /// Ends it, and starts it again on the same port from an older copy: what was committed since is gone.
    pub async fn put_back(&self, copy: &OlderCopy) {
        self.replace(copy).await;
        self.start_again().await;
    }

    /// As [`put_back`](Self::put_back), and goes on from the copy as these settings say, until it takes writes.
    pub async fn recover(&self, copy: &OlderCopy, settings: &str) {
        self.replace(copy).await;
        // What is appended there wins.
        let file = self.data().join("postgresql.auto.conf");
        let before = fs::read_to_string(&file).expect("its settings");
        fs::write(&file, before + settings).expect("its settings");
        fs::write(self.data().join("recovery.signal"), "").expect("its data");
        self.start_again().await;
        until("it has recovered", START_LIMIT, || async {
            self.sql("SELECT pg_is_in_recovery()").await == "f"
        })
        .await;
    }

    async fn replace(&self, copy: &OlderCopy) {
        if self.is_running() {
            self.stop().await;
        }
        fs::remove_dir_all(self.data()).expect("its data can go");
        let mut cp = as_user(&self.user, Path::new("cp"));
        cp.arg("-a").arg(&copy.0).arg(self.data());
        run("cp".into(), cp).await;
    }

    /// A folder that it may write to.
    pub async fn folder_of_its_own(&self, name: &str) -> PathBuf {
        let folder = self.folder.join(name);
        let mut mkdir = as_user(&self.user, Path::new("mkdir"));
        mkdir.arg(&folder);
        run("mkdir".into(), mkdir).await;
        folder
    }

    /// A hot standby on a port of its own: it follows, and answers writes with SQLSTATE 25006 until it is promoted.
    pub async fn standby(&self) -> Self {
        let standby = Self::new(self.durability);
        self.back_up(&standby.data(), &["--write-recovery-conf"]).await;
        standby.start_again().await;
        standby
    }

    /// Waits until a standby has replayed all that this server has written until now.
    pub async fn followed_by(&self, standby: &Self) {
        let written = self.sql("SELECT pg_current_wal_lsn()").await;
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        until("the standby has caught up", START_LIMIT, || async {
            standby.sql(&replayed).await == "t"
        })
        .await;
    }

    /// Makes a standby a server of its own, and waits until it takes writes.
    pub async fn promote(&self) {
        assert_eq!(self.sql("SELECT pg_promote(true, 60)").await, "t", "promoted");
    }

    async fn back_up(&self, to: &Path, options: &[&str]) {
        let mut command = as_user(&self.user, &program("pg_basebackup"));
        command
            .args(["--checkpoint=fast", "--wal-method=stream", "--no-sync", "-d"])
            .arg(self.url("postgres"))
            .args(options)
            .arg("-D")
            .arg(to);
        run("pg_basebackup".into(), command).await;
    }

    pub fn is_running(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let child = self.lock().take();
        child.into_iter().for_each(quit);
    }
}

/// SIGQUIT is Postgres' immediate shutdown: it kills what does not end within seconds.
fn quit(mut child: Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let _ = kill_process(pid.expect("a pid"), Signal::QUIT);
    let _ = child.wait();
}

/// Postgres refuses to run as root: (name, uid, gid) of a user who may, when we are root.
pub(crate) fn unprivileged() -> Option<(String, u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let find = |name: &str| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then_some(())?;
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            Some((name.to_owned(), uid, gid))
        })
    };
    Some(
        find("postgres")
            .or_else(|| find("nobody"))
            .expect("a user postgres or nobody"),
    )
}

pub(crate) fn as_user(user: &Option<(String, u32, u32)>, program: &Path) -> Command {
    let Some((_, uid, gid)) = user else {
        return bound_to_us(program, "QUIT");
    };
    let mut command = with_default_signals("setpriv");
    command
        .arg(format!("--reuid={uid}"))
        .arg(format!("--regid={gid}"))
        .arg("--clear-groups");
    command.args(["--pdeathsig=QUIT", "--"]).arg(program);
    isolated(&mut command);
    command.current_dir("/");
    command
}

/// A program of the newest Postgres that is installed; Debian keeps the servers off PATH.
pub(crate) fn program(name: &str) -> PathBuf {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| {
            entries
                .flatten()
                .map(|e| e.path().join("bin").join(name))
                .collect()
        })
        .unwrap_or_default();
    versions.retain(|path| path.exists());
    versions.sort();
    versions.pop().unwrap_or_else(|| PathBuf::from(name))
}
