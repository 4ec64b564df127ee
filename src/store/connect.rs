//! Connecting, and the schema.

use std::path::Path;
use std::time::Duration;

use migrations::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseBackend, DatabaseConnection, DbErr, Statement,
};

use super::Store;

/// How long a query waits for a connection of the pool.
const ACQUIRE: Duration = Duration::from_secs(3);
/// How long one statement may take in Postgres.
const STATEMENT: Duration = Duration::from_secs(10);
/// Any number, the same in every replica: who holds this Postgres advisory lock migrates.
const MIGRATION_LOCK: i64 = 0x6368_6174_6777;

/// Why a schema was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("the database lacks the migrations {0}: run `chat-gateway migrate` first")]
    Older(String),
    #[error("the database cannot be read: {0}")]
    Database(#[from] DbErr),
}

fn options(url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(ACQUIRE)
        .connect_timeout(ACQUIRE)
        .test_before_acquire(false)
        .sqlx_logging(false);
    if url.starts_with("postgres") {
        options
            .statement_timeout(STATEMENT)
            .map_sqlx_postgres_opts(|postgres| postgres.application_name("chat-gateway"));
    }
    options
}

/// Runs the migrations; of several replicas that call this at once, one does and the others wait.
pub async fn migrate(url: &str) -> Result<(), DbErr> {
    let mut options = options(url, 1);
    // The lock belongs to a session, so lock and migrations share the one connection, for as long as it takes.
    options.statement_timeout(Duration::ZERO);
    let db = Database::connect(options).await?;
    run_migrations(&db).await?;
    db.close().await
}

async fn run_migrations(db: &DatabaseConnection) -> Result<(), DbErr> {
    let postgres = db.get_database_backend() == DatabaseBackend::Postgres;
    let lock = |verb| {
        Statement::from_string(
            DatabaseBackend::Postgres,
            format!("SELECT {verb}({MIGRATION_LOCK})"),
        )
    };
    if postgres {
        db.query_one_raw(lock("pg_advisory_lock")).await?;
    }
    let result = Migrator::up(db, None).await;
    if postgres {
        db.query_one_raw(lock("pg_advisory_unlock")).await?;
    }
    result
}

impl Store {
    /// Opens Postgres, and refuses a schema that lacks a migration of this binary. One that has more is a later
    /// release's, which keeps the columns that this one needs.
    pub async fn open(url: &str, connections: u32) -> Result<Self, SchemaError> {
        let db = Database::connect(options(url, connections)).await?;
        let applied = applied(&db).await?;
        let missing: Vec<String> = Migrator::migrations()
            .iter()
            .map(|migration| migration.name().to_owned())
            .filter(|name| !applied.contains(name))
            .collect();
        match missing.is_empty() {
            true => Ok(Self { db }),
            false => Err(SchemaError::Older(missing.join(", "))),
        }
    }

    /// Opens the SQLite file in `folder`, making and migrating it as needed. Commits are durable.
    pub async fn open_embedded(folder: &Path) -> Result<Self, DbErr> {
        let url = format!("sqlite://{}?mode=rwc", folder.join("chat.sqlite").display());
        // One connection: SQLite has one writer, and so nobody waits for a lock.
        let mut options = options(&url, 1);
        options.map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
                .synchronous(sqlx::sqlite::SqliteSynchronous::Full)
                .foreign_keys(true)
        });
        let db = Database::connect(options).await?;
        run_migrations(&db).await?;
        Ok(Self { db })
    }

    /// `db.system.name` of the semantic conventions.
    pub fn system(&self) -> &'static str {
        match self.db.get_database_backend() {
            DatabaseBackend::Postgres => "postgresql",
            _ => "sqlite",
        }
    }

    /// Waits for running queries and closes the pool.
    pub async fn close(&self) -> Result<(), DbErr> {
        self.db.close_by_ref().await
    }
}

/// The names of the migrations that the database has; none if it was never migrated.
async fn applied(db: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    let exists = Statement::from_string(
        DatabaseBackend::Postgres,
        "SELECT to_regclass('seaql_migrations') IS NOT NULL",
    );
    let exists = db
        .query_one_raw(exists)
        .await?
        .map_or(Ok(false), |row| row.try_get_by_index(0))?;
    if !exists {
        return Ok(Vec::new());
    }
    let names = Statement::from_string(DatabaseBackend::Postgres, "SELECT version FROM seaql_migrations");
    db.query_all_raw(names)
        .await?
        .iter()
        .map(|row| row.try_get_by_index(0))
        .collect()
}
