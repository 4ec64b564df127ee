//! What the store says of what a replica knows already: it may have come back from an older copy.

use std::collections::{BTreeMap, HashMap};

use sea_orm::sea_query::ArrayType;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseBackend, EntityTrait, QueryFilter, QueryResult, QuerySelect,
    Statement, Value,
};
use uuid::Uuid;

use super::{Engine, Store, StoreError, entities::messages, entities::rooms};
use crate::ids::{Point, RoomId, Seq};

/// A room's head, 0 without a message, and which message stands at the place that was asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Head {
    pub seq: Seq,
    pub found: Option<Uuid>,
}

const HEADS: &str = "
SELECT COALESCE(r.last_seq, 0), m.id
FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS asked(room, seq, n)
LEFT JOIN rooms r ON r.id = asked.room
LEFT JOIN messages m ON m.room_id = asked.room AND m.seq = asked.seq
ORDER BY n";

/// What is there of what was asked for, on one server and at one moment.
#[derive(Debug, Default)]
pub struct Stored {
    pub head: Seq,
    /// Which message stands at a place, where one does.
    pub ids: BTreeMap<Seq, Uuid>,
    /// The server follows another one, and may lack what that has.
    pub follows: bool,
}

impl Store {
    /// A room's head, and what stands at the point's place.
    pub async fn head(&self, room: RoomId, point: Option<Point>) -> Result<Head, StoreError> {
        let asked = [(room, point)];
        let heads = self.traced("SELECT", "rooms", self.heads(&asked)).await?;
        Ok(heads.first().copied().unwrap_or_default())
    }

    /// The heads of these rooms, in their order, in one query. Without a span: it is asked all the time, for nobody in
    /// particular.
    pub async fn heads(&self, rooms: &[(RoomId, Option<Point>)]) -> Result<Vec<Head>, StoreError> {
        if matches!(self.backend, Engine::Sqlite(_)) {
            return self.heads_alone(rooms).await;
        }
        let column = |kind, values: Vec<Value>| Value::Array(kind, Some(Box::new(values)));
        let ids = rooms.iter().map(|(room, _)| room.0.into());
        let places = rooms
            .iter()
            .map(|(_, point)| point.map_or(0, |point| point.seq.to_db()).into());
        let statement = Statement::from_sql_and_values(
            DatabaseBackend::Postgres,
            HEADS,
            [
                column(ArrayType::Uuid, ids.collect()),
                column(ArrayType::BigInt, places.collect()),
            ],
        );
        let head = |row: &QueryResult| {
            let seq: i64 = row.try_get_by_index(0)?;
            Ok(Head {
                seq: Seq::from_db(seq),
                found: row.try_get_by_index(1)?,
            })
        };
        self.run(async |line| line.query_all_raw(statement).await?.iter().map(head).collect())
            .await
    }

    /// SQLite's file is not changed for another one below the process that has it open: nobody doubts its messages.
    async fn heads_alone(&self, rooms: &[(RoomId, Option<Point>)]) -> Result<Vec<Head>, StoreError> {
        let rows: Vec<(Uuid, i64)> = self
            .run(async |line| {
                let found = rooms::Entity::find()
                    .select_only()
                    .columns([rooms::Column::Id, rooms::Column::LastSeq])
                    .filter(rooms::Column::Id.is_in(rooms.iter().map(|(room, _)| room.0)))
                    .into_tuple();
                Ok(found.all(line).await?)
            })
            .await?;
        let rows: HashMap<Uuid, i64> = rows.into_iter().collect();
        let head = |(room, _): &(RoomId, Option<Point>)| Head {
            seq: Seq::from_db(rows.get(&room.0).copied().unwrap_or(0)),
            found: None,
        };
        Ok(rooms.iter().map(head).collect())
    }

    /// Which of these messages are there, at one moment, as a server says that may follow another one.
    pub async fn look_back(&self, room: RoomId, points: &[Point]) -> Result<Stored, StoreError> {
        self.snapshot(async |line| {
            let follows = match line.get_database_backend() {
                DatabaseBackend::Postgres => {
                    let ask = Statement::from_string(DatabaseBackend::Postgres, "SELECT pg_is_in_recovery()");
                    let answer = line.query_one_raw(ask).await?;
                    answer.map_or(Ok(true), |row| row.try_get_by_index(0))?
                }
                _ => false,
            };
            let head: Option<i64> = rooms::Entity::find_by_id(room.0)
                .select_only()
                .column(rooms::Column::LastSeq)
                .into_tuple()
                .one(line)
                .await?;
            let ids: Vec<(i64, Uuid)> = messages::Entity::find()
                .select_only()
                .columns([messages::Column::Seq, messages::Column::Id])
                .filter(messages::Column::RoomId.eq(room.0))
                .filter(messages::Column::Seq.is_in(points.iter().map(|point| point.seq.to_db())))
                .into_tuple()
                .all(line)
                .await?;
            Ok(Stored {
                head: Seq::from_db(head.unwrap_or(0)),
                ids: ids.into_iter().map(|(seq, id)| (Seq::from_db(seq), id)).collect(),
                follows,
            })
        })
        .await
    }
}
