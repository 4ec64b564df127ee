//! What this replica knows of the parts it needs: what `/readyz` and `/status` say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use crate::clock::now_millis;

/// A dependency as last seen.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    pub up: bool,
    /// Since when, in milliseconds since the Unix epoch.
    pub since: i64,
}

impl Dependency {
    pub fn now(up: bool) -> Self {
        Self {
            up,
            since: now_millis(),
        }
    }

    pub fn note(&mut self, up: bool) {
        if self.up != up {
            *self = Self::now(up);
        }
    }
}

/// `/status`, as JSON.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `starting`, `ready`, `draining` or `overloaded`.
    pub state: &'static str,
    pub version: &'static str,
    pub started: i64,
    pub database: Dependency,
    /// Null where there is no Redis. Up means that the own heartbeat is heard through it.
    pub redis: Option<Dependency>,
    /// The last heartbeat's way through Redis and back, in milliseconds.
    pub round_trip_ms: Option<f64>,
    /// The most messages that a live room lacked at the last head check.
    pub head_lag: u64,
    pub rooms: usize,
    pub journal_depth: usize,
}

/// How long a replica that does not hear Redis keeps clients away when it starts: with the others hearing it, they
/// would be better off there; where nobody does, they must not wait.
const STARTING: Duration = Duration::from_secs(5);

/// What is known so far. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Health(Arc<Mutex<Known>>);

#[derive(Debug, Clone, Copy)]
struct Known {
    started: i64,
    begun: Instant,
    /// Redis was heard at least once, or need not be.
    heard: bool,
    redis: Option<Dependency>,
    round_trip: Option<Duration>,
    head_lag: u64,
}

impl Health {
    /// Redis, where there is one, was not heard yet.
    pub fn new(clustered: bool) -> Self {
        Self(Arc::new(Mutex::new(Known {
            started: now_millis(),
            begun: Instant::now(),
            heard: !clustered,
            redis: clustered.then(|| Dependency::now(false)),
            round_trip: None,
            head_lag: 0,
        })))
    }

    /// A head check: the most that a room lacked.
    pub fn heads(&self, most_behind: u64) {
        self.0.lock().head_lag = most_behind;
    }

    /// Heard: the own heartbeat came back after this time. `None`: the connection is lost.
    pub fn redis(&self, heard: Option<Duration>) {
        let mut known = self.0.lock();
        known.round_trip = heard;
        known.heard |= heard.is_some();
        if let Some(redis) = &mut known.redis {
            redis.note(heard.is_some());
        }
    }

    pub fn is_starting(&self) -> bool {
        let known = self.0.lock();
        !known.heard && known.begun.elapsed() < STARTING
    }

    pub fn status(
        &self,
        state: &'static str,
        database: Dependency,
        rooms: usize,
        journal_depth: usize,
    ) -> Status {
        let known = *self.0.lock();
        Status {
            state,
            version: env!("CARGO_PKG_VERSION"),
            started: known.started,
            database,
            redis: known.redis,
            round_trip_ms: known.round_trip.map(|took| took.as_secs_f64() * 1e3),
            head_lag: known.head_lag,
            rooms,
            journal_depth,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_is_up_since_it_came_up() {
        let mut database = Dependency { up: true, since: 1 };
        database.note(true);
        assert_eq!(database.since, 1, "nothing has changed");
        database.note(false);
        assert!(!database.up && database.since > 1);
        let health = Health::new(true);
        let status = |health: &Health| health.status("ready", database, 0, 0);
        assert!(!status(&health).redis.unwrap().up);
        health.heads(3);
        assert_eq!(status(&health).head_lag, 3);
        health.redis(Some(Duration::from_millis(2)));
        assert_eq!(status(&health).round_trip_ms, Some(2.0));
        assert!(status(&Health::new(false)).redis.is_none());
    }

    #[test]
    fn a_replica_starts_until_it_hears_redis_for_the_first_time() {
        let health = Health::new(true);
        assert!(health.is_starting());
        health.redis(Some(Duration::from_millis(2)));
        assert!(!health.is_starting());
        health.redis(None);
        assert!(!health.is_starting(), "an outage is no start");
        assert!(!Health::new(false).is_starting());
    }
}
