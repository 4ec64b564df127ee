//! Asking the store who is right when something does not fit: what arrived may be late, or the store has come back from
//! an older copy. Nothing is given up on suspicion.

use std::sync::Arc;
use std::time::Duration;

use super::registry::Shared;
use super::{Room, Verdict};

/// Between tries while the store does not answer, or cannot know.
const RETRY: Duration = Duration::from_millis(500);

/// Starts the inquiry that [`super::State::errands`] asked for.
pub(super) fn start(shared: Arc<Shared>, room: Arc<Room>) {
    let tracker = shared.tools.workers.clone();
    tracker.spawn(async move { while step(&shared, &room).await {} });
}

/// One question. False: there is no doubt any more.
async fn step(shared: &Shared, room: &Arc<Room>) -> bool {
    let claim = {
        let mut state = room.state.lock();
        state.doubting = state.log.is_doubted();
        state.doubting.then(|| state.log.claim())
    };
    let Some(claim) = claim.filter(|_| shared.is_live(room)) else {
        return false;
    };
    let verdict = match shared.store.look_back(room.id, &claim.points).await {
        Ok(stored) => claim.judge(&stored),
        Err(e) => {
            tracing::debug!(room = %room.id, error = %e, "a doubt about a room stays, since the store does not answer");
            Verdict::Unsure
        }
    };
    match verdict {
        Verdict::Intact => {
            room.state.lock().log.settle(&claim);
            true
        }
        Verdict::Unsure => {
            tokio::time::sleep(RETRY).await;
            true
        }
        Verdict::WentBack(rewind) => {
            shared.go_back(room, rewind);
            false
        }
    }
}
