//! One piece of work on the database, as a whole: a connection, its statements, the commit. It has one limit of
//! ours, whatever hangs, and what it says of the server is noted.

use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DbErr, ExecResult, QueryResult, RuntimeErr,
    Statement,
};
use sea_query_sqlx::SqlxValues;
use sqlx::AssertSqlSafe;
use tokio::sync::Mutex;

use super::pool::{Lease, Pool};
use super::{Cause, Engine, Store, StoreError};

/// How long the work may take once it has a connection. A server that froze answers nothing, no time limit of its own
/// either; and behind a pooler there is none.
const WORK: Duration = Duration::from_secs(5);

/// What the statements of one piece of work run on.
pub(super) enum Line {
    Postgres {
        lease: Mutex<Lease>,
        /// Statements have names and are prepared once for a connection.
        prepares: bool,
    },
    /// One connection, in this process; sea-orm's own pool serves.
    Sqlite(DatabaseConnection),
}

/// A line whose lease goes back to the pool when the work has ended well. Dropped in the midst of the work, because the
/// caller went away, it goes back when the server has said what it still had to say.
struct Borrowed<'a> {
    pool: &'a Pool,
    line: Option<Line>,
}

impl Borrowed<'_> {
    fn take(&mut self) -> Option<Lease> {
        match self.line.take() {
            Some(Line::Postgres { lease, .. }) => Some(lease.into_inner()),
            _ => None,
        }
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        self.take().into_iter().for_each(|lease| self.pool.mend(lease));
    }
}

/// How the statements belong together.
#[derive(Clone, Copy)]
enum Together {
    /// Each is a transaction of its own.
    Not,
    /// They see one moment, and a server takes them that follows another one.
    Snapshot,
}

impl Store {
    /// Does some work on one connection.
    pub(super) async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&Line) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.run_together(Together::Not, work).await
    }

    /// The same for statements that have to see one moment. In SQLite's file nothing goes back between two of them.
    pub(super) async fn snapshot<T>(
        &self,
        work: impl AsyncFnOnce(&Line) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.run_together(Together::Snapshot, work).await
    }

    async fn run_together<T>(
        &self,
        together: Together,
        work: impl AsyncFnOnce(&Line) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // What waits for a database is not a part of every session's future, which is as large as its largest part.
        let done = match &self.backend {
            Engine::Sqlite(db) => Box::pin(limited(work(&Line::Sqlite(db.clone())))).await,
            Engine::Postgres { pool, pooled } => Box::pin(run_on(pool, *pooled, together, work)).await,
        };
        self.outages.note(done.as_ref().err());
        done
    }
}

async fn run_on<T>(
    pool: &Pool,
    pooled: bool,
    together: Together,
    work: impl AsyncFnOnce(&Line) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let line = Line::Postgres {
        lease: Mutex::new(pool.acquire().await?),
        prepares: !pooled,
    };
    // A pooler gives a server's connection for a transaction, and a statement is parsed before it is bound.
    let begin = match together {
        Together::Snapshot => Some("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
        Together::Not => pooled.then_some("BEGIN"),
    };
    let mut borrowed = Borrowed {
        pool,
        line: Some(line),
    };
    let done = match &borrowed.line {
        Some(line) => limited(in_transaction(line, begin, work)).await,
        None => Err(StoreError::unavailable(Cause::Closed)),
    };
    let lease = borrowed.take();
    match done.as_ref().err().is_some_and(StoreError::is_lost) {
        true => pool.forget_idle(),
        false => lease.into_iter().for_each(|lease| pool.back(lease)),
    }
    done
}

async fn in_transaction<T>(
    line: &Line,
    begin: Option<&str>,
    work: impl AsyncFnOnce(&Line) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let Some(begin) = begin else {
        return work(line).await;
    };
    line.simple(begin).await?;
    let done = work(line).await;
    if done.as_ref().err().is_none_or(|e| !e.is_lost()) {
        let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
        line.simple(end).await?;
    }
    done
}

async fn limited<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(WORK, work)
        .await
        .unwrap_or(Err(StoreError::unavailable(Cause::TimedOut)))
}

/// The two of sea-orm's ways to say what sqlx said.
fn query_error(e: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(e.into()))
}

fn execute_error(e: sqlx::Error) -> DbErr {
    DbErr::Exec(RuntimeErr::SqlxError(e.into()))
}

impl Line {
    /// A statement without values, by the simple protocol.
    pub async fn simple(&self, sql: &str) -> Result<(), StoreError> {
        self.execute_unprepared(sql).await?;
        Ok(())
    }
}

fn values(statement: &mut Statement) -> SqlxValues {
    SqlxValues(
        statement
            .values
            .take()
            .unwrap_or_else(|| sea_orm::Values(Vec::new())),
    )
}

#[async_trait::async_trait]
impl ConnectionTrait for Line {
    fn get_database_backend(&self) -> DatabaseBackend {
        match self {
            Self::Postgres { .. } => DatabaseBackend::Postgres,
            Self::Sqlite(_) => DatabaseBackend::Sqlite,
        }
    }

    async fn execute_raw(&self, mut statement: Statement) -> Result<ExecResult, DbErr> {
        match self {
            Self::Sqlite(db) => db.execute_raw(statement).await,
            Self::Postgres { lease, prepares } => {
                let values = values(&mut statement);
                let query = sqlx::query_with(AssertSqlSafe(statement.sql), values).persistent(*prepares);
                let done = query.execute(&mut **lease.lock().await).await;
                done.map(Into::into).map_err(execute_error)
            }
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match self {
            Self::Sqlite(db) => db.execute_unprepared(sql).await,
            Self::Postgres { lease, .. } => {
                let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
                let done = query.execute(&mut **lease.lock().await).await;
                done.map(Into::into).map_err(execute_error)
            }
        }
    }

    async fn query_one_raw(&self, mut statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        match self {
            Self::Sqlite(db) => db.query_one_raw(statement).await,
            Self::Postgres { lease, prepares } => {
                let values = values(&mut statement);
                let query = sqlx::query_with(AssertSqlSafe(statement.sql), values).persistent(*prepares);
                let row = query.fetch_optional(&mut **lease.lock().await).await;
                row.map(|row| row.map(Into::into)).map_err(query_error)
            }
        }
    }

    async fn query_all_raw(&self, mut statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match self {
            Self::Sqlite(db) => db.query_all_raw(statement).await,
            Self::Postgres { lease, prepares } => {
                let values = values(&mut statement);
                let query = sqlx::query_with(AssertSqlSafe(statement.sql), values).persistent(*prepares);
                let rows = query.fetch_all(&mut **lease.lock().await).await;
                rows.map(|rows| rows.into_iter().map(Into::into).collect())
                    .map_err(query_error)
            }
        }
    }
}
