//! Postgres or SQLite, through sea-orm. The one place that must not lose data.

mod accounts;
mod append;
mod connect;
mod counters;
mod entities;
mod line;
mod look_back;
mod messages;
mod migrate;
mod outage;
mod pool;
mod size;
mod skeletons;
mod spans;

use std::sync::Arc;

use sea_orm::{DatabaseConnection, DbErr, RuntimeErr};

pub use accounts::Account;
pub use append::{Appended, NewRow};
pub use connect::PostgresServer;
pub use counters::check;
pub use look_back::{Head, Stored};
pub use migrate::{MigrateError, SchemaError, migrate, migrated};
pub use outage::{Cause, Outages};
pub use pool::Connections;
pub use size::Size;

use crate::telemetry::Database;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A name that has to be unique is in use.
    #[error("the name is in use")]
    Taken,
    /// There was no connection, or no answer on it in time. What was to be stored may have been.
    #[error("{cause}{detail}")]
    Unavailable {
        cause: Cause,
        /// Empty, or what the server or the system said, after a colon.
        detail: String,
    },
    #[error(transparent)]
    Database(#[from] DbErr),
}

impl StoreError {
    const fn unavailable(cause: Cause) -> Self {
        Self::Unavailable {
            cause,
            detail: String::new(),
        }
    }

    /// Trying again cannot help: the statement does not fit the schema (class 42 of SQLSTATE).
    pub fn is_fault(&self) -> bool {
        self.cause() == Some(Cause::Schema)
    }

    /// What it says of the database; `None`: nothing, it did its work.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Taken => None,
            Self::Unavailable { cause, .. } => Some(*cause),
            Self::Database(_) => match self.constraint() {
                Some(constraint) => constraint.ends_with("_pkey").then_some(Cause::Behind),
                None => Some(self.sqlx().map_or(Cause::Other, Cause::of)),
            },
        }
    }

    /// A pooler answered, which does not know what only the server itself could.
    fn is_no_server(&self) -> bool {
        matches!(self, Self::Unavailable { detail, .. } if detail.contains("unsupported startup parameter"))
    }

    /// The connection that said so must not be used again.
    fn is_lost(&self) -> bool {
        matches!(
            self.cause(),
            Some(Cause::TimedOut | Cause::Broken | Cause::ReadOnly | Cause::Stopping | Cause::Rejected)
        )
    }

    /// A unique constraint other than a primary key, whose values are ours.
    fn is_taken(&self) -> bool {
        self.constraint().is_some() && self.cause().is_none()
    }

    fn sqlx(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database(
                DbErr::Query(RuntimeErr::SqlxError(e))
                | DbErr::Exec(RuntimeErr::SqlxError(e))
                | DbErr::Conn(RuntimeErr::SqlxError(e)),
            ) => Some(e),
            _ => None,
        }
    }

    /// The unique constraint that was violated; empty where the database does not name it.
    fn constraint(&self) -> Option<&str> {
        let e = self.sqlx()?.as_database_error()?;
        e.is_unique_violation()
            .then(|| e.constraint().unwrap_or_default())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(e: sqlx::Error) -> Self {
        Self::Unavailable {
            cause: Cause::of(&e),
            detail: format!(": {e}"),
        }
    }
}

#[derive(Debug, Clone)]
enum Engine {
    Postgres {
        pool: pool::Pool,
        /// Another pool is before the server, and lends its connections for a transaction.
        pooled: bool,
    },
    Sqlite(DatabaseConnection),
}

/// What the database itself says of an error: the five letters of SQLSTATE, or SQLite's number.
fn sqlstate(e: &DbErr) -> Option<String> {
    let (DbErr::Query(RuntimeErr::SqlxError(e)) | DbErr::Exec(RuntimeErr::SqlxError(e))) = e else {
        return None;
    };
    Some(e.as_database_error()?.code()?.into_owned())
}

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    backend: Engine,
    outages: Outages,
    database: Arc<Database>,
}
