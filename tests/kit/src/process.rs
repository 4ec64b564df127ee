//! Child processes that cannot outlive the test process nor keep a test for ever, the folder they live in, and the ports
//! they listen on.

use std::{
    ffi::OsStr,
    fs,
    future::Future,
    io::{self, Read, Seek, SeekFrom},
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// How long anything may take to start: generous, because CI machines are slow and shared.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a program may take that does its work and ends.
const RUN_LIMIT: Duration = Duration::from_secs(120);

/// How long an answer over HTTP may take.
const HTTP_LIMIT: Duration = Duration::from_secs(60);

/// Waits until `condition` holds, asking every 20 ms; panics after `limit` naming what did not happen.
pub async fn until<F, Fut>(what: &str, limit: Duration, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let deadline = Instant::now() + limit;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A command whose process has the default action for every signal. Who runs tests in the background of a script, or under
/// nohup, ignores some, and a child inherits that: it would wait for its Ctrl-C for ever.
pub fn command(program: impl AsRef<OsStr>) -> tokio::process::Command {
    with_default_signals(program).into()
}

#[expect(clippy::disallowed_methods, reason = "it is what they are to call")]
pub(crate) fn with_default_signals(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal").arg(program);
    command
}

/// Runs a command to its end, which has to come within `limit`; else it is killed, and the test fails.
#[expect(clippy::disallowed_methods, reason = "it is what they are to call")]
pub async fn ended(what: &str, limit: Duration, command: impl Into<tokio::process::Command>) -> Output {
    let mut command = command.into();
    command.stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(limit, command.output())
        .await
        .unwrap_or_else(|_| panic!("not ended within {limit:?}: {what}"))
        .unwrap_or_else(|e| panic!("{what}: cannot start: {e}"))
}

/// A client over HTTP that waits for an answer for a while, not for ever.
pub fn http() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().timeout(HTTP_LIMIT);
    builder.build().expect("a client")
}

/// A command whose process is sent `signal` when the test process ends, however it ends.
///
/// The kernel sends it when the *thread* that forked ends, so all forks go through one thread that never does.
pub(crate) fn bound_to_us(program: &Path, signal: &str) -> Command {
    let mut command = with_default_signals("setpriv");
    command
        .arg(format!("--pdeathsig={signal}"))
        .arg("--")
        .arg(program);
    isolated(&mut command);
    command
}

/// Clears the environment but for what a process needs to run at all.
pub(crate) fn isolated(command: &mut Command) {
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // A group of its own: Ctrl-C in a terminal reaches the test process, and by its end the children.
    command.env("LC_ALL", "C.UTF-8").process_group(0);
}

type Fork = (Command, mpsc::SyncSender<io::Result<Child>>);

/// Spawns from the one thread that lives as long as the process.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static FORKS: OnceLock<mpsc::SyncSender<Fork>> = OnceLock::new();
    let forks = FORKS.get_or_init(|| {
        let (sender, receiver) = mpsc::sync_channel::<Fork>(1);
        thread::Builder::new()
            .name("testkit-spawner".into())
            .spawn(move || {
                for (mut command, answer) in receiver {
                    let _ = answer.send(command.spawn());
                }
            })
            .expect("a thread");
        sender
    });
    let (answer, result) = mpsc::sync_channel(1);
    forks.send((command, answer)).expect("the spawner lives");
    result.recv_timeout(START_LIMIT).expect("the spawner answers")
}

/// Runs a command of the kit's to its end; panics with its stderr when it fails.
pub(crate) async fn run(what: String, command: impl Into<tokio::process::Command>) -> String {
    let output = ended(&what, RUN_LIMIT, command).await;
    let stdout = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{what}: {}\n{stdout}\n{stderr}",
        output.status
    );
    stdout
}

/// Stops Postgres (which runs as another user) and removes the folder once standard input ends, which is when the
/// test process has ended. It ignores the signals that a terminal sends to everybody.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP QUIT
cat >/dev/null
running() { ls "$0"/*/data/postmaster.pid 2>/dev/null; }
for file in $(running); do kill -QUIT "$(head -n 1 "$file")" 2>/dev/null; done
tries=0
while [ -n "$(running)" ] && [ "$tries" -lt 50 ]; do tries=$((tries + 1)); sleep 0.1; done
[ -n "$KEEP" ] || rm -rf "$0"
"#;

/// The folder of everything this test process starts. TESTKIT_KEEP=1 leaves it for looking at the logs.
pub(crate) fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<(PathBuf, Mutex<Child>)> = OnceLock::new();
    let (path, _) = SCRATCH.get_or_init(|| {
        let path = tempfile::Builder::new()
            .prefix("testkit-")
            // Postgres, as another user, has to get through.
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("a temporary folder")
            .keep();
        let mut watchdog = with_default_signals("sh");
        isolated(&mut watchdog);
        watchdog.arg("-c").arg(WATCHDOG).arg(&path);
        if std::env::var_os("TESTKIT_KEEP").is_some() {
            eprintln!("testkit keeps {}", path.display());
            watchdog.env("KEEP", "1");
        }
        watchdog
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Held for its end of the pipe.
        (path, Mutex::new(spawn(watchdog).expect("sh starts")))
    });
    path
}

/// A number for names that are unique in this process.
pub(crate) fn serial() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A port that nobody listens on, below the range from which the kernel takes ports for outgoing connections: a
/// client must not sit on the port of a replica that is about to be started again.
pub fn free_port() -> u16 {
    const LOW: u32 = 12_000;
    const COUNT: u32 = 20_000;
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    // Test processes that run side by side begin far from each other.
    let next = NEXT.get_or_init(|| AtomicU32::new(std::process::id().wrapping_mul(7_919) % COUNT));
    for _ in 0..COUNT {
        let port = (LOW + next.fetch_add(1, Ordering::Relaxed) % COUNT) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// The last lines of a log file, for a failure's message.
pub(crate) fn tail(path: &Path) -> String {
    const BYTES: u64 = 8 << 10;
    let Ok(mut file) = fs::File::open(path) else {
        return format!("(no log at {})", path.display());
    };
    let length = file.metadata().map_or(0, |m| m.len());
    let mut bytes = Vec::new();
    let _ = file.seek(SeekFrom::Start(length.saturating_sub(BYTES)));
    let _ = file.read_to_end(&mut bytes);
    format!(
        "--- end of {}\n{}",
        path.display(),
        String::from_utf8_lossy(&bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a child ignores of the signals that have a name: SigIgn of proc(5), a bit each. The others are libc's own.
    async fn ignored(mut command: tokio::process::Command) -> u64 {
        command.args(["-c", "sed -n 's/^SigIgn:[[:space:]]*//p' /proc/self/status"]);
        let mask = run("sh".into(), command).await;
        u64::from_str_radix(&mask, 16).expect("a mask") & 0x7FFF_FFFF
    }

    #[tokio::test]
    async fn children_ignore_no_signal_whatever_we_ignore() {
        assert_eq!(ignored(command("sh")).await, 0);
        assert_eq!(ignored(bound_to_us(Path::new("sh"), "KILL").into()).await, 0);
        // Once more by a test process that was started with some of them ignored, as in the background of a script.
        if std::env::var_os("IGNORES").is_none() {
            let mut again = command("env");
            let me = std::env::current_exe().expect("a path");
            let name = "process::tests::children_ignore_no_signal_whatever_we_ignore";
            again
                .args(["--ignore-signal=HUP,INT,QUIT,TERM", "IGNORES=1"])
                .arg(me);
            again.args(["--exact", name]);
            run("the test once more".into(), again).await;
        }
    }

    #[tokio::test]
    #[should_panic(expected = "not ended within 100ms: sleep")]
    async fn what_does_not_end_is_said() {
        let mut sleep = command("sleep");
        sleep.arg("60");
        ended("sleep", Duration::from_millis(100), sleep).await;
    }
}
