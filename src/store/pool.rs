//! The pool of connections, as operators see it.

use std::time::{Duration, Instant};

use sea_orm::DatabaseBackend;
use sqlx::{Database, Pool};

use super::Store;

/// How many connections there are.
#[derive(Debug, Clone, Copy)]
pub struct Connections {
    pub idle: u32,
    pub used: u32,
    /// As many as there may be.
    pub most: u32,
}

impl Store {
    pub fn connections(&self) -> Connections {
        match self.db.get_database_backend() {
            DatabaseBackend::Postgres => count(self.db.get_postgres_connection_pool()),
            _ => count(self.db.get_sqlite_connection_pool()),
        }
    }

    /// How long a query would wait for a connection just now. A wait that ends without one counts too: the queries
    /// themselves say what was wrong.
    pub async fn wait_for_connection(&self) -> Duration {
        let begun = Instant::now();
        match self.db.get_database_backend() {
            DatabaseBackend::Postgres => drop(self.db.get_postgres_connection_pool().acquire().await),
            _ => drop(self.db.get_sqlite_connection_pool().acquire().await),
        }
        begun.elapsed()
    }
}

fn count<D: Database>(pool: &Pool<D>) -> Connections {
    let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
    Connections {
        idle,
        used: pool.size().saturating_sub(idle),
        most: pool.options().get_max_connections(),
    }
}
