//! Reading the log: a room's newest messages, and stretches of it.

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement, Value,
};

use super::{Store, StoreError, entities::messages};
use crate::ids::{RoomName, Seq, UserId};
use crate::protocol::{Message, Sender};

impl messages::Model {
    fn into_message(self, room: &RoomName) -> Message {
        Message {
            room: room.as_str().to_owned(),
            seq: Seq::from_db(self.seq),
            id: self.id,
            sender: Sender {
                id: UserId(self.sender_id),
                username: self.sender_name,
            },
            text: self.body,
            create_time: self.created_at,
        }
    }
}

/// What one message adds to its text in a frame, about.
const FRAME: i64 = 256;
/// The most messages of a page.
const PAGE_MESSAGES: i64 = 200;

/// The running sum stops the page, so that long texts are neither sent nor read for nothing.
const PAGE: &str = "
SELECT room_id, seq, id, sender_id, sender_name, nonce, body, created_at FROM (
    SELECT *, sum(octet_length(body) + $1) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - octet_length(body) AS ahead
    FROM messages WHERE room_id = $2 AND seq > $3 ORDER BY seq LIMIT $4) page
WHERE ahead <= $5 ORDER BY seq";

impl Store {
    /// What follows `after`, oldest first: at least one message if there is one, and about `bytes` as frames, without
    /// the length of the last.
    pub async fn page(&self, room: &RoomName, after: Seq, bytes: usize) -> Result<Vec<Message>, StoreError> {
        let values: [Value; 5] = [
            FRAME.into(),
            room.id().0.into(),
            (after.to_db()).into(),
            PAGE_MESSAGES.into(),
            (bytes.max(FRAME as usize) as i64).into(),
        ];
        let work = self.run(async |line| {
            let statement = Statement::from_sql_and_values(line.get_database_backend(), PAGE, values);
            Ok(messages::Entity::find().from_raw_sql(statement).all(line).await?)
        });
        let rows = self.traced("SELECT", "messages", work).await?;
        Ok(rows.into_iter().map(|row| row.into_message(room)).collect())
    }

    /// At most `limit` messages with `after < seq < before`, oldest first: those nearest to `after` if it is
    /// given, else the newest of them.
    pub async fn messages(
        &self,
        room: &RoomName,
        after: Option<Seq>,
        before: Option<Seq>,
        limit: u64,
    ) -> Result<Vec<Message>, StoreError> {
        let mut query = messages::Entity::find()
            .filter(messages::Column::RoomId.eq(room.id().0))
            .limit(limit);
        if let Some(after) = after {
            query = query.filter(messages::Column::Seq.gt(after.to_db()));
        }
        if let Some(before) = before {
            query = query.filter(messages::Column::Seq.lt(before.to_db()));
        }
        let query = match after {
            Some(_) => query.order_by_asc(messages::Column::Seq),
            None => query.order_by_desc(messages::Column::Seq),
        };
        let work = self.run(async |line| Ok(query.all(line).await?));
        let mut rows: Vec<Message> = self
            .traced("SELECT", "messages", work)
            .await?
            .into_iter()
            .map(|row| row.into_message(room))
            .collect();
        if after.is_none() {
            rows.reverse();
        }
        Ok(rows)
    }

    /// The message at that place.
    pub async fn message_at(&self, room: &RoomName, seq: Seq) -> Result<Option<Message>, StoreError> {
        let work = self.run(async |line| {
            let found = messages::Entity::find_by_id((room.id().0, seq.to_db()));
            Ok(found.one(line).await?)
        });
        let row = self.traced("SELECT", "messages", work).await?;
        Ok(row.map(|row| row.into_message(room)))
    }
}
