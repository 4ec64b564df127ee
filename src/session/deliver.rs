//! Moving the cursor to the head: from the room's warm log, or from the store where that begins too late.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use bytes::Bytes;

use super::wire::{Progress, Reached};
use super::{End, Session};
use crate::ids::{RoomName, Seq};
use crate::memory::Held;
use crate::protocol::Close;
use crate::replica::Replica;
use crate::room::Entry;
use crate::ws::stream::Stream;

/// How much of the log one query reads for a session that is fed from the store, in bytes; one message more where
/// that begins within them. A client that does not read costs so much, beside what the kernel holds for it.
const PAGE: usize = 32 * 1024;

/// What follows `from`, up to `to`.
#[derive(Debug)]
pub(super) struct FedPage {
    from: Seq,
    to: Seq,
    frames: Vec<Bytes>,
    memory: Held,
}

type Reading = Pin<Box<dyn Future<Output = Result<FedPage, End>> + Send>>;

/// How a session is fed from the store: one page at a time, the next when the socket has taken the one before. It goes
/// on beside the session's other business, however long its turn takes to come.
#[derive(Default)]
pub(super) struct Feed {
    reading: Option<Reading>,
    /// What the page takes that the socket has not taken yet.
    memory: Option<Held>,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

impl Feed {
    pub(super) fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<FedPage, End>> {
        let Some(reading) = &mut self.reading else {
            return Poll::Pending;
        };
        let page = task::ready!(reading.as_mut().poll(cx));
        self.reading = None;
        Poll::Ready(page)
    }
}

impl<S: Stream> Session<S> {
    /// Writes what is due until the session is up to date, the socket takes no more, or a page has to be read.
    pub(super) fn deliver(&mut self) -> Result<(), End> {
        let Progress {
            reached,
            frames,
            bytes,
        } = self.wire.deliver(&self.seat)?;
        if frames > 0 {
            self.replica.metrics().delivered(frames, bytes);
        }
        match reached {
            Reached::Blocked => {}
            Reached::Head => self.feed = Feed::default(),
            Reached::Cold(cursor) => {
                self.feed.memory = None;
                if self.feed.reading.is_none() {
                    let (replica, room) = (self.replica.clone(), self.seat.name.clone());
                    self.feed.reading = Some(Box::pin(read_page(replica, room, cursor, self.address)));
                }
            }
        }
        Ok(())
    }

    pub(super) fn fed(&mut self, page: FedPage) {
        let FedPage {
            from,
            to,
            frames,
            memory,
        } = page;
        self.wire.feed(from, to, frames.into_iter());
        self.feed.memory = Some(memory);
    }
}

/// Waits for what its address may have, for memory, and for its turn at the store; then reads what follows `from`.
async fn read_page(
    replica: Arc<Replica>,
    room: RoomName,
    from: Seq,
    address: IpAddr,
) -> Result<FedPage, End> {
    let most = PAGE + replica.rules.message_max_bytes;
    let ration = replica.limits.catch_up.reserve(address, most);
    if !ration.wait().is_zero() {
        tokio::time::sleep(ration.wait()).await;
    }
    let memory = replica.memory.pages.take(most, replica.rules.slow).await;
    let mut memory = memory.map_err(|_| End::Close(Close::NoRoom))?;
    // Nobody closes the semaphore.
    let turn = replica.catch_up.acquire().await;
    let turn = turn.map_err(|_| End::Close(Close::Leaving))?;
    let page = replica.store.page(&room, from, PAGE).await;
    drop(turn);
    replica.metrics().catch_up_read();
    let page = page.map_err(|e| {
        // What is wrong with the store it has said itself, once.
        tracing::debug!(room = %room.id(), error = %e, "a session cannot be fed from the store");
        End::Close(Close::NoRoom)
    })?;
    let Some(to) = page.last().map(|last| last.seq) else {
        tracing::error!(room = %room.id(), cursor = %from, "the store lacks messages below the head");
        return Err(End::Close(Close::TooFarBehind));
    };
    let frames: Vec<Bytes> = page.iter().map(|message| Entry::of(message).frame).collect();
    let bytes = frames.iter().map(Bytes::len).sum();
    memory.shrink_to(bytes);
    ration.used(bytes);
    Ok(FedPage {
        from,
        to,
        frames,
        memory,
    })
}
