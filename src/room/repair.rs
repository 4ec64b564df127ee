//! Reading what a room lacks from the store: once per room and replica, not once per session.

use std::sync::Arc;
use std::time::Duration;

use super::registry::Shared;
use super::{Entry, Offered, Room};
use crate::protocol::Message;

/// How long a hole may fill by itself: messages of different replicas overtake each other by less.
const PATIENCE: Duration = Duration::from_millis(10);
/// How many messages one query reads.
const PAGE: u64 = 200;
/// Between tries while the store does not answer.
const RETRY: Duration = Duration::from_millis(500);

/// Starts the repair that [`super::State::errands`] asked for.
pub(super) fn start(shared: Arc<Shared>, room: Arc<Room>) {
    let tracker = shared.tools.workers.clone();
    tracker.spawn(async move {
        tokio::time::sleep(PATIENCE).await;
        while step(&shared, &room).await {}
    });
}

/// One page. False: the room has no hole any more.
#[tracing::instrument(name = "repair hole", skip_all, fields(
    messaging.destination.name = room.name.as_str(),
    chat.hole.after = tracing::field::Empty,
    chat.hole.upto = tracing::field::Empty,
    chat.repaired = tracing::field::Empty,
))]
async fn step(shared: &Arc<Shared>, room: &Arc<Room>) -> bool {
    let hole = {
        let mut state = room.state.lock();
        let hole = state.log.hole();
        state.repairing = hole.is_some();
        hole
    };
    let Some(hole) = hole.filter(|_| shared.is_live(room)) else {
        return false;
    };
    let span = tracing::Span::current();
    span.record("chat.hole.after", hole.after.0);
    span.record("chat.hole.upto", hole.upto.0);
    // With the message at our head: what is missing has to follow that one.
    let (after, before) = (hole.after - 1, hole.upto + 1);
    match shared
        .store
        .messages(&room.name, Some(after), Some(before), PAGE)
        .await
    {
        Ok(page) => {
            let missing = page.iter().filter(|message| message.seq > hole.after).count();
            tracing::debug!(room = %room.id, after = %hole.after, upto = %hole.upto, read = missing, "hole repaired");
            shared.tools.metrics.repaired(missing);
            span.record("chat.repaired", missing);
            if !fill(shared, room, &page, missing) {
                tokio::time::sleep(RETRY).await;
            }
        }
        Err(e) => {
            tracing::debug!(room = %room.id, error = %e, "the store does not answer, the hole stays for now");
            tokio::time::sleep(RETRY).await;
        }
    }
    true
}

/// Gives the room what was read. False: it did not help, and who is right has to be found out first.
fn fill(shared: &Arc<Shared>, room: &Arc<Room>, page: &[Message], missing: usize) -> bool {
    let errands = room.tell(|log| {
        let fits = page
            .iter()
            .all(|message| log.offer(Entry::of(message)) != Offered::Contradiction);
        if fits && missing == 0 {
            // What was announced is not there.
            log.doubt(None);
        }
    });
    room.ring();
    let doubted = errands.doubt;
    shared.run(room, errands);
    !doubted && missing > 0
}
