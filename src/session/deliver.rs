//! Moving the cursor to the head: from the room's warm log, or from the store where that begins too late.

use super::wire::{Delivery, Reached};
use super::{End, Session};
use crate::ids::Seq;
use crate::protocol::Close;
use crate::room::Entry;

/// How many messages one query reads for a session that is fed from the store.
const PAGE: u64 = 200;

impl Session {
    /// Writes what is due until the session is up to date or the socket takes no more.
    pub(super) async fn deliver(&mut self) -> Result<(), End> {
        loop {
            let Delivery {
                reached,
                frames,
                bytes,
            } = self.wire.deliver(&self.seat)?;
            if frames > 0 {
                self.context.metrics.delivered(frames, bytes);
            }
            match reached {
                Reached::Head | Reached::Blocked => return Ok(()),
                Reached::Cold(cursor) => self.read_page(cursor).await?,
            }
        }
    }

    async fn read_page(&mut self, cursor: Seq) -> Result<(), End> {
        // Nobody closes the semaphore.
        let turn = self
            .context
            .catch_up
            .acquire()
            .await
            .map_err(|_| End::Close(Close::Leaving))?;
        let page = self
            .context
            .store
            .messages(&self.seat.name, Some(cursor), None, PAGE)
            .await;
        drop(turn);
        self.context.metrics.catch_up_read();
        match page {
            Ok(page) => match page.last() {
                Some(last) => {
                    self.wire.feed(
                        cursor,
                        last.seq,
                        page.iter().map(|message| Entry::of(message).frame),
                    );
                    Ok(())
                }
                None => {
                    tracing::error!(room = %self.seat.id, cursor, "the store lacks messages below the head");
                    self.context.rooms.doubt(&self.seat);
                    Err(End::Close(Close::TooFarBehind))
                }
            },
            Err(e) => {
                tracing::warn!(room = %self.seat.id, error = %e, "a session cannot be fed from the store");
                Err(End::Close(Close::NoRoom))
            }
        }
    }
}
