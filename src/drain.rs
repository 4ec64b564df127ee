//! Leaving: everybody is told once, and has a moment of their own to go.

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

/// Whether this replica is leaving, and over which time. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Drain(Arc<OnceLock<Window>>);

#[derive(Debug)]
struct Window {
    begun: Instant,
    length: Duration,
}

impl Drain {
    /// Begins to leave over `length`; the caller wakes the sessions. A second call changes nothing.
    pub fn begin(&self, length: Duration) {
        self.0.get_or_init(|| Window {
            begun: Instant::now(),
            length,
        });
    }

    pub fn begun(&self) -> bool {
        self.0.get().is_some()
    }

    /// What is left of the window; zero where it has passed, or has not begun.
    pub fn left(&self) -> Duration {
        self.0.get().map_or(Duration::ZERO, |window| {
            (window.begun + window.length).saturating_duration_since(Instant::now())
        })
    }

    /// A moment of the window for one session, at random, so that reconnects are spread; `None`: not leaving.
    pub fn moment(&self) -> Option<Instant> {
        let window = self.0.get()?;
        Some(window.begun + window.length.mul_f64(rand::rng().random_range(0.0..=1.0)))
    }
}
