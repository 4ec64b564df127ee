//! The composition root: builds the parts from the configuration, and runs them until told to stop.

mod gauges;
mod periodic;

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use periodic::{FORGET, MEASURE, SWEEP, TRIM, check_heads, measure, repeat, repeat_waiting};

use crate::auth::{HashError, Hasher, SigningKey, Tokens};
use crate::busiest::Busiest;
use crate::config::{Backend, ConfigError, Settings};
use crate::data_dir;
use crate::drain::Drain;
use crate::health::Health;
use crate::http::{self, Admission, Gateway, Server};
use crate::journal::{Journal, Parts};
use crate::limits::{Limits, SharedCounts};
use crate::memory::{Memory, Trim};
use crate::metrics::Metrics;
use crate::relay::{self, Relay};
use crate::room::{self, Rooms};
use crate::session::{self, Context};
use crate::store::{SchemaError, Store};
use crate::telemetry::Telemetry;

/// Connections of operators at a time.
const OPS_CONNECTIONS: usize = 32;
/// Sessions that are fed from the store at a time: the database has more important things to do.
const CATCH_UPS: usize = 2;
/// How long the last sessions may take after the drain window, and how long they and the workers together, whatever hangs.
const DEADLINE: (Duration, Duration) = (Duration::from_secs(8), Duration::from_secs(10));
/// The same where this is the only replica: there is nowhere else to go, and who waits is the person at the keyboard.
const ALONE: (Duration, Duration) = (Duration::from_millis(400), Duration::from_millis(800));

/// Why the process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("the SQLite file cannot be opened: {0}")]
    Sqlite(#[from] sea_orm::DbErr),
    #[error("the pool to Redis cannot be set up: {0}")]
    Pool(#[from] deadpool_redis::CreatePoolError),
    #[error("{0} cannot be listened on: {1}; LISTEN_ADDR and OPS_LISTEN_ADDR name the addresses")]
    Listen(SocketAddr, io::Error),
    #[error(transparent)]
    Hash(#[from] HashError),
}

/// What a backend brings.
struct Base {
    store: Store,
    key: SigningKey,
    redis: Option<(redis::Client, SharedCounts)>,
    /// Keeps a second process off the data folder.
    lock: Option<File>,
}

/// A replica, bound and ready to run.
pub struct App {
    settings: Settings,
    telemetry: Telemetry,
    listener: TcpListener,
    ops_listener: TcpListener,
    context: Arc<Context>,
    app: http::App,
    /// Places for clients' connections.
    connections: Arc<Semaphore>,
    limits: Arc<Limits>,
    /// Connections and sessions.
    clients: TaskTracker,
    /// Journal, relay, repairs, sweeps.
    workers: TaskTracker,
    stop_workers: CancellationToken,
    /// The data folder's lock of an embedded gateway; a replica of a cluster has none.
    lock: Option<File>,
}

impl App {
    /// Builds everything; nothing is served yet.
    pub async fn build(settings: Settings, telemetry: Telemetry) -> Result<Self, StartError> {
        let backend = settings.backend()?;
        let base = Box::pin(Base::open(backend, &settings)).await?;
        let listener =
            http::bind(settings.listen_addr).map_err(|e| StartError::Listen(settings.listen_addr, e))?;
        let ops = settings.ops_listen_addr;
        let ops_listener = http::bind(ops).map_err(|e| StartError::Listen(ops, e))?;

        let (clients, workers) = (TaskTracker::new(), TaskTracker::new());
        let stop_workers = CancellationToken::new();
        let metrics = Metrics::new(&telemetry.meter());
        let memory = Memory::new(settings.memory_max, &metrics);
        let linger = Duration::from_secs(settings.room_linger_seconds);
        let (traces, health) = (telemetry.traces(), Health::new(base.redis.is_some()));
        let rooms = Rooms::new(
            room::Parts {
                store: base.store.clone(),
                tracker: workers.clone(),
                metrics: metrics.clone(),
                traces: traces.clone(),
                health: health.clone(),
                share: memory.rooms.clone(),
            },
            settings.warm_limits(),
            linger,
        );
        let (relay, shared_counts) = match base.redis {
            None => (Relay::None, None),
            Some((client, counts)) => {
                let relay = Relay::start(
                    client,
                    &settings.relay_prefix,
                    relay::Parts {
                        rooms: rooms.clone(),
                        metrics: metrics.clone(),
                        traces: traces.clone(),
                        health: health.clone(),
                        tracker: workers.clone(),
                        stop: stop_workers.clone(),
                    },
                );
                (relay, Some(counts))
            }
        };
        let busiest = Busiest::default();
        let parts = Parts {
            store: base.store.clone(),
            rooms: rooms.clone(),
            relay,
            busiest: busiest.clone(),
            metrics: metrics.clone(),
            traces: traces.clone(),
        };
        let most = http::most_connections(settings.max_connections);
        let limits = Arc::new(Limits::new(settings.limits(most), shared_counts, &metrics));
        let (queue, batch) = (settings.journal_queue as usize, settings.journal_batch as usize);
        let context = Arc::new(Context {
            journal: Journal::start(parts, queue, batch, &workers),
            store: base.store,
            rooms,
            drain: Drain::default(),
            health,
            busiest,
            memory,
            metrics,
            traces,
            settings: session::Settings {
                message_max_bytes: settings.message_max_bytes as usize,
                resume_limit: settings.resume_limit,
                ping: Duration::from_secs(settings.ping_seconds),
                idle: Duration::from_secs(settings.idle_seconds),
                slow: Duration::from_secs(settings.slow_seconds),
            },
            limits: limits.clone(),
            catch_up: Semaphore::new(CATCH_UPS),
        });
        let (workers_at_a_time, waiting) = (settings.password_workers(), settings.password_queue.into());
        let hasher = Hasher::new(
            workers_at_a_time,
            waiting,
            context.memory.passwords.clone(),
            context.metrics.clone(),
        )?;
        // The limits' books are as long as there are people who are busy (I7).
        let (books, pieces) = (limits.clone(), hasher.clone());
        let (trim, blocking) = (Arc::new(Trim::default()), workers.clone());
        workers.spawn(repeat(TRIM, stop_workers.clone(), move || {
            let trim = trim.clone();
            blocking.spawn_blocking(move || trim.if_grown());
        }));
        workers.spawn(repeat(FORGET, stop_workers.clone(), move || {
            books.forget_the_quiet();
            pieces.forget_the_idle();
        }));
        let app = http::routes(Gateway {
            context: context.clone(),
            tokens: Tokens::new(&base.key, Duration::from_secs(settings.token_ttl_seconds)),
            hasher: hasher.clone(),
            limits: limits.clone(),
            clients: clients.clone(),
            allowed_origins: settings.allowed_origins.iter().flatten().cloned().collect(),
            allowed_hosts: settings.allowed_hosts.iter().flatten().cloned().collect(),
            trusted_proxies: settings.trusted_proxies.iter().flatten().copied().collect(),
            hide_unknown_users: settings.hide_unknown_users,
            password_min_bytes: settings.password_min_bytes as usize,
        });
        gauges::observe(&telemetry.meter(), &context, &hasher, most);
        Ok(Self {
            settings,
            telemetry,
            listener,
            ops_listener,
            context,
            app,
            connections: Arc::new(Semaphore::new(most)),
            limits,
            clients,
            workers,
            stop_workers,
            lock: base.lock,
        })
    }

    /// Where a person opens the page.
    pub fn url(&self) -> String {
        let port = self
            .listener
            .local_addr()
            .map_or(self.settings.listen_addr.port(), |address| address.port());
        match self.settings.listen_addr.ip() {
            ip if ip.is_unspecified() => format!("http://127.0.0.1:{port}/"),
            ip => format!("http://{}/", SocketAddr::new(ip, port)),
        }
    }

    /// Serves until `stop` resolves, then lets everybody leave. True: all of them did in time.
    pub async fn run(self, stop: impl Future<Output = ()>) -> bool {
        self.do_periodically();
        let (stop_accepting, stop_ops) = (CancellationToken::new(), CancellationToken::new());
        let (keep_alive, metrics) = (
            Duration::from_secs(self.settings.keep_alive_seconds),
            self.context.metrics.clone(),
        );
        let server = |app, tracker: &TaskTracker, admission, stop: &CancellationToken| Server {
            app,
            tracker: tracker.clone(),
            metrics: metrics.clone(),
            admission,
            stop: stop.clone(),
        };
        let public = server(
            self.app.clone(),
            &self.clients,
            Admission::of_clients(
                self.connections.clone(),
                keep_alive,
                self.limits.connections_per_address.clone(),
                self.settings.trusted_proxies.iter().flatten().copied().collect(),
                metrics.clone(),
            ),
            &stop_accepting,
        );
        let ops_app = Arc::new(poem::endpoint::ToDynEndpoint(http::ops_routes(http::Ops {
            context: self.context.clone(),
            telemetry: self.telemetry.clone(),
            connections: self.connections,
        })));
        let ops = server(
            ops_app,
            &self.workers,
            Admission::of_operators(OPS_CONNECTIONS, keep_alive, metrics.clone()),
            &stop_ops,
        );
        self.clients.spawn(public.run(self.listener));
        self.workers.spawn(ops.run(self.ops_listener));

        stop.await;
        let (window, (patience, deadline)) = match self.lock {
            Some(_) => (Duration::ZERO, ALONE),
            None => (Duration::from_secs(self.settings.drain_seconds), DEADLINE),
        };
        tracing::info!(?window, "leaving");
        self.context.drain.begin(window);
        stop_accepting.cancel();
        self.context.rooms.call_all();
        self.clients.close();
        let begun = Instant::now();
        let mut clean = timeout(window + patience, self.clients.wait()).await.is_ok();

        // With the last sender gone the journal stores what it has and ends, and after it the relay.
        let store = self.context.store.clone();
        drop((self.app, self.context));
        stop_ops.cancel();
        self.stop_workers.cancel();
        self.workers.close();
        clean &= timeout_at(begun + window + deadline, self.workers.wait())
            .await
            .is_ok();
        store.close().await;
        match clean {
            true => tracing::info!("left"),
            false => tracing::warn!("the deadline passed before everybody had left"),
        }
        clean
    }
}

impl App {
    /// Until the workers are stopped.
    fn do_periodically(&self) {
        let stop = || self.stop_workers.clone();
        let context = self.context.clone();
        self.workers.spawn(repeat(SWEEP, stop(), move || {
            context.rooms.retire();
        }));
        let context = self.context.clone();
        self.workers
            .spawn(repeat_waiting(MEASURE, stop(), move || measure(context.clone())));
        let (context, period) = (
            self.context.clone(),
            Duration::from_millis(self.settings.head_check_ms),
        );
        self.workers.spawn(repeat_waiting(period, stop(), move || {
            check_heads(context.clone())
        }));
    }
}

impl Base {
    async fn open(backend: Backend, settings: &Settings) -> Result<Self, StartError> {
        match backend {
            Backend::Clustered {
                database,
                redis,
                redis_url,
                key,
            } => {
                let store = Store::open(&database, settings.database_pool).await?;
                let pool = deadpool_redis::Config::from_url(redis_url)
                    .create_pool(Some(deadpool_redis::Runtime::Tokio1))?;
                let counts = SharedCounts::new(pool, settings.relay_prefix.clone());
                Ok(Self {
                    store,
                    key,
                    redis: Some((redis, counts)),
                    lock: None,
                })
            }
            Backend::Embedded { data_dir, key } => {
                let unusable =
                    |e: io::Error| ConfigError::DataDir(data_dir.display().to_string(), e.to_string());
                data_dir::make(&data_dir).map_err(unusable)?;
                let lock = data_dir::lock(&data_dir).await.map_err(unusable)?;
                let key = match key {
                    Some(key) => key,
                    None => data_dir::signing_key(&data_dir).map_err(unusable)?,
                };
                let store = Store::open_embedded(&data_dir::database(&data_dir)).await?;
                Ok(Self {
                    store,
                    key,
                    redis: None,
                    lock: Some(lock),
                })
            }
        }
    }
}
