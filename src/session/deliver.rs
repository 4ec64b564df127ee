//! Moving the cursor to the head: from the room's warm log, or from the store where that begins too late.

use tokio::time::Instant;

use super::{End, Session};
use crate::protocol::Close;
use crate::room::{Entry, Read};

/// What is taken from the warm log for one write: frames, and bytes.
const WRITE_FRAMES: usize = 64;
const WRITE_BYTES: usize = 64 * 1024;
/// How many messages one query reads for a session that is fed from the store.
const PAGE: u64 = 200;

impl Session {
    /// Writes what is due until the session is up to date or the socket takes no more.
    pub(super) async fn deliver(&mut self) -> Result<(), End> {
        loop {
            let written = self.outbox.write(&self.stream)?;
            if written.frames > 0 {
                self.context.metrics.delivered(written.frames, written.bytes);
            }
            if !written.done {
                self.behind_since.get_or_insert_with(Instant::now);
                return Ok(());
            }
            match self
                .seat
                .read(self.cursor, WRITE_FRAMES, WRITE_BYTES, self.outbox.frames())
            {
                Read::UpToDate => {
                    self.behind_since = None;
                    return Ok(());
                }
                Read::Advanced(at) => self.cursor = at,
                Read::Cold => self.read_page().await?,
            }
        }
    }

    async fn read_page(&mut self) -> Result<(), End> {
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
            .messages(&self.seat.name, Some(self.cursor), None, PAGE)
            .await;
        drop(turn);
        self.context.metrics.catch_up_read();
        match page {
            Ok(page) if !page.is_empty() => {
                for message in &page {
                    self.cursor = message.seq;
                    self.outbox.push(Entry::of(message).frame);
                }
                Ok(())
            }
            Ok(_) => {
                tracing::error!(room = %self.seat.id, cursor = self.cursor, "the store lacks messages below the head");
                Err(End::Close(Close::TooFarBehind))
            }
            Err(e) => {
                tracing::warn!(room = %self.seat.id, error = %e, "a session cannot be fed from the store");
                Err(End::Close(Close::NoRoom))
            }
        }
    }
}
