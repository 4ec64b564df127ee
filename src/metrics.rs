//! Every number that the process counts, in one place; `/metrics` prints them for Prometheus.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::protocol::{Close, ErrorType};

/// The counters of this process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    sessions: AtomicI64,
    joins: AtomicU64,
    resumes_refused: AtomicU64,
    catch_up_reads: AtomicU64,
    messages: AtomicU64,
    deliveries: AtomicU64,
    delivered_bytes: AtomicU64,
    commits: AtomicU64,
    commits_failed: AtomicU64,
    committed: AtomicU64,
    commit_micros: AtomicU64,
    relay_published: AtomicU64,
    relay_received: AtomicU64,
    relay_dropped: AtomicU64,
    relay_unreadable: AtomicU64,
    relay_connected: AtomicI64,
    relay_round_trip_micros: AtomicU64,
    connections: AtomicI64,
    connections_refused: AtomicU64,
    closes: [AtomicU64; CLOSES.len()],
    refusals: [AtomicU64; ERRORS.len()],
}

const CLOSES: [Close; 12] = [
    Close::Done,
    Close::ProtocolError,
    Close::NotUtf8,
    Close::FrameTooLarge,
    Close::Leaving,
    Close::NoRoom,
    Close::Malformed,
    Close::TokenExpired,
    Close::ReadOnly,
    Close::NoSignOfLife,
    Close::TooFarBehind,
    Close::RateExceeded,
];

const ERRORS: [ErrorType; 6] = [
    ErrorType::BadBinding,
    ErrorType::TextTooLong,
    ErrorType::RateLimited,
    ErrorType::Overloaded,
    ErrorType::Unavailable,
    ErrorType::Internal,
];

impl Metrics {
    pub fn session_opened(&self) {
        self.0.sessions.fetch_add(1, Relaxed);
        self.0.joins.fetch_add(1, Relaxed);
    }

    /// `why` is `None` where the connection just ended.
    pub fn session_closed(&self, why: Option<Close>) {
        self.0.sessions.fetch_sub(1, Relaxed);
        if let Some(n) = why.and_then(|why| CLOSES.iter().position(|known| *known == why)) {
            self.0.closes[n].fetch_add(1, Relaxed);
        }
    }

    pub fn resume_refused(&self) {
        self.0.resumes_refused.fetch_add(1, Relaxed);
    }

    /// A session was fed from the store.
    pub fn catch_up_read(&self) {
        self.0.catch_up_reads.fetch_add(1, Relaxed);
    }

    pub fn message_taken(&self) {
        self.0.messages.fetch_add(1, Relaxed);
    }

    /// Frames and bytes that one write gave to the kernel.
    pub fn delivered(&self, frames: usize, bytes: usize) {
        self.0.deliveries.fetch_add(frames as u64, Relaxed);
        self.0.delivered_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// A command or a request was refused with this type.
    pub fn refused(&self, with: ErrorType) {
        if let Some(n) = ERRORS.iter().position(|known| *known == with) {
            self.0.refusals[n].fetch_add(1, Relaxed);
        }
    }

    pub fn journal_batch(&self, messages: usize, took: Duration, committed: bool) {
        self.0.commit_micros.fetch_add(took.as_micros() as u64, Relaxed);
        match committed {
            true => {
                self.0.commits.fetch_add(1, Relaxed);
                self.0.committed.fetch_add(messages as u64, Relaxed);
            }
            false => drop(self.0.commits_failed.fetch_add(1, Relaxed)),
        }
    }

    pub fn relay_published(&self, messages: usize) {
        self.0.relay_published.fetch_add(messages as u64, Relaxed);
    }

    pub fn relay_dropped(&self, messages: usize) {
        self.0.relay_dropped.fetch_add(messages as u64, Relaxed);
    }

    pub fn relay_received(&self) {
        self.0.relay_received.fetch_add(1, Relaxed);
    }

    pub fn relay_unreadable(&self) {
        self.0.relay_unreadable.fetch_add(1, Relaxed);
    }

    pub fn relay_connected(&self, connected: bool) {
        self.0.relay_connected.store(connected.into(), Relaxed);
    }

    /// From a heartbeat's publishing until it was heard.
    pub fn relay_round_trip(&self, took: Duration) {
        self.0
            .relay_round_trip_micros
            .store(took.as_micros() as u64, Relaxed);
    }

    pub fn connection_opened(&self) {
        self.0.connections.fetch_add(1, Relaxed);
    }

    pub fn connection_closed(&self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }

    /// The process had no file descriptor for a connection.
    pub fn connection_refused(&self) {
        self.0.connections_refused.fetch_add(1, Relaxed);
    }

    /// How many sessions are open.
    pub fn sessions(&self) -> i64 {
        self.0.sessions.load(Relaxed)
    }

    /// In the text format of Prometheus. `gauges` are values that others hold.
    pub fn render(&self, gauges: &[(&str, &str, usize)]) -> String {
        let c = &*self.0;
        let seconds = |micros: &AtomicU64| micros.load(Relaxed) as f64 / 1e6;
        let mut out = String::with_capacity(4096);
        let mut put = |name: &str, kind: &str, help: &str, value: f64| {
            // Writing to a String has no way to fail.
            let _ = write!(
                out,
                "# HELP chat_{name} {help}\n# TYPE chat_{name} {kind}\nchat_{name} {value}\n"
            );
        };
        let count = |value: &AtomicU64| value.load(Relaxed) as f64;
        put(
            "sessions",
            "gauge",
            "Open sessions.",
            c.sessions.load(Relaxed) as f64,
        );
        put(
            "connections",
            "gauge",
            "Open TCP connections.",
            c.connections.load(Relaxed) as f64,
        );
        put(
            "connections_refused_total",
            "counter",
            "Connections refused for want of descriptors.",
            count(&c.connections_refused),
        );
        put(
            "joins_total",
            "counter",
            "Sessions that joined a room.",
            count(&c.joins),
        );
        put(
            "resumes_refused_total",
            "counter",
            "Joins answered with recovered: false.",
            count(&c.resumes_refused),
        );
        put(
            "catch_up_reads_total",
            "counter",
            "Pages read from the store for one session.",
            count(&c.catch_up_reads),
        );
        put(
            "messages_total",
            "counter",
            "Messages taken from clients.",
            count(&c.messages),
        );
        put(
            "deliveries_total",
            "counter",
            "Frames of messages written to sessions.",
            count(&c.deliveries),
        );
        put(
            "delivered_bytes_total",
            "counter",
            "Bytes of messages written to sessions.",
            count(&c.delivered_bytes),
        );
        put(
            "journal_commits_total",
            "counter",
            "Batches committed.",
            count(&c.commits),
        );
        put(
            "journal_commits_failed_total",
            "counter",
            "Batches that could not be committed.",
            count(&c.commits_failed),
        );
        put(
            "journal_committed_total",
            "counter",
            "Messages committed.",
            count(&c.committed),
        );
        put(
            "journal_commit_seconds_total",
            "counter",
            "Time spent in commits.",
            seconds(&c.commit_micros),
        );
        put(
            "relay_published_total",
            "counter",
            "Messages given to Redis.",
            count(&c.relay_published),
        );
        put(
            "relay_received_total",
            "counter",
            "Messages heard from Redis.",
            count(&c.relay_received),
        );
        put(
            "relay_dropped_total",
            "counter",
            "Messages that Redis did not take.",
            count(&c.relay_dropped),
        );
        put(
            "relay_unreadable_total",
            "counter",
            "Pushes that are not an envelope of this version.",
            count(&c.relay_unreadable),
        );
        put(
            "relay_connected",
            "gauge",
            "1 while the relay hears Redis.",
            c.relay_connected.load(Relaxed) as f64,
        );
        put(
            "relay_round_trip_seconds",
            "gauge",
            "The last heartbeat's way through Redis.",
            seconds(&c.relay_round_trip_micros),
        );
        for (name, help, value) in gauges {
            put(name, "gauge", help, *value as f64);
        }
        out.push_str(
            "# HELP chat_closes_total Sessions closed by the server.\n# TYPE chat_closes_total counter\n",
        );
        for (close, value) in CLOSES.iter().zip(&c.closes) {
            let _ = writeln!(
                out,
                "chat_closes_total{{code=\"{}\"}} {}",
                close.code(),
                value.load(Relaxed)
            );
        }
        out.push_str(
            "# HELP chat_refusals_total Commands and requests refused.\n# TYPE chat_refusals_total counter\n",
        );
        for (error, value) in ERRORS.iter().zip(&c.refusals) {
            let _ = writeln!(
                out,
                "chat_refusals_total{{type=\"{}\"}} {}",
                error.name(),
                value.load(Relaxed)
            );
        }
        out
    }
}
