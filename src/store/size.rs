//! How much the log has grown to: what fills the disk.

use sea_orm::{ConnectionTrait, DatabaseBackend, Statement};

use super::{Store, StoreError};

/// What the messages take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// On disk, with their indexes; in SQLite the whole file.
    pub bytes: u64,
    /// How many there are, as the server last estimated it: nothing is counted for this.
    pub messages: u64,
}

/// A table that was never analyzed has -1 rows.
const POSTGRES: &str = "SELECT pg_total_relation_size(oid), greatest(reltuples, 0)::bigint
    FROM pg_class WHERE oid = 'messages'::regclass";
const SQLITE: &str = "SELECT page_count * page_size, (SELECT COALESCE(max(rowid), 0) FROM messages)
    FROM pragma_page_count, pragma_page_size";

impl Store {
    /// Asks for it, without reading a table.
    pub async fn size(&self) -> Result<Size, StoreError> {
        self.run(async |line| {
            let backend = line.get_database_backend();
            let sql = match backend {
                DatabaseBackend::Postgres => POSTGRES,
                _ => SQLITE,
            };
            let row = line.query_one_raw(Statement::from_string(backend, sql)).await?;
            let (bytes, messages): (i64, i64) = match row {
                Some(row) => (row.try_get_by_index(0)?, row.try_get_by_index(1)?),
                None => (0, 0),
            };
            Ok(Size {
                bytes: u64::try_from(bytes).unwrap_or(0),
                messages: u64::try_from(messages).unwrap_or(0),
            })
        })
        .await
    }
}
