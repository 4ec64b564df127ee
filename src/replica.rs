//! What this replica is made of, for those who serve clients and for those who look at it.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::busiest::Busiest;
use crate::drain::Drain;
use crate::limits::Limits;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::publish::Publishing;
use crate::room::Rooms;
use crate::store::Store;
use crate::telemetry::Traces;
use crate::tools::Tools;

/// One replica's parts. It lives until its last client is gone; then the journal stores what it has, and ends.
#[derive(Debug)]
pub struct Replica {
    pub store: Store,
    pub rooms: Rooms,
    pub publishing: Publishing,
    pub drain: Drain,
    pub busiest: Busiest,
    pub memory: Memory,
    pub limits: Limits,
    /// Bounds how many sessions are fed from the store at a time.
    pub catch_up: Semaphore,
    pub rules: Rules,
    pub tools: Tools,
}

/// What sessions are held to, from the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub message_max_bytes: usize,
    /// Messages.
    pub resume_limit: u64,
    pub ping: Duration,
    pub idle: Duration,
    /// How long a session may stay behind its room, or ahead of its rate.
    pub slow: Duration,
}

impl Replica {
    pub const fn metrics(&self) -> &Metrics {
        &self.tools.metrics
    }

    pub const fn traces(&self) -> &Traces {
        &self.tools.traces
    }
}
