//! What every part has at hand: where it counts, where it traces, where it says how things are, and on which tracker
//! it spawns. Cheap to clone.

use tokio_util::task::TaskTracker;

use crate::health::Health;
use crate::metrics::Metrics;
use crate::telemetry::Traces;

#[derive(Debug, Clone)]
pub struct Tools {
    pub metrics: Metrics,
    pub traces: Traces,
    pub health: Health,
    /// Of what goes on beside the clients: the end waits for it last.
    pub workers: TaskTracker,
}
