//! Connecting, and the schema.

use std::path::Path;
use std::time::Duration;

use migrations::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, Database, DatabaseBackend, DbErr};

use super::migrate::{SchemaError, missing};
use super::{Store, skeletons};

/// How long a query waits for a connection of the pool.
const ACQUIRE: Duration = Duration::from_secs(3);
/// How long one statement may take in Postgres.
const STATEMENT: Duration = Duration::from_secs(10);

pub(super) fn options(url: &str, connections: u32) -> ConnectOptions {
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

impl Store {
    /// Opens Postgres, and refuses a schema that lacks a migration of this binary. One that has more is a later
    /// release's, which keeps the columns that this one needs.
    pub async fn open(url: &str, connections: u32) -> Result<Self, SchemaError> {
        let db = Database::connect(options(url, connections)).await?;
        let missing = missing(&db).await?;
        match missing.is_empty() {
            true => {
                // Of accounts that a replica of the release before has made since.
                skeletons::fill(&db).await?;
                Ok(Self { db })
            }
            false => Err(SchemaError::Older(missing.join(", "))),
        }
    }

    /// Opens the SQLite file, making and migrating it as needed. Commits are durable.
    pub async fn open_embedded(file: &Path) -> Result<Self, DbErr> {
        let url = format!("sqlite://{}?mode=rwc", file.display());
        // One connection: SQLite has one writer, and so nobody waits for a lock.
        let mut options = options(&url, 1);
        options.map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
                .synchronous(sqlx::sqlite::SqliteSynchronous::Full)
                .foreign_keys(true)
        });
        let db = Database::connect(options).await?;
        Migrator::up(&db, None).await?;
        skeletons::fill(&db).await?;
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
