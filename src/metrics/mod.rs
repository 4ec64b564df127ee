//! Every number that the process counts, in one place: OpenTelemetry instruments, read by `/metrics` and by OTLP.
//! What is looked up when somebody asks is in `app::gauges`. Names, units and texts are the table in `deploy/README.md`.
//! No attribute is ever a room or a person.

mod exemplars;
mod labels;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, UpDownCounter};
use strum::VariantArray;

use crate::protocol::{Close, ErrorType};
use exemplars::Exemplars;
pub use exemplars::TraceId;
pub use labels::{Late, Limit, Unshared};

/// Bounds of latency histograms, in seconds.
static SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Bounds of a request's time, as the semantic conventions advise.
static REQUEST_SECONDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// Bounds of batch sizes, in messages.
const MESSAGES: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// The instruments of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Instruments>);

#[derive(Debug)]
struct Instruments {
    /// Of acks, deliveries, commits and requests.
    exemplars: [Exemplars; 4],
    sessions: UpDownCounter<i64>,
    joins: Counter<u64>,
    resumes_refused: Counter<u64>,
    catch_up_reads: Counter<u64>,
    closes: Counter<u64>,
    messages: Counter<u64>,
    refusals: Counter<u64>,
    limits_hit: Counter<u64>,
    limits_unshared: Counter<u64>,
    ack_seconds: Histogram<f64>,
    deliveries: Counter<u64>,
    delivered_bytes: Counter<u64>,
    delivery_seconds: Histogram<f64>,
    journal_batch: Histogram<u64>,
    journal_wait_seconds: Histogram<f64>,
    journal_commit_seconds: Histogram<f64>,
    journal_failures: Counter<u64>,
    relay_published: Counter<u64>,
    relay_received: Counter<u64>,
    relay_dropped: Counter<u64>,
    relay_forged: Counter<u64>,
    relay_unreadable: Counter<u64>,
    relay_connected: Gauge<u64>,
    relay_round_trip_seconds: Histogram<f64>,
    holes: Counter<u64>,
    repaired: Counter<u64>,
    went_back: Counter<u64>,
    head_lag: Gauge<u64>,
    connections: UpDownCounter<i64>,
    connections_refused: Counter<u64>,
    connections_cut: Counter<u64>,
    store_size: Gauge<u64>,
    store_messages: Gauge<u64>,
    store_wait_seconds: Histogram<f64>,
    password_seconds: Histogram<f64>,
    request_seconds: Histogram<f64>,
}

/// 1006 is what RFC 6455 §7.4.1 reserves for a connection that just ended.
fn close_code(why: Option<Close>) -> KeyValue {
    KeyValue::new("code", i64::from(why.map_or(1006, Close::code)))
}

impl Default for Metrics {
    /// Counts nothing.
    fn default() -> Self {
        Self::new(&opentelemetry::global::meter("none"))
    }
}

impl Metrics {
    pub fn new(meter: &Meter) -> Self {
        let counter = |name, text| meter.u64_counter(name).with_description(text).build();
        let gauge = |name, text| meter.u64_gauge(name).with_description(text).build();
        let level = |name, text| meter.i64_up_down_counter(name).with_description(text).build();
        let seconds = |name, text| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_boundaries(SECONDS.to_vec())
                .with_description(text)
                .build()
        };
        let build = meter
            .u64_gauge("chat.build_info")
            .with_description("1; the labels say what runs.")
            .build();
        build.record(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
        let this = Self(Arc::new(Instruments {
            exemplars: [
                Exemplars::new("chat_ack_duration_seconds_bucket{", &SECONDS),
                Exemplars::new("chat_delivery_duration_seconds_bucket{", &SECONDS),
                Exemplars::new("chat_journal_commit_seconds_bucket{", &SECONDS),
                Exemplars::new("http_server_request_duration_seconds_bucket{", &REQUEST_SECONDS),
            ],
            sessions: level("chat.sessions", "Open sessions."),
            joins: counter("chat.joins", "Sessions that joined a room."),
            resumes_refused: counter("chat.resumes_refused", "Joins answered with recovered: false."),
            catch_up_reads: counter(
                "chat.catch_up_reads",
                "Pages read from the store for one session.",
            ),
            closes: counter(
                "chat.closes",
                "Sessions that ended, by close code; 1006 where the connection broke.",
            ),
            messages: counter("chat.messages", "Messages taken from clients."),
            refusals: counter(
                "chat.refusals",
                "Commands and requests refused, by the type of the error.",
            ),
            limits_hit: counter(
                "chat.limits_hit",
                "Refused or slowed down by a limit, by which one.",
            ),
            limits_unshared: counter(
                "chat.limits.unshared",
                "Tries that Redis did not count for all replicas, by the cause.",
            ),
            ack_seconds: seconds(
                "chat.ack.duration",
                "From taking a message to knowing what became of it.",
            ),
            deliveries: counter("chat.deliveries", "Frames written to sessions."),
            delivered_bytes: meter
                .u64_counter("chat.delivered")
                .with_unit("By")
                .with_description("Bytes written to sessions.")
                .build(),
            delivery_seconds: seconds(
                "chat.delivery.duration",
                "From a message's commit until its room here has it.",
            ),
            journal_batch: meter
                .u64_histogram("chat.journal.batch_size")
                .with_boundaries(MESSAGES.to_vec())
                .with_description("Messages in a commit.")
                .build(),
            journal_wait_seconds: seconds(
                "chat.journal.wait",
                "From queueing a message to the begin of its commit.",
            ),
            journal_commit_seconds: seconds("chat.journal.commit", "A commit."),
            journal_failures: counter("chat.journal.failures", "Commits that failed."),
            relay_published: counter("chat.relay.published", "Messages that Redis took."),
            relay_received: counter("chat.relay.received", "Messages heard from Redis."),
            relay_dropped: counter("chat.relay.dropped", "Messages that Redis did not take."),
            relay_forged: counter(
                "chat.relay.forged",
                "Envelopes heard that no replica with our JWT_SECRET has sent.",
            ),
            relay_unreadable: counter(
                "chat.relay.unreadable",
                "Pushes that are no envelope of this version.",
            ),
            relay_connected: gauge("chat.relay.connected", "1 while the relay hears Redis."),
            relay_round_trip_seconds: seconds(
                "chat.relay.round_trip",
                "A heartbeat's way through Redis and back.",
            ),
            holes: counter("chat.holes", "Repairs begun because a room lacked messages."),
            repaired: counter("chat.repaired", "Messages read from the store by repairs."),
            went_back: counter(
                "chat.rooms_went_back",
                "Rooms of which the database has lost messages that were known here.",
            ),
            head_lag: gauge(
                "chat.head_lag",
                "The most messages that a live room lacked at the last head check.",
            ),
            connections: level("chat.connections", "Open TCP connections."),
            connections_refused: counter(
                "chat.connections_refused",
                "Connections that could not be accepted.",
            ),
            store_size: meter
                .u64_gauge("chat.store.size")
                .with_unit("By")
                .with_description("What the messages take on the database's disk.")
                .build(),
            store_messages: gauge(
                "chat.store.messages",
                "Stored messages, by the database's own estimate.",
            ),
            connections_cut: counter(
                "chat.connections_cut",
                "Connections ended because the client was late, by what was.",
            ),
            store_wait_seconds: seconds(
                "chat.store.wait",
                "A query's wait for a connection of the pool, tried at each head check.",
            ),
            password_seconds: seconds(
                "chat.password.duration",
                "Hashing or checking a password, with its wait.",
            ),
            request_seconds: meter
                .f64_histogram("http.server.request.duration")
                .with_unit("s")
                .with_boundaries(REQUEST_SECONDS.to_vec())
                .with_description(
                    "A request of a client until its answer's head; a join until it is a WebSocket.",
                )
                .build(),
        }));
        this.begin_at_zero();
        this
    }

    /// What is counted where there is a Redis; not called where there is none.
    pub fn relay_begins(&self) {
        let i = &*self.0;
        let counters = [
            &i.relay_published,
            &i.relay_received,
            &i.relay_dropped,
            &i.relay_forged,
            &i.relay_unreadable,
        ];
        counters.into_iter().for_each(|counter| counter.add(0, &[]));
        for cause in Unshared::VARIANTS {
            i.limits_unshared.add(0, &[KeyValue::new("cause", cause.name())]);
        }
        i.relay_connected.record(0, &[]);
    }

    /// A counter that is not there until it first counts hides its first event from `increase()`.
    fn begin_at_zero(&self) {
        let i = &*self.0;
        let counters = [
            &i.joins,
            &i.resumes_refused,
            &i.catch_up_reads,
            &i.messages,
            &i.deliveries,
            &i.delivered_bytes,
            &i.journal_failures,
            &i.holes,
            &i.repaired,
            &i.went_back,
            &i.connections_refused,
        ];
        counters.into_iter().for_each(|counter| counter.add(0, &[]));
        for close in Close::VARIANTS.iter().map(Some).chain([None]) {
            i.closes.add(0, &[close_code(close.copied())]);
        }
        for error in ErrorType::VARIANTS {
            i.refusals.add(0, &[KeyValue::new("type", error.name())]);
        }
        for limit in Limit::VARIANTS {
            i.limits_hit.add(0, &[KeyValue::new("limit", limit.name())]);
        }
        for late in Late::VARIANTS {
            i.connections_cut.add(0, &[KeyValue::new("late", late.name())]);
        }
        i.sessions.add(0, &[]);
        i.connections.add(0, &[]);
    }

    pub fn session_opened(&self) {
        self.0.sessions.add(1, &[]);
        self.0.joins.add(1, &[]);
    }

    /// `why` is `None` where the connection just ended.
    pub fn session_closed(&self, why: Option<Close>) {
        self.0.sessions.add(-1, &[]);
        self.0.closes.add(1, &[close_code(why)]);
    }

    pub fn resume_refused(&self) {
        self.0.resumes_refused.add(1, &[]);
    }

    /// A session was fed from the store.
    pub fn catch_up_read(&self) {
        self.0.catch_up_reads.add(1, &[]);
    }

    pub fn message_taken(&self) {
        self.0.messages.add(1, &[]);
    }

    /// What `/metrics` shows to who can read exemplars: OpenMetrics, made of Prometheus' text.
    pub fn openmetrics(&self, text: &str) -> String {
        exemplars::openmetrics(text, &self.0.exemplars)
    }

    /// A sender was told what became of its message; `trace`: where that is recorded.
    pub fn acked(&self, after: Duration, stored: bool, trace: Option<TraceId>) {
        let of = [KeyValue::new(
            "outcome",
            if stored { "stored" } else { "refused" },
        )];
        self.0.ack_seconds.record(after.as_secs_f64(), &of);
        let [acks, ..] = &self.0.exemplars;
        acks.keep(after, &of, trace);
    }

    /// Frames and bytes that the kernel took.
    pub fn delivered(&self, frames: usize, bytes: usize) {
        self.0.deliveries.add(frames as u64, &[]);
        self.0.delivered_bytes.add(bytes as u64, &[]);
    }

    /// A message has reached its room here.
    pub fn message_arrived(&self, after_commit: Duration, trace: Option<TraceId>) {
        let [_, deliveries, ..] = &self.0.exemplars;
        deliveries.keep(after_commit, &[], trace);
        self.0.delivery_seconds.record(after_commit.as_secs_f64(), &[]);
    }

    /// A command or a request was refused.
    pub fn refused(&self, with: ErrorType) {
        self.0.refusals.add(1, &[KeyValue::new("type", with.name())]);
    }

    pub fn limit_hit(&self, limit: Limit) {
        self.0.limits_hit.add(1, &[KeyValue::new("limit", limit.name())]);
    }

    /// A try was counted by this replica alone.
    pub fn limit_unshared(&self, cause: Unshared) {
        self.0
            .limits_unshared
            .add(1, &[KeyValue::new("cause", cause.name())]);
    }

    pub fn journal_waited(&self, wait: Duration) {
        self.0.journal_wait_seconds.record(wait.as_secs_f64(), &[]);
    }

    /// A commit; `trace`: of one of its messages, where that is recorded.
    pub fn journal_batch(&self, messages: usize, took: Duration, committed: bool, trace: Option<TraceId>) {
        let [.., commits, _] = &self.0.exemplars;
        commits.keep(took, &[], trace);
        self.0.journal_commit_seconds.record(took.as_secs_f64(), &[]);
        match committed {
            true => self.0.journal_batch.record(messages as u64, &[]),
            false => self.0.journal_failures.add(1, &[]),
        }
    }

    pub fn relay_published(&self, messages: usize) {
        self.0.relay_published.add(messages as u64, &[]);
    }

    pub fn relay_dropped(&self, messages: usize) {
        self.0.relay_dropped.add(messages as u64, &[]);
    }

    pub fn relay_received(&self) {
        self.0.relay_received.add(1, &[]);
    }

    pub fn relay_forged(&self) {
        self.0.relay_forged.add(1, &[]);
    }

    pub fn relay_unreadable(&self) {
        self.0.relay_unreadable.add(1, &[]);
    }

    pub fn relay_connected(&self, connected: bool) {
        self.0.relay_connected.record(connected.into(), &[]);
    }

    /// From a heartbeat's publishing until it was heard.
    pub fn relay_round_trip(&self, took: Duration) {
        self.0.relay_round_trip_seconds.record(took.as_secs_f64(), &[]);
    }

    pub fn hole(&self) {
        self.0.holes.add(1, &[]);
    }

    pub fn repaired(&self, messages: usize) {
        self.0.repaired.add(messages as u64, &[]);
    }

    /// The store has lost messages of a room.
    pub fn went_back(&self) {
        self.0.went_back.add(1, &[]);
    }

    /// A head check: the most that a room lacked.
    pub fn heads_checked(&self, most_behind: u64) {
        self.0.head_lag.record(most_behind, &[]);
    }

    /// How long a query would have waited for a connection.
    pub fn store_waited(&self, wait: Duration) {
        self.0.store_wait_seconds.record(wait.as_secs_f64(), &[]);
    }

    pub fn password_done(&self, took: Duration) {
        self.0.password_seconds.record(took.as_secs_f64(), &[]);
    }

    /// A request was answered, or given up by its client, which has no status. By the semantic conventions for HTTP.
    /// `trace`: where it is recorded.
    pub fn request_done(
        &self,
        (took, trace): (Duration, Option<TraceId>),
        method: &'static str,
        route: Option<&str>,
        status: Option<u16>,
        error: Option<&'static str>,
    ) {
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("url.scheme", "http"),
        ];
        attributes.extend(route.map(|route| KeyValue::new("http.route", route.to_owned())));
        attributes.extend(status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
        attributes.extend(error.map(|error| KeyValue::new("error.type", error)));
        self.0.request_seconds.record(took.as_secs_f64(), &attributes);
        let [.., requests] = &self.0.exemplars;
        requests.keep(took, &attributes, trace);
    }

    pub fn connection_opened(&self) {
        self.0.connections.add(1, &[]);
    }

    pub fn connection_closed(&self) {
        self.0.connections.add(-1, &[]);
    }

    /// The process had no file descriptor for a connection.
    pub fn connection_refused(&self) {
        self.0.connections_refused.add(1, &[]);
    }

    /// What the log takes on disk, and how many messages it has.
    pub fn store_size(&self, bytes: u64, messages: u64) {
        self.0.store_size.record(bytes, &[]);
        self.0.store_messages.record(messages, &[]);
    }

    /// The client was late with something.
    pub fn connection_cut(&self, late: Late) {
        self.0
            .connections_cut
            .add(1, &[KeyValue::new("late", late.name())]);
    }
}
