//! No test lasts for ever. Each wait has a limit of its own that says what it was for; this is for the one that has not.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, OnceLock},
    thread,
    time::{Duration, Instant},
};

use crate::process::{serial, tail};

/// How long a test may have a cluster. The slowest need some minutes on a busy machine.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// A test and what it has started; it is over when this is dropped.
pub(crate) struct Running(u32);

struct Test {
    name: String,
    folder: PathBuf,
    until: Instant,
}

static TESTS: OnceLock<(Mutex<HashMap<u32, Test>>, Condvar)> = OnceLock::new();

impl Running {
    /// The test of this thread, and the folder of its logs. Benches, which run in `main`, may last.
    pub(crate) fn begin(folder: &Path) -> Option<Self> {
        Self::within(LIMIT, folder)
    }

    fn within(limit: Duration, folder: &Path) -> Option<Self> {
        let name = thread::current().name()?.to_owned();
        if name == "main" {
            return None;
        }
        let (tests, more) = TESTS.get_or_init(|| {
            let watch = thread::Builder::new().name("testkit-overdue".into());
            watch.spawn(watch_over).expect("a thread");
            Default::default()
        });
        let test = Test {
            name,
            folder: folder.to_owned(),
            until: Instant::now() + limit,
        };
        let number = serial();
        lock(tests).insert(number, test);
        more.notify_one();
        Some(Self(number))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some((tests, _)) = TESTS.get() {
            lock(tests).remove(&self.0);
        }
    }
}

fn lock(tests: &Mutex<HashMap<u32, Test>>) -> MutexGuard<'_, HashMap<u32, Test>> {
    tests.lock().unwrap_or_else(|e| e.into_inner())
}

/// Ends the process when a test is overdue, for nothing else ends a test; and says which, and what its servers said last.
fn watch_over() {
    let (tests, more) = TESTS.wait();
    let mut running = lock(tests);
    loop {
        if let Some(test) = running.values().find(|test| test.until <= Instant::now()) {
            let files = fs::read_dir(&test.folder).into_iter().flatten().flatten();
            let logs = files
                .map(|file| file.path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "log"));
            let logs: String = logs.map(|log| tail(&log)).collect();
            // Not by a macro: what those print is kept until the test ends.
            let _ = writeln!(
                io::stderr(),
                "{} waits for ever, past its limit\n{logs}",
                test.name
            );
            std::process::abort();
        }
        let wait = more.wait_timeout(running, Duration::from_secs(1));
        running = wait.unwrap_or_else(|e| e.into_inner()).0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{command, ended};

    #[tokio::test]
    async fn a_test_that_waits_for_ever_is_named_and_ended() {
        if std::env::var_os("FOR_EVER").is_some() {
            let _running = Running::within(Duration::from_millis(10), Path::new("/nowhere"));
            return std::future::pending().await;
        }
        let name = "overdue::tests::a_test_that_waits_for_ever_is_named_and_ended";
        let mut me = command(std::env::current_exe().expect("a path"));
        me.args(["--exact", name]).env("FOR_EVER", "1");
        let ended = ended("the test that waits", Duration::from_secs(20), me).await;
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success());
        assert!(said.contains(&format!("{name} waits for ever")), "{said}");
    }
}
