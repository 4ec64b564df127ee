//! SQL from tests, through psql: what a test does to the database must not depend on the code under test.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::{
    postgres::program,
    process::{bound_to_us, spawn},
};

/// psql on a database: unaligned tuples only, stops at the first error, and at what takes longer than a minute.
pub(crate) fn psql(url: &str) -> Command {
    let mut command = bound_to_us(&program("psql"), "KILL");
    command
        .env("PGCONNECT_TIMEOUT", "60")
        .env("PGOPTIONS", "-c statement_timeout=60s");
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url]);
    command
}

/// One connection that stays open, to hold a lock or a transaction while the test looks at the servers. Dropped, it
/// rolls back.
pub struct SqlSession {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl SqlSession {
    pub(crate) fn open(url: &str) -> Self {
        let mut command = psql(url);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = spawn(command).expect("psql starts");
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, stdin, stdout }
    }

    /// Runs statements and returns their rows once they have ended. Blocks its thread: meant for short statements.
    pub fn run(&mut self, sql: &str) -> String {
        const END: &str = "testkit-statement-has-ended";
        writeln!(self.stdin, "{sql};\n\\echo {END}").expect("psql reads");
        self.stdin.flush().expect("psql reads");
        let mut rows = String::new();
        loop {
            let mut line = String::new();
            let read = self.stdout.read_line(&mut line).expect("psql writes");
            assert!(read > 0, "psql ended during: {sql}");
            if line.trim_end() == END {
                return rows.trim_end().to_owned();
            }
            rows.push_str(&line);
        }
    }
}

impl Drop for SqlSession {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
