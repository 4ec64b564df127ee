//! Building: from the bottom to the top, each part with what stands below it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::foundation::Foundation;
use super::{App, StartError, gauges};
use crate::auth::{Hasher, SigningKey, Tokens};
use crate::busiest::Busiest;
use crate::config::Settings;
use crate::drain::Drain;
use crate::health::Health;
use crate::http::{self, Api};
use crate::journal::{Committer, Journal};
use crate::limits::{Limits, SharedCounts};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::publish::Publishing;
use crate::relay::{Relay, TagKey};
use crate::replica::{Replica, Rules};
use crate::room::Rooms;
use crate::store::Store;
use crate::telemetry::Telemetry;
use crate::tools::Tools;

/// Sessions that are fed from the store at a time: the database has more important things to do.
const CATCH_UPS: usize = 2;

impl App {
    /// Builds everything; nothing is served yet.
    ///
    /// # Errors
    /// What the configuration says cannot be had: an address, the database's schema, the data folder.
    pub async fn build(settings: Settings, telemetry: Telemetry) -> Result<Self, StartError> {
        let backend = settings.backend()?;
        let Foundation {
            store,
            key,
            redis,
            lock,
        } = Box::pin(Foundation::open(backend, &settings)).await?;
        let bind = |address| http::bind(address).map_err(|e| StartError::Listen(address, e));
        let (listener, ops_listener) = (bind(settings.listen_addr)?, bind(settings.ops_listen_addr)?);

        let tools = Tools {
            metrics: Metrics::new(&telemetry.meter()),
            traces: telemetry.traces(),
            health: Health::new(redis.is_some()),
            workers: TaskTracker::new(),
        };
        let stop_workers = CancellationToken::new();
        let most = http::most_connections(settings.max_connections);
        let replica = Arc::new(Replica::build(
            &settings,
            store,
            redis.map(|(client, counts)| (client, counts, TagKey::of(key.as_ref()))),
            most,
            stop_workers.clone(),
            tools,
        ));
        let hasher = Hasher::new(
            settings.password_workers(),
            settings.password_queue.into(),
            replica.memory.passwords.clone(),
            replica.metrics().clone(),
        )?;
        let clients = TaskTracker::new();
        let surface = http::routes(api(
            &settings,
            replica.clone(),
            &key,
            hasher.clone(),
            clients.clone(),
        ));
        gauges::observe(&telemetry.meter(), &replica, &hasher, most);
        Ok(Self {
            settings,
            telemetry,
            listener,
            ops_listener,
            replica,
            hasher,
            surface,
            connections: Arc::new(Semaphore::new(most)),
            clients,
            stop_workers,
            lock,
        })
    }
}

impl Replica {
    /// `most`: connections of clients.
    fn build(
        settings: &Settings,
        store: Store,
        redis: Option<(redis::Client, SharedCounts, TagKey)>,
        most: usize,
        stop: CancellationToken,
        tools: Tools,
    ) -> Self {
        let memory = Memory::new(settings.memory_max, &tools.metrics);
        let linger = Duration::from_secs(settings.room_linger_seconds);
        let (share, warm) = (memory.rooms.clone(), settings.warm_limits());
        let rooms = Rooms::new(store.clone(), share, warm, linger, tools.clone());
        let (relay, shared_counts) = match redis {
            None => (Relay::None, None),
            Some((client, counts, key)) => {
                let prefix = &settings.relay_prefix;
                let relay = Relay::start(client, prefix, key, rooms.clone(), stop, tools.clone());
                (relay, Some(counts))
            }
        };
        let busiest = Busiest::default();
        let committer = Committer {
            store: store.clone(),
            rooms: rooms.clone(),
            relay,
            busiest: busiest.clone(),
            tools: tools.clone(),
        };
        let (queue, batch) = (settings.journal_queue as usize, settings.journal_batch as usize);
        let journal = Journal::start(committer, queue, batch);
        Self {
            store,
            rooms,
            publishing: Publishing::new(journal, tools.metrics.clone(), tools.traces.clone()),
            drain: Drain::default(),
            busiest,
            memory,
            limits: Limits::new(settings.limits(most), shared_counts, &tools.metrics),
            catch_up: Semaphore::new(CATCH_UPS),
            rules: Rules {
                message_max_bytes: settings.message_max_bytes as usize,
                resume_limit: settings.resume_limit,
                ping: Duration::from_secs(settings.ping_seconds),
                idle: Duration::from_secs(settings.idle_seconds),
                slow: Duration::from_secs(settings.slow_seconds),
            },
            tools,
        }
    }
}

/// What the routes for clients work with.
fn api(
    settings: &Settings,
    replica: Arc<Replica>,
    key: &SigningKey,
    hasher: Hasher,
    clients: TaskTracker,
) -> Api {
    Api {
        replica,
        tokens: Tokens::new(key, Duration::from_secs(settings.token_ttl_seconds)),
        hasher,
        clients,
        allowed_origins: settings.allowed_origins.iter().flatten().cloned().collect(),
        allowed_hosts: settings.allowed_hosts.iter().flatten().cloned().collect(),
        trusted_proxies: settings.trusted_proxies.iter().flatten().copied().collect(),
        hide_unknown_users: settings.hide_unknown_users,
        password_min_bytes: settings.password_min_bytes as usize,
    }
}
