//! Bringing the schema up to date, and saying what is missing.

use std::time::{Duration, Instant};

use migrations::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DatabaseTransaction, DbErr, Statement,
    TransactionTrait,
};

use super::{PostgresServer, StoreError};

/// Any number, the same in every replica: who holds this Postgres advisory lock migrates.
const LOCK: i64 = 0x6368_6174_6777;
/// How long one that migrates waits for another that does: longer than a migration takes.
const TURN: Duration = Duration::from_secs(60);
/// How long a migration waits for a table. Whoever comes after it waits behind it, so that a longer wait, for a
/// dump or a forgotten transaction, would stop the chat.
const TABLE: Duration = Duration::from_secs(5);

/// How long one that waits for a migration lets the database alone between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why a schema was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("the database lacks the migrations {0}: run `chat-gateway migrate` first")]
    Older(String),
    #[error("the database cannot be read: {0}")]
    Store(#[from] StoreError),
    #[error("the database cannot be read: {0}")]
    Database(#[from] DbErr),
}

/// Why the schema was not brought up to date; then it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("another `chat-gateway migrate` has been at work for {} s; try again when it is done", TURN.as_secs())]
    Occupied,
    #[error("a table was in use for {} s, by a dump or an open transaction; nothing was changed, try again", TABLE.as_secs())]
    InUse,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// Runs the migrations; of several that are called at once, one does and the others wait. All of them are one
/// transaction, and so is the lock: it ends with it, even where a pooler gives each transaction another connection,
/// or the process is killed. Returns the names of those that a later release has run.
pub async fn migrate(server: &PostgresServer) -> Result<Vec<String>, MigrateError> {
    let db = server.unlimited().await?;
    let result = migrate_in_turn(&db).await;
    db.close().await?;
    result?;
    // Not in that transaction, which keeps everybody off the table.
    let store = server.store(1).await?;
    store.fill_skeletons().await?;
    let mut later = store.run(async |line| Ok(applied(line).await?)).await?;
    store.close().await;
    let ours = Migrator::migrations();
    later.retain(|name| ours.iter().all(|migration| migration.name() != name));
    Ok(later)
}

/// Waits until another has brought the schema up to date, and tells `why` it waits, once for each reason. The database
/// need not be there yet.
pub async fn migrated(
    server: &PostgresServer,
    limit: Duration,
    mut why: impl FnMut(&str),
) -> Result<(), SchemaError> {
    let deadline = Instant::now() + limit;
    let mut told = String::new();
    loop {
        let lacking = match look(server).await {
            Ok(missing) if missing.is_empty() => return Ok(()),
            Ok(missing) => SchemaError::Older(missing.join(", ")),
            Err(e) => e.into(),
        };
        if Instant::now() + LOOK_AGAIN > deadline {
            return Err(lacking);
        }
        if told != lacking.to_string() {
            told = lacking.to_string();
            why(&told);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn look(server: &PostgresServer) -> Result<Vec<String>, DbErr> {
    let db = server.unlimited().await?;
    let tx = begin(&db).await?;
    let found = missing(&tx).await;
    tx.rollback().await?;
    db.close().await?;
    found
}

/// A transaction, which a pooler gives one connection. That may have statements of those who had it before, with the
/// names that ours will have.
pub(super) async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let tx = db.begin().await?;
    tx.execute_unprepared("DEALLOCATE ALL").await?;
    Ok(tx)
}

async fn migrate_in_turn(db: &DatabaseConnection) -> Result<(), MigrateError> {
    let tx = begin(db).await?;
    tx.execute_unprepared("SET LOCAL statement_timeout = 0").await?;
    let wait_at_most = |limit: Duration| {
        let sql = format!("SET LOCAL lock_timeout = {}", limit.as_millis());
        Statement::from_string(DatabaseBackend::Postgres, sql)
    };
    tx.execute_raw(wait_at_most(TURN)).await?;
    let lock = format!("SELECT pg_advisory_xact_lock({LOCK})");
    tx.query_one_raw(Statement::from_string(DatabaseBackend::Postgres, lock))
        .await
        .map_err(|e| lock_error(e, MigrateError::Occupied))?;
    tx.execute_raw(wait_at_most(TABLE)).await?;
    let in_use = |e| lock_error(e, MigrateError::InUse);
    // A later release's schema has migrations that this one does not know, and those that it does: nothing is to be done.
    if !missing(&tx).await.map_err(in_use)?.is_empty() {
        Migrator::up(&tx, None).await.map_err(in_use)?;
    }
    Ok(tx.commit().await?)
}

/// SQLSTATE 55P03, lock_not_available, is `known`.
fn lock_error(e: DbErr, known: MigrateError) -> MigrateError {
    match super::sqlstate(&e).as_deref() {
        Some("55P03") => known,
        _ => e.into(),
    }
}

/// The names of the migrations of this binary that the database has not seen.
pub(super) async fn missing(db: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
    let applied = applied(db).await?;
    Ok(Migrator::migrations()
        .iter()
        .map(|migration| migration.name().to_owned())
        .filter(|name| !applied.contains(name))
        .collect())
}

/// The names of the migrations that the database has; none if it was never migrated.
async fn applied(db: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
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
