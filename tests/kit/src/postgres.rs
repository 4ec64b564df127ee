//! Postgres: one server a test process (two when a bench asks for default durability), a database for each cluster.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use tokio::sync::OnceCell;

use crate::{
    process::{START_LIMIT, bound_to_us, free_port, isolated, run, scratch, serial, spawn, until},
    sql::psql,
};

pub(crate) struct Postgres {
    port: u16,
    // Held so that the process stays ours to end; the watchdog does when this process is gone.
    _child: Mutex<Child>,
}

impl Postgres {
    /// The server that all tests of this process share. Without `durable` a commit does not wait for the disk: no
    /// test kills Postgres, so only its speed changes.
    pub(crate) async fn shared(durable: bool) -> &'static Postgres {
        static FAST: OnceCell<Postgres> = OnceCell::const_new();
        static DURABLE: OnceCell<Postgres> = OnceCell::const_new();
        let cell = if durable { &DURABLE } else { &FAST };
        cell.get_or_init(|| Self::start(durable)).await
    }

    async fn start(durable: bool) -> Self {
        let folder = scratch().join(if durable { "postgres-durable" } else { "postgres" });
        let data = folder.join("data");
        fs::create_dir(&folder).expect("a folder for Postgres");
        let user = unprivileged();
        if let Some((_, uid, gid)) = &user {
            chown(&folder, Some(*uid), Some(*gid)).expect("root may chown");
        }
        let mut initdb = as_user(&user, &program("initdb"));
        initdb.args([
            "--no-sync",
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "-D",
        ]);
        initdb.arg(&data);
        run("initdb".into(), initdb).await;

        let port = free_port();
        let log = folder.join("log");
        let mut server = as_user(&user, &program("postgres"));
        server
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(&folder)
            .arg("-p")
            .arg(port.to_string());
        let mut settings = vec![
            "listen_addresses=127.0.0.1",
            "max_connections=300",
            "shared_buffers=128MB",
        ];
        if !durable {
            settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"]);
        }
        for setting in settings {
            server.arg("-c").arg(setting);
        }
        let output = fs::File::create(&log).expect("a log file");
        server
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a handle"))
            .stderr(output);
        let child = spawn(server).expect("Postgres starts");
        let this = Self {
            port,
            _child: Mutex::new(child),
        };
        let url = this.url("postgres");
        let ready = || async {
            let url = url.clone();
            tokio::task::spawn_blocking(move || {
                psql(&url)
                    .args(["-c", "SELECT 1"])
                    .output()
                    .is_ok_and(|o| o.status.success())
            })
            .await
            .unwrap_or(false)
        };
        until(
            &format!("Postgres answers (log: {})", log.display()),
            START_LIMIT,
            ready,
        )
        .await;
        this
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// A new, empty database; its URL.
    pub(crate) async fn database(&self) -> String {
        let name = format!("chat_{}", serial());
        let mut create = psql(&self.url("postgres"));
        create.args(["-c", &format!("CREATE DATABASE {name}")]);
        tokio::time::timeout(Duration::from_secs(60), run("CREATE DATABASE".into(), create))
            .await
            .expect("a database within a minute");
        self.url(&name)
    }
}

/// Postgres refuses to run as root: (name, uid, gid) of a user who may, when we are root.
fn unprivileged() -> Option<(String, u32, u32)> {
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

fn as_user(user: &Option<(String, u32, u32)>, program: &Path) -> Command {
    let Some((_, uid, gid)) = user else {
        return bound_to_us(program, "QUIT");
    };
    let mut command = Command::new("setpriv");
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
