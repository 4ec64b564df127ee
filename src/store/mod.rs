//! Postgres or SQLite, through sea-orm. The one place that must not lose data.

mod accounts;
mod append;
mod connect;
mod entities;
mod look_back;
mod messages;
mod migrate;
mod pool;
mod skeletons;

use sea_orm::{DatabaseConnection, DbErr, RuntimeErr};

pub use accounts::Account;
pub use append::{Appended, Row};
pub use look_back::{Head, Stored};
pub use migrate::{MigrateError, SchemaError, migrate};

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A name that has to be unique is in use.
    #[error("the name is in use")]
    Taken,
    #[error(transparent)]
    Database(#[from] DbErr),
}

impl StoreError {
    /// Trying again cannot help: the statement does not fit the schema (class 42 of SQLSTATE).
    pub fn is_fault(&self) -> bool {
        let Self::Database(e) = self else {
            return false;
        };
        sqlstate(e).is_some_and(|code| code.starts_with("42"))
    }
}

/// What the database itself says of an error: the five letters of SQLSTATE, or SQLite's number.
fn sqlstate(e: &DbErr) -> Option<String> {
    let (DbErr::Query(RuntimeErr::SqlxError(e)) | DbErr::Exec(RuntimeErr::SqlxError(e))) = e else {
        return None;
    };
    Some(e.as_database_error()?.code()?.into_owned())
}

/// The database. Cheap to clone: a pool.
#[derive(Debug, Clone)]
pub struct Store {
    db: DatabaseConnection,
}

/// Milliseconds since the Unix epoch.
pub fn now_millis() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
