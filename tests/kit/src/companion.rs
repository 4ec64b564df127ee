//! Any other server that a test needs: a collector, a Prometheus.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use crate::process::{bound_to_us, scratch, serial, spawn, tail};

/// A server with a folder of its own. It ends with this value, or with the test process, however that ends.
pub struct Companion {
    process: Mutex<Child>,
    folder: PathBuf,
}

impl Companion {
    /// A new folder, for what the server is to be started with.
    pub fn folder(name: &str) -> PathBuf {
        let folder = scratch().join(format!("{name}-{}", serial()));
        fs::create_dir(&folder).expect("a folder");
        folder
    }

    /// Starts a program inside its folder; what it says goes to `log` there.
    pub fn start(program: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>, folder: PathBuf) -> Self {
        let mut command = bound_to_us(program, "KILL");
        command.args(args);
        Self::run(program, command, folder)
    }

    pub(crate) fn run(program: &Path, mut command: Command, folder: PathBuf) -> Self {
        let log = File::create(folder.join("log")).expect("a log");
        command
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log"))
            .stderr(log);
        let process = spawn(command).unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        Self {
            process: Mutex::new(process),
            folder,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The end of its log, for a failure's message.
    pub fn log_tail(&self) -> String {
        tail(&self.path("log"))
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        if let Ok(process) = self.process.get_mut() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
