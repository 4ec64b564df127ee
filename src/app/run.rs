//! Running, and leaving: first the clients, then who works for them.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{App, periodic};
use crate::http::{self, Admission, Server};

/// Connections of operators at a time.
const OPS_CONNECTIONS: usize = 32;
/// How long the last sessions may take after the drain window, and how long they and the workers together, whatever hangs.
const DEADLINE: (Duration, Duration) = (Duration::from_secs(8), Duration::from_secs(10));
/// The same where this is the only replica: there is nowhere else to go, and who waits is the person at the keyboard.
const ALONE: (Duration, Duration) = (Duration::from_millis(400), Duration::from_millis(800));

impl App {
    /// Serves until `stop` resolves, then lets everybody leave. True: all of them did in time.
    pub async fn run(self, stop: impl Future<Output = ()>) -> bool {
        periodic::start(&self.replica, &self.hasher, &self.settings, &self.stop_workers);
        let (stop_accepting, stop_ops) = (CancellationToken::new(), CancellationToken::new());
        let workers = self.replica.tools.workers.clone();
        let (public, operators) = (
            self.public(stop_accepting.clone()),
            self.operators(stop_ops.clone()),
        );
        self.clients.spawn(public.run(self.listener));
        workers.spawn(operators.run(self.ops_listener));

        stop.await;
        let Self {
            settings,
            replica,
            hasher,
            surface,
            clients,
            stop_workers,
            lock,
            ..
        } = self;
        let (window, (patience, deadline)) = match lock {
            Some(_) => (Duration::ZERO, ALONE),
            None => (Duration::from_secs(settings.drain_seconds), DEADLINE),
        };
        tracing::info!(?window, "leaving");
        replica.drain.begin(window);
        stop_accepting.cancel();
        replica.rooms.call_all();
        clients.close();
        let begun = Instant::now();
        let mut clean = timeout(window + patience, clients.wait()).await.is_ok();

        // With the last sender gone the journal stores what it has and ends, and after it the relay.
        let store = replica.store.clone();
        drop((surface, hasher, replica));
        stop_ops.cancel();
        stop_workers.cancel();
        workers.close();
        clean &= timeout_at(begun + window + deadline, workers.wait())
            .await
            .is_ok();
        store.close().await;
        match clean {
            true => tracing::info!("left"),
            false => tracing::warn!("the deadline passed before everybody had left"),
        }
        clean
    }

    fn public(&self, stop: CancellationToken) -> Server {
        let metrics = self.replica.metrics().clone();
        Server {
            surface: self.surface.clone(),
            tracker: self.clients.clone(),
            admission: Admission::of_clients(
                self.connections.clone(),
                Duration::from_secs(self.settings.keep_alive_seconds),
                self.replica.limits.connections_per_address.clone(),
                self.settings.trusted_proxies.iter().flatten().copied().collect(),
                metrics.clone(),
            ),
            metrics,
            stop,
        }
    }

    fn operators(&self, stop: CancellationToken) -> Server {
        let metrics = self.replica.metrics().clone();
        let keep_alive = Duration::from_secs(self.settings.keep_alive_seconds);
        Server {
            surface: http::ops_routes(http::Ops {
                replica: self.replica.clone(),
                telemetry: self.telemetry.clone(),
                connections: self.connections.clone(),
            }),
            tracker: self.replica.tools.workers.clone(),
            admission: Admission::of_operators(OPS_CONNECTIONS, keep_alive, metrics.clone()),
            metrics,
            stop,
        }
    }
}
