//! Fan-out: the sessions of a room stand in rows, and each row has one task that moves all of its sessions
//! together. A message wakes a task for every row, not one for every session, and a large room's rows go out on
//! all cores.

use std::fmt::Debug;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Bell, Read, Room};
use crate::ids::Seq;

/// How many sessions a row has: the writes that one task does in a turn.
const ROW: usize = 128;
/// What is taken from the warm log for one write: frames, and bytes.
pub const WRITE_FRAMES: usize = 64;
pub const WRITE_BYTES: usize = 64 * 1024;

/// What follows a room: the writing side of a session, as the room sees it.
pub trait Follower: Send + Sync + Debug {
    /// The log goes on from `from` to `to` by these frames. A follower that stands at `from` and is not occupied
    /// takes them at once and says true; any other goes on by itself.
    fn advance(&self, from: Seq, to: Seq, frames: &[Bytes]) -> bool;

    /// Makes the follower look around: at the head of the log, or whether the replica is leaving.
    fn call(&self);
}

/// Up to [`ROW`] followers.
#[derive(Debug, Default)]
pub struct Row {
    followers: Mutex<Vec<Arc<dyn Follower>>>,
}

impl Row {
    /// False: the row is full.
    pub fn admit(&self, follower: &Arc<dyn Follower>) -> bool {
        let mut followers = self.followers.lock();
        let free = followers.len() < ROW;
        if free {
            followers.push(follower.clone());
        }
        free
    }

    pub fn dismiss(&self, follower: &Arc<dyn Follower>) {
        let mut followers = self.followers.lock();
        if let Some(at) = followers.iter().position(|other| Arc::ptr_eq(other, follower)) {
            followers.swap_remove(at);
        }
    }

    pub fn call(&self) {
        self.followers.lock().iter().for_each(|follower| follower.call());
    }

    /// Runs as long as the room lives; `at` is where its head was when the bell was taken.
    pub async fn run(self: Arc<Self>, room: Weak<Room>, mut bell: Bell, mut at: Seq) {
        let mut frames = Vec::new();
        while bell.changed().await.is_ok() {
            let Some(room) = room.upgrade() else { return };
            loop {
                frames.clear();
                match room.read(at, WRITE_FRAMES, WRITE_BYTES, &mut frames) {
                    Read::UpToDate => break,
                    // The log has run away from the row: its sessions go on from the store.
                    Read::Cold => {
                        at = room.head();
                        self.call();
                    }
                    Read::Advanced(to) => {
                        let taken = self
                            .followers
                            .lock()
                            .iter()
                            .filter(|f| f.advance(at, to, &frames))
                            .count();
                        room.metrics.delivered(
                            taken * frames.len(),
                            taken * frames.iter().map(Bytes::len).sum::<usize>(),
                        );
                        at = to;
                    }
                }
            }
        }
    }
}
