//! Taking a seat at a position: where a session's cursor begins, and whether that is where the client asked (I3).

use uuid::Uuid;

use crate::ids::{RoomName, Seq};
use crate::replica::Replica;
use crate::room::Seat;
use crate::store::StoreError;

/// Where a client asks to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// With the next message.
    Head,
    /// So many messages back.
    Last(u64),
    /// With the message after `seq`; `id`, if given, is that of the message at `seq`.
    After { seq: Seq, id: Option<Uuid> },
}

/// A seat, and where its session begins.
#[derive(Debug)]
pub struct Joined {
    pub seat: Seat,
    /// Events follow from here.
    pub seq: Seq,
    /// False: what was asked could not be done, and `seq` is the head.
    pub recovered: bool,
}

impl Replica {
    /// Joins a room.
    #[tracing::instrument(name = "join room", skip_all, fields(
        messaging.destination.name = room.as_str(),
        chat.position = ?position,
        chat.resume.recovered = tracing::field::Empty,
        chat.resume.behind = tracing::field::Empty,
    ))]
    pub async fn join(&self, room: &RoomName, position: Position) -> Result<Joined, StoreError> {
        let seat = self.rooms.join(room).await?;
        let head = seat.head();
        let (seq, recovered) = match position {
            Position::Head => (head, true),
            Position::Last(count) => (head - count, true),
            Position::After { seq, id } => self.resume(&seat, head, seq, id).await?,
        };
        if !recovered {
            self.metrics().resume_refused();
        }
        let span = tracing::Span::current();
        span.record("chat.resume.recovered", recovered);
        span.record("chat.resume.behind", seat.head() - seq);
        Ok(Joined { seat, seq, recovered })
    }

    async fn resume(
        &self,
        seat: &Seat,
        head: Seq,
        after: Seq,
        id: Option<Uuid>,
    ) -> Result<(Seq, bool), StoreError> {
        // The client may have seen on another replica what has not yet come here.
        let head = match after > head {
            true => self.rooms.stored_head(seat.id).await?.max(head),
            false => head,
        };
        if after > head || head - after > self.rules.resume_limit {
            return Ok((head, false));
        }
        let same = match id {
            // Of a room whose history went back the number alone does not say of which.
            None => !self.rooms.is_ambiguous(seat.id, after),
            Some(id) => match seat.id_at(after) {
                Some(warm) => warm == id,
                None => self
                    .store
                    .message_at(&seat.name, after)
                    .await?
                    .is_some_and(|message| message.id == id),
            },
        };
        Ok(if same { (after, true) } else { (head, false) })
    }
}
