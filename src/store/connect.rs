//! Connecting.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use migrations::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, Database, DbErr};
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::migrate::{SchemaError, missing};
use super::pool::{ACQUIRE, Connections, Pool};
use super::{Engine, Outages, Store, StoreError};
use crate::telemetry;

/// How long one statement may go on in Postgres when we have given it up: it may hold a room's row.
const STATEMENT: Duration = Duration::from_secs(10);
/// How long SQLite waits while another process writes to the file.
const LOCKED: Duration = Duration::from_secs(3);

/// Where Postgres is, and how to talk to it. It does not print: there is a password in it.
#[derive(Clone)]
pub struct PostgresServer {
    options: PgConnectOptions,
    pooled: bool,
}

impl std::fmt::Debug for PostgresServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresServer")
            .field("pooled", &self.pooled)
            .finish_non_exhaustive()
    }
}

impl PostgresServer {
    /// `None`: it is no URL of a Postgres; where the parser stumbled is not said, since it may be in the password.
    pub fn parse(url: &str, pooled: bool) -> Option<Self> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return None;
        }
        // The user ends at an @. Where that comes later, a password has a / or the like, and what is before it would be
        // taken for a host and a port.
        let (_, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        if rest.contains('@') && !authority.contains('@') {
            return None;
        }
        let options: PgConnectOptions = url.parse().ok()?;
        // libpq's list of hosts would be looked up as one name.
        if options.get_host().contains(',') {
            return None;
        }
        // What a pooler does not know it refuses, and we have no use for floating point.
        let options = options
            .application_name("chat-gateway")
            .extra_float_digits(None)
            .disable_statement_logging();
        Some(Self { options, pooled })
    }

    /// Connections whose statements take no longer than [`STATEMENT`], where that can be said for a connection.
    fn pool(&self, connections: u32) -> Pool {
        let limit = STATEMENT.as_millis().to_string();
        let options = match self.pooled {
            true => self.options.clone(),
            false => self.options.clone().options([("statement_timeout", limit)]),
        };
        Pool::new(options, connections)
    }

    /// For work that may take its time: a pool of sea-orm's, of one connection without any limit.
    pub(super) async fn unlimited(&self) -> Result<sea_orm::DatabaseConnection, DbErr> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE)
            .connect_with(self.options.clone())
            .await
            .map_err(|e| DbErr::Conn(sea_orm::RuntimeErr::SqlxError(e.into())))?;
        Ok(sea_orm::SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
    }

    /// A store on this server, whatever its schema is.
    pub(super) async fn store(&self, connections: u32) -> Result<Store, StoreError> {
        let mut server = self.clone();
        let mut pool = server.pool(connections);
        match pool.acquire().await {
            Ok(lease) => pool.back(lease),
            Err(e) if !server.pooled && e.is_no_server() => {
                tracing::info!("DATABASE_URL leads to a pooler: statements are not prepared");
                server.pooled = true;
                pool = server.pool(connections);
                pool.back(pool.acquire().await?);
            }
            Err(e) => return Err(e),
        }
        Ok(Store {
            backend: Engine::Postgres {
                pool,
                pooled: server.pooled,
            },
            outages: Outages::default(),
            database: Arc::new(telemetry::Database {
                system: "postgresql",
                namespace: self.options.get_database().unwrap_or_default().to_owned(),
                address: Some(self.options.get_host().to_owned()),
                port: Some(self.options.get_port()),
            }),
        })
    }
}

impl Store {
    /// Opens Postgres, and refuses a schema that lacks a migration of this binary. One that has more is a later
    /// release's, which keeps the columns that this one needs.
    pub async fn open(server: &PostgresServer, connections: u32) -> Result<Self, SchemaError> {
        let store = server.store(connections).await?;
        let missing = store.run(async |line| Ok(missing(line).await?)).await?;
        match missing.is_empty() {
            true => {
                // Of accounts that a replica of the release before has made since.
                store.fill_skeletons().await?;
                Ok(store)
            }
            false => Err(SchemaError::Older(missing.join(", "))),
        }
    }

    /// Opens the SQLite file, making and migrating it as needed. Commits are durable.
    pub async fn open_embedded(file: &Path) -> Result<Self, DbErr> {
        let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", file.display()));
        // One connection: SQLite has one writer, and so nobody of us waits for a lock.
        options
            .max_connections(1)
            .min_connections(1)
            .acquire_timeout(ACQUIRE)
            .test_before_acquire(false)
            .sqlx_logging(false)
            .map_sqlx_sqlite_opts(|sqlite| {
                sqlite
                    .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
                    .synchronous(sqlx::sqlite::SqliteSynchronous::Full)
                    .busy_timeout(LOCKED)
                    .foreign_keys(true)
            });
        let db = Database::connect(options).await?;
        Migrator::up(&db, None).await?;
        let store = Self {
            backend: Engine::Sqlite(db),
            outages: Outages::default(),
            database: Arc::new(telemetry::Database {
                system: "sqlite",
                namespace: file.display().to_string(),
                address: None,
                port: None,
            }),
        };
        store
            .fill_skeletons()
            .await
            .map_err(|e| DbErr::Custom(e.to_string()))?;
        Ok(store)
    }

    /// Where it is, as spans say it.
    pub fn database(&self) -> &Arc<telemetry::Database> {
        &self.database
    }

    pub fn outages(&self) -> &Outages {
        &self.outages
    }

    pub fn connections(&self) -> Connections {
        match &self.backend {
            Engine::Postgres { pool, .. } => pool.connections(),
            Engine::Sqlite(db) => {
                let pool = db.get_sqlite_connection_pool();
                let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
                Connections {
                    idle,
                    used: pool.size().saturating_sub(idle),
                    most: pool.options().get_max_connections(),
                }
            }
        }
    }

    /// How long a query would wait for a connection just now. A wait that ends without one counts too: the queries
    /// themselves say what was wrong. A server that took no writes is asked whether it does now.
    pub async fn wait_for_connection(&self) -> Duration {
        let begun = std::time::Instant::now();
        match &self.backend {
            Engine::Postgres { pool, .. } => {
                if let Ok(lease) = pool.acquire().await {
                    pool.back(lease);
                }
            }
            Engine::Sqlite(db) => drop(db.get_sqlite_connection_pool().acquire().await),
        }
        let waited = begun.elapsed();
        if self.outages.is_read_only() {
            self.ask_whether_writable().await;
        }
        waited
    }

    async fn ask_whether_writable(&self) {
        use sea_orm::{ConnectionTrait, DatabaseBackend, Statement};
        let sql = "SELECT current_setting('transaction_read_only') = 'off'";
        let asked = self.run(async |line| {
            let statement = Statement::from_string(DatabaseBackend::Postgres, sql);
            let row = line.query_one_raw(statement).await?;
            Ok(row.map_or(Ok(false), |row| row.try_get_by_index(0))?)
        });
        if let Ok(true) = asked.await {
            self.outages.writable();
        }
    }

    /// Lets the idle connections go; those in use go with their work, which has its limit.
    pub async fn close(&self) {
        match &self.backend {
            Engine::Postgres { pool, .. } => pool.close().await,
            Engine::Sqlite(db) => {
                if !matches!(tokio::time::timeout(LOCKED, db.close_by_ref()).await, Ok(Ok(()))) {
                    tracing::warn!("the database was not closed cleanly");
                }
            }
        }
    }
}
