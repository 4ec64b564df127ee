//! What happened to which rooms, for one who asks now and then.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::ids::RoomId;

/// A state, not a queue: a room that comes and goes is in it once, as it was last. Cheap to clone.
#[derive(Debug, Default, Clone)]
pub struct Changes(Arc<Gathered>);

#[derive(Debug, Default)]
struct Gathered {
    rooms: Mutex<HashMap<RoomId, bool>>,
    changed: Notify,
}

impl Changes {
    pub(super) fn set(&self, room: RoomId, to: bool) {
        self.0.rooms.lock().insert(room, to);
        self.0.changed.notify_one();
    }

    /// All since this was last asked. Waits until there is something.
    pub async fn next(&self) -> HashMap<RoomId, bool> {
        loop {
            let rooms = std::mem::take(&mut *self.0.rooms.lock());
            if !rooms.is_empty() {
                return rooms;
            }
            self.0.changed.notified().await;
        }
    }
}
