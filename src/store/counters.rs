//! Counters that say less than their table has, after a restore or a copy: the sequence of accounts' ids, and rooms'
//! last `seq`. What they give next is taken already, which is no user's fault.

use sea_orm::{ConnectionTrait, DatabaseBackend, Statement};

use super::migrate::{SchemaError, begin, missing};
use super::{Cause, NewRow, PostgresServer, Store, StoreError};

const IDS: &str = "SELECT last_value FROM pg_sequences WHERE (quote_ident(schemaname) || '.' || quote_ident(sequencename))::regclass
    = pg_get_serial_sequence('accounts', 'id')::regclass";

/// Never backwards: another replica may have healed it already.
const HEAL_IDS: &str = "SELECT setval(pg_get_serial_sequence('accounts', 'id'),
    GREATEST((SELECT max(id) FROM accounts), nextval(pg_get_serial_sequence('accounts', 'id'))))";

/// Takes the room's row, as an append does, so that nobody appends in between.
const HEAL_HEAD: &str = "INSERT INTO rooms AS r (id, name, last_seq, created_at)
    SELECT $1, $2, max(seq), $3 FROM messages WHERE room_id = $1 HAVING max(seq) IS NOT NULL
    ON CONFLICT (id) DO UPDATE SET last_seq = GREATEST(r.last_seq, EXCLUDED.last_seq)";

const HEADS: &str = "SELECT m.room_id::text, COALESCE(r.last_seq, 0), m.last
    FROM (SELECT room_id, max(seq) AS last FROM messages GROUP BY room_id) m LEFT JOIN rooms r ON r.id = m.room_id
    WHERE COALESCE(r.last_seq, 0) < m.last ORDER BY m.room_id LIMIT 20";

fn postgres(sql: &str) -> Statement {
    Statement::from_string(DatabaseBackend::Postgres, sql)
}

impl Store {
    /// Whether a next try can succeed.
    pub(super) async fn heal_account_ids(&self) -> bool {
        let healed = self.run(async |line| {
            line.query_one_raw(postgres(HEAL_IDS)).await?;
            Ok(())
        });
        healed_or_told("accounts_id_seq", healed.await)
    }

    /// Whether a next try can succeed.
    pub(super) async fn heal_heads(&self, batch: &[NewRow]) -> bool {
        let mut rooms: Vec<&NewRow> = batch.iter().collect();
        rooms.sort_by_key(|row| row.room_id.0);
        rooms.dedup_by_key(|row| row.room_id);
        let healed = self.run(async |line| {
            for row in &rooms {
                let values = [
                    row.room_id.0.into(),
                    row.room.as_str().into(),
                    row.created_at.into(),
                ];
                line.execute_raw(Statement::from_sql_and_values(
                    DatabaseBackend::Postgres,
                    HEAL_HEAD,
                    values,
                ))
                .await?;
            }
            Ok(())
        });
        healed_or_told("rooms.last_seq", healed.await)
    }
}

fn healed_or_told(counter: &str, healed: Result<(), StoreError>) -> bool {
    match healed {
        Ok(()) => {
            tracing::warn!(
                counter,
                "a counter was behind its table, and was set to what the table has"
            );
            true
        }
        Err(e) => {
            tracing::debug!(counter, error = %e, cause = %Cause::Behind, "a counter is behind its table and could not be set");
            false
        }
    }
}

/// What `migrate` would do, and which counters are behind their tables; changes nothing. Empty: all is well.
pub async fn check(server: &PostgresServer) -> Result<Vec<String>, SchemaError> {
    let db = server.unlimited().await?;
    let tx = begin(&db).await?;
    let mut found: Vec<String> = missing(&tx)
        .await?
        .into_iter()
        .map(|name| format!("the migration {name} is pending: run `chat-gateway migrate`"))
        .collect();
    if found.is_empty() {
        let value = |row: Option<sea_orm::QueryResult>| {
            row.map_or(Ok(None), |row| row.try_get_by_index::<Option<i64>>(0))
                .map(Option::unwrap_or_default)
        };
        let given = value(tx.query_one_raw(postgres(IDS)).await?)?;
        let taken = value(tx.query_one_raw(postgres("SELECT max(id) FROM accounts")).await?)?;
        if given < taken {
            found.push(format!(
                "the sequence of accounts.id is at {given}, the table has {taken}: SELECT setval(pg_get_serial_sequence('accounts', 'id'), {taken})"
            ));
        }
        for row in tx.query_all_raw(postgres(HEADS)).await? {
            let (room, said, last): (String, i64, i64) = (
                row.try_get_by_index(0)?,
                row.try_get_by_index(1)?,
                row.try_get_by_index(2)?,
            );
            found.push(format!(
                "the room {room} says that its last seq is {said}, it has {last}: UPDATE rooms SET last_seq = {last} WHERE id = '{room}' AND last_seq < {last}"
            ));
        }
    }
    tx.rollback().await?;
    db.close().await?;
    Ok(found)
}
