//! The journal's commit: a batch of drafts becomes rows with the next `seq` of their rooms, or nothing does.

use std::collections::HashMap;

use sea_orm::sea_query::ArrayType;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseBackend, DatabaseConnection, EntityTrait,
    QueryFilter, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait, Value,
};
use uuid::Uuid;

use super::line::Line;
use super::{Cause, Engine, Store, StoreError, entities::messages};
use crate::ids::{Nonce, Point, RoomId, RoomName, Seq, User};

/// A message to be stored.
#[derive(Debug, Clone)]
pub struct NewRow {
    pub room: RoomName,
    pub room_id: RoomId,
    pub id: Uuid,
    pub sender: User,
    pub nonce: Option<Nonce>,
    pub text: String,
    /// Milliseconds since the Unix epoch.
    pub created_at: i64,
}

/// Where a row stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub id: Uuid,
    pub seq: Seq,
    /// The same nonce was stored before: `id` and `seq` are the first one's (I4).
    pub repeated: bool,
}

impl Appended {
    pub const fn point(&self) -> Point {
        Point {
            seq: self.seq,
            id: self.id,
        }
    }
}

/// One statement: find what was stored before, take each room's row in the order of its id (so that replicas
/// never deadlock) and move its head by the number of its new messages, insert them below the new head. The
/// row lock orders the writers of different replicas, and the head moves in the transaction that fills it, so
/// a replica that dies leaves no hole (I2). The upsert makes a room's row with its first message.
const APPEND: &str = "
WITH draft AS (
    SELECT room_id, room, id, sender_id, sender, NULLIF(nonce, '') AS nonce, body, created_at, n
    FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[])
        WITH ORDINALITY AS d(room_id, room, id, sender_id, sender, nonce, body, created_at, n)
), known AS (
    SELECT d.n, m.seq, m.id FROM draft d CROSS JOIN LATERAL (
        SELECT seq, id FROM messages
        WHERE room_id = d.room_id AND sender_id = d.sender_id AND nonce = d.nonce LIMIT 1) m
), fresh AS (
    SELECT d.*, row_number() OVER (PARTITION BY room_id ORDER BY n) - count(*) OVER (PARTITION BY room_id) AS below
    FROM draft d WHERE NOT EXISTS (SELECT 1 FROM known WHERE known.n = d.n)
), moved AS (
    INSERT INTO rooms AS r (id, name, last_seq, created_at)
    SELECT room_id, min(room), count(*), min(created_at) FROM fresh GROUP BY room_id ORDER BY room_id
    ON CONFLICT (id) DO UPDATE SET last_seq = r.last_seq + EXCLUDED.last_seq
    RETURNING r.id, r.last_seq
), placed AS (
    SELECT f.*, m.last_seq + f.below AS seq FROM fresh f JOIN moved m ON m.id = f.room_id
), added AS (
    INSERT INTO messages (room_id, seq, id, sender_id, sender_name, nonce, body, created_at)
    SELECT room_id, seq, id, sender_id, sender, nonce, body, created_at FROM placed
)
SELECT n, seq, id, false AS repeated FROM placed
UNION ALL
SELECT n, seq, id, true AS repeated FROM known";

/// How often a batch is tried when another replica stores one of its nonces at the same moment: the statement
/// then fails as a whole, and the next try sees what the other one stored.
const NONCE_RACES: usize = 5;

impl Store {
    /// Stores a batch, all or nothing. The answer has the batch's order. No two rows of a batch may have the
    /// same room, sender and nonce.
    pub async fn append(&self, batch: &[NewRow]) -> Result<Vec<Appended>, StoreError> {
        let mut tries = 0;
        loop {
            let result = match &self.backend {
                Engine::Postgres { .. } => self.run(async |line| append_postgres(line, batch).await).await,
                Engine::Sqlite(db) => self.run(async |_| append_sqlite(db, batch).await).await,
            };
            tries += 1;
            match &result {
                Err(e) if tries <= NONCE_RACES && e.is_taken() => {}
                Err(e) if tries <= NONCE_RACES && e.cause() == Some(Cause::Behind) => {
                    if !self.heal_heads(batch).await {
                        return result;
                    }
                }
                _ => return result,
            }
        }
    }
}

async fn append_postgres(line: &Line, batch: &[NewRow]) -> Result<Vec<Appended>, StoreError> {
    let column = |kind, value: &dyn Fn(&NewRow) -> Value| {
        Value::Array(kind, Some(Box::new(batch.iter().map(value).collect())))
    };
    let statement = Statement::from_sql_and_values(
        DatabaseBackend::Postgres,
        APPEND,
        [
            column(ArrayType::Uuid, &|row| row.room_id.0.into()),
            column(ArrayType::String, &|row| row.room.as_str().into()),
            column(ArrayType::Uuid, &|row| row.id.into()),
            column(ArrayType::BigInt, &|row| row.sender.id.0.into()),
            column(ArrayType::String, &|row| row.sender.username.as_ref().into()),
            column(ArrayType::String, &|row| {
                row.nonce.as_ref().map_or("", Nonce::as_str).into()
            }),
            column(ArrayType::String, &|row| row.text.as_str().into()),
            column(ArrayType::BigInt, &|row| row.created_at.into()),
        ],
    );
    let mut placed = vec![None; batch.len()];
    for row in line.query_all_raw(statement).await? {
        let n: i64 = row.try_get_by_index(0)?;
        let seq: i64 = row.try_get_by_index(1)?;
        let appended = Appended {
            seq: Seq::from_db(seq),
            id: row.try_get_by_index(2)?,
            repeated: row.try_get_by_index(3)?,
        };
        if let Some(slot) = usize::try_from(n - 1)
            .ok()
            .and_then(|index| placed.get_mut(index))
        {
            *slot = Some(appended);
        }
    }
    let complete: Option<Vec<_>> = placed.into_iter().collect();
    Ok(complete.ok_or_else(|| sea_orm::DbErr::Custom("the append did not place every row".to_owned()))?)
}

/// SQLite has one writer, this process: the same steps, one after the other, in a transaction.
async fn append_sqlite(db: &DatabaseConnection, batch: &[NewRow]) -> Result<Vec<Appended>, StoreError> {
    let tx = db.begin_with_options(write()).await?;
    let mut known: HashMap<usize, Appended> = HashMap::new();
    for (n, row) in batch.iter().enumerate() {
        let Some(nonce) = &row.nonce else { continue };
        let first = messages::Entity::find()
            .filter(messages::Column::RoomId.eq(row.room_id.0))
            .filter(messages::Column::SenderId.eq(row.sender.id.0))
            .filter(messages::Column::Nonce.eq(nonce.as_str()))
            .one(&tx)
            .await?;
        if let Some(first) = first {
            known.insert(
                n,
                Appended {
                    id: first.id,
                    seq: Seq::from_db(first.seq),
                    repeated: true,
                },
            );
        }
    }
    let mut heads: HashMap<RoomId, i64> = HashMap::new();
    let mut placed = Vec::with_capacity(batch.len());
    let mut rows = Vec::with_capacity(batch.len());
    for (n, row) in batch.iter().enumerate() {
        if let Some(appended) = known.get(&n) {
            placed.push(*appended);
            continue;
        }
        let seq = match heads.get(&row.room_id) {
            Some(head) => head + 1,
            None => head_in(&tx, row).await? + 1,
        };
        heads.insert(row.room_id, seq);
        placed.push(Appended {
            id: row.id,
            seq: Seq::from_db(seq),
            repeated: false,
        });
        rows.push(messages::ActiveModel {
            room_id: Set(row.room_id.0),
            seq: Set(seq),
            id: Set(row.id),
            sender_id: Set(row.sender.id.0),
            sender_name: Set(row.sender.username.to_string()),
            nonce: Set(row.nonce.as_ref().map(|nonce| nonce.as_str().to_owned())),
            body: Set(row.text.clone()),
            created_at: Set(row.created_at),
        });
    }
    for (room, head) in &heads {
        let sql = "UPDATE rooms SET last_seq = $1 WHERE id = $2";
        let values = [(*head).into(), room.0.into()];
        tx.execute_raw(Statement::from_sql_and_values(
            DatabaseBackend::Sqlite,
            sql,
            values,
        ))
        .await?;
    }
    // SQLite takes 32,766 parameters in a statement; a row has eight.
    for chunk in rows.chunks(1000) {
        messages::Entity::insert_many(chunk.iter().cloned())
            .exec_without_returning(&tx)
            .await?;
    }
    tx.commit().await?;
    Ok(placed)
}

/// A transaction of SQLite that will write takes the lock for it at its start, and waits there while another process
/// holds it. One that has read before cannot wait any more: what it read may be old by then, so it fails at once.
fn write() -> TransactionOptions {
    TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    }
}

/// The head of a draft's room inside the transaction; makes the room if this is its first message.
async fn head_in(tx: &impl ConnectionTrait, row: &NewRow) -> Result<i64, StoreError> {
    let sql = "INSERT INTO rooms (id, name, last_seq, created_at) VALUES ($1, $2, 0, $3)
               ON CONFLICT (id) DO UPDATE SET last_seq = last_seq RETURNING last_seq";
    let values = [
        row.room_id.0.into(),
        row.room.as_str().into(),
        row.created_at.into(),
    ];
    let head = tx
        .query_one_raw(Statement::from_sql_and_values(
            DatabaseBackend::Sqlite,
            sql,
            values,
        ))
        .await?;
    Ok(head.map_or(Ok(0), |head| head.try_get_by_index(0))?)
}
