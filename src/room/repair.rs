//! Reading what a room lacks from the store: once per room and replica, not once per session.

use std::sync::Arc;
use std::time::Duration;

use super::registry::Shared;
use super::{Entry, Room};

/// How long a hole may fill by itself: messages of different replicas overtake each other by less.
const PATIENCE: Duration = Duration::from_millis(10);
/// How many messages one query reads.
const PAGE: u64 = 200;
/// Between tries while the store does not answer.
const RETRY: Duration = Duration::from_millis(500);

/// Starts the repair that [`super::State::wants_repair`] asked for.
pub(super) fn start(shared: Arc<Shared>, room: Arc<Room>) {
    let tracker = shared.tracker.clone();
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
async fn step(shared: &Shared, room: &Arc<Room>) -> bool {
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
    span.record("chat.hole.after", hole.after);
    span.record("chat.hole.upto", hole.upto);
    let before = Some(hole.upto.saturating_add(1));
    match shared
        .store
        .messages(&room.name, Some(hole.after), before, PAGE)
        .await
    {
        Ok(page) if page.is_empty() => {
            tracing::error!(room = %room.id, after = hole.after, upto = hole.upto, "the store lacks messages that were announced");
            tokio::time::sleep(RETRY).await;
        }
        Ok(page) => {
            tracing::debug!(room = %room.id, after = hole.after, upto = hole.upto, read = page.len(), "hole repaired");
            shared.metrics.repaired(page.len());
            span.record("chat.repaired", page.len());
            let mut state = room.state.lock();
            for message in &page {
                state.log.offer(Entry::of(message));
            }
            drop(state);
            room.ring();
        }
        Err(e) => {
            tracing::warn!(room = %room.id, error = %e, "the store does not answer, the hole stays for now");
            tokio::time::sleep(RETRY).await;
        }
    }
    true
}
