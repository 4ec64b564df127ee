//! What the database's failures say of it: what was wrong, since when, and one line in the log for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use strum::VariantArray;

use super::StoreError;
use crate::health::Dependency;

/// A cause that goes on is told so often.
const AGAIN: Duration = Duration::from_secs(60);

/// Why the database did not do it, as operators tell outages apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, VariantArray, thiserror::Error)]
pub enum Cause {
    #[error("connection refused")]
    Refused,
    #[error("the server cannot be reached")]
    Unreachable,
    #[error("no answer within our time limit")]
    TimedOut,
    #[error("all connections of the pool are in use")]
    Busy,
    #[error("the connection broke")]
    Broken,
    #[error("the server is read-only")]
    ReadOnly,
    #[error("the server is starting or shutting down")]
    Stopping,
    #[error("the server lets us not in")]
    Rejected,
    #[error("a counter is behind its table, `chat-gateway migrate --check` says which")]
    Behind,
    #[error("a statement does not fit the schema, or our rights in it")]
    Schema,
    #[error("another error of the server")]
    Other,
    #[error("the store is closed")]
    Closed,
}

impl Cause {
    /// As metrics say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Busy => "busy",
            Self::Broken => "broken",
            Self::ReadOnly => "read_only",
            Self::Stopping => "stopping",
            Self::Rejected => "rejected",
            Self::Behind => "behind",
            Self::Schema => "schema",
            Self::Other => "other",
            Self::Closed => "closed",
        }
    }

    /// The server did not answer, or will not do what we need: not one statement's fault.
    const fn is_outage(self) -> bool {
        !matches!(self, Self::Behind | Self::Schema | Self::Other | Self::Closed)
    }

    pub(super) fn of(e: &sqlx::Error) -> Self {
        use std::io::ErrorKind;
        match e {
            sqlx::Error::Database(e) => e.code().map_or(Self::Other, |code| Self::of_code(&code)),
            sqlx::Error::Io(e) => match e.kind() {
                ErrorKind::ConnectionRefused => Self::Refused,
                ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof => Self::Broken,
                _ => Self::Unreachable,
            },
            sqlx::Error::Tls(_) => Self::Rejected,
            sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => Self::Broken,
            sqlx::Error::PoolTimedOut => Self::Busy,
            sqlx::Error::PoolClosed => Self::Closed,
            _ => Self::Other,
        }
    }

    /// From a SQLSTATE.
    fn of_code(code: &str) -> Self {
        match code {
            "25006" => Self::ReadOnly,
            code if code.starts_with("57P") => Self::Stopping,
            code if code.starts_with("08") => Self::Broken,
            "53300" | "3D000" | "55000" => Self::Rejected,
            code if code.starts_with("28") => Self::Rejected,
            code if code.starts_with("42") => Self::Schema,
            _ => Self::Other,
        }
    }
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outages(Arc<Known>);

#[derive(Debug)]
struct Known {
    /// Beside `state`, for those who only ask whether it is up.
    down: AtomicBool,
    state: Mutex<Dependency>,
    /// It answers, and takes no writes: an answer to a read does not end the outage.
    read_only: AtomicBool,
    /// The log has an outage whose end it does not have.
    to_end: AtomicBool,
    counts: [AtomicU64; Cause::VARIANTS.len()],
    told: Mutex<HashMap<Cause, Told>>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    since: u64,
}

impl Default for Outages {
    /// It has answered already, or there would be no store.
    fn default() -> Self {
        Self(Arc::new(Known {
            down: AtomicBool::new(false),
            state: Mutex::new(Dependency::now(true)),
            read_only: AtomicBool::new(false),
            to_end: AtomicBool::new(false),
            counts: Default::default(),
            told: Mutex::default(),
        }))
    }
}

impl Outages {
    pub fn state(&self) -> Dependency {
        *self.0.state.lock()
    }

    pub fn is_up(&self) -> bool {
        !self.0.down.load(Ordering::Relaxed)
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.0.read_only.load(Ordering::Relaxed)
    }

    /// How often each cause was met.
    pub fn counts(&self) -> impl Iterator<Item = (Cause, u64)> {
        let count = |cause: &Cause| (*cause, self.0.counts[*cause as usize].load(Ordering::Relaxed));
        Cause::VARIANTS.iter().map(count)
    }

    /// What came of some work.
    pub(super) fn note(&self, error: Option<&StoreError>) {
        let Some(cause) = error.and_then(StoreError::cause) else {
            if !self.is_up() && !self.is_read_only() {
                self.end();
            }
            return;
        };
        self.0.counts[cause as usize].fetch_add(1, Ordering::Relaxed);
        if cause == Cause::ReadOnly {
            self.0.read_only.store(true, Ordering::Relaxed);
        }
        if cause.is_outage() {
            self.0.down.store(true, Ordering::Relaxed);
            self.0.state.lock().note(false);
        }
        if cause != Cause::Closed {
            self.tell(cause, error);
        }
    }

    /// The server takes writes, as far as it says.
    pub(super) fn writable(&self) {
        self.0.read_only.store(false, Ordering::Relaxed);
        if !self.is_up() {
            self.end();
        }
    }

    fn end(&self) {
        if self.0.down.swap(false, Ordering::Relaxed) {
            self.0.state.lock().note(true);
            // Where single pieces of work fail among others, each of those would say so.
            if self.0.to_end.swap(false, Ordering::Relaxed) {
                tracing::info!("the database answers again");
            }
        }
    }

    fn tell(&self, cause: Cause, error: Option<&StoreError>) {
        let mut told = self.0.told.lock();
        let again = match told.get_mut(&cause) {
            Some(told) if told.at.elapsed() < AGAIN => {
                told.since += 1;
                return;
            }
            Some(told) => told.since,
            None => 0,
        };
        told.insert(
            cause,
            Told {
                at: Instant::now(),
                since: 0,
            },
        );
        drop(told);
        self.0.to_end.store(true, Ordering::Relaxed);
        let detail = error.map(ToString::to_string).unwrap_or_default();
        tracing::error!(%cause, detail, failures_since = again, "the database does not do what it should");
    }
}
