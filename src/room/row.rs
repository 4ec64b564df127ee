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
const ROW: usize = 512;
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

    /// Whether it waits for its socket to take more.
    fn is_slow(&self) -> bool;
}

/// Up to [`ROW`] followers. Its lock is never held over a write: who is moved is a view of the list at that moment, so that
/// whoever comes or goes meanwhile waits for nobody's socket. The list is copied only then. Who comes after the view was taken
/// finds the message in the log itself, since the head moved before; who went has ended its writing side before.
#[derive(Debug, Default)]
pub struct Row {
    followers: Mutex<Arc<Followers>>,
}

type Followers = Vec<Arc<dyn Follower>>;

impl Row {
    /// False: the row is full.
    pub fn admit(&self, follower: &Arc<dyn Follower>) -> bool {
        let mut followers = self.followers.lock();
        let free = followers.len() < ROW;
        if free {
            Arc::make_mut(&mut followers).push(follower.clone());
        }
        free
    }

    pub fn dismiss(&self, follower: &Arc<dyn Follower>) {
        let mut followers = self.followers.lock();
        if let Some(at) = followers.iter().position(|other| Arc::ptr_eq(other, follower)) {
            Arc::make_mut(&mut followers).swap_remove(at);
        }
    }

    fn view(&self) -> Arc<Followers> {
        self.followers.lock().clone()
    }

    pub fn call(&self) {
        self.view().iter().for_each(|follower| follower.call());
    }

    pub fn slow(&self) -> usize {
        self.view().iter().filter(|f| f.is_slow()).count()
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
                        let moved = |follower: &&Arc<dyn Follower>| follower.advance(at, to, &frames);
                        let taken = self.view().iter().filter(moved).count();
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use tokio_util::task::TaskTracker;
    use uuid::Uuid;

    use super::*;
    use crate::ids::RoomName;
    use crate::memory::Memory;
    use crate::metrics::Metrics;
    use crate::room::{Entry, WarmLimits, Warmth};

    /// Takes everything, as a session at the head with a fast socket does.
    #[derive(Debug, Default)]
    struct Eager {
        state: Mutex<(Seq, Vec<Bytes>)>,
        calls: AtomicUsize,
    }

    impl Follower for Eager {
        fn advance(&self, from: Seq, to: Seq, frames: &[Bytes]) -> bool {
            let mut state = self.state.lock();
            assert_eq!(state.0, from, "a row moves its followers without a gap");
            state.0 = to;
            state.1.extend_from_slice(frames);
            true
        }

        fn call(&self) {
            self.calls.fetch_add(1, Ordering::Relaxed);
        }

        fn is_slow(&self) -> bool {
            false
        }
    }

    fn entry(seq: u64) -> Entry {
        Entry {
            seq: Seq(seq),
            id: Uuid::nil(),
            frame: Bytes::from(seq.to_string()),
        }
    }

    fn room(warm: usize) -> (Arc<Room>, TaskTracker) {
        let tracker = TaskTracker::new();
        let limits = WarmLimits {
            messages: warm,
            bytes: 1 << 20,
        };
        let room = Room::new(
            RoomName::parse("r").unwrap(),
            limits,
            Warmth::new(Memory::new(0, &Metrics::default()).rooms),
            tracker.clone(),
            Metrics::default(),
        );
        let _ = room.load(vec![]);
        (room, tracker)
    }

    #[tokio::test]
    async fn everybody_gets_everything_once_and_in_order() {
        let (room, tracker) = room(1000);
        let followers: Vec<Arc<Eager>> = (0..ROW * 2 + 1).map(|_| Arc::default()).collect();
        for follower in &followers {
            room.admit(&(follower.clone() as Arc<dyn Follower>));
        }
        assert_eq!(room.rows.lock().len(), 3);
        for seq in 1..=300 {
            let _ = room.offer(entry(seq));
            if seq % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
        while followers
            .iter()
            .any(|follower| follower.state.lock().0 < Seq(300))
        {
            tokio::task::yield_now().await;
        }
        let all: Vec<Bytes> = (1..=300).map(|seq| entry(seq).frame).collect();
        assert!(followers.iter().all(|follower| follower.state.lock().1 == all));
        // The rows end with their room.
        drop(room);
        tracker.close();
        tracker.wait().await;
    }

    /// Waits in the middle of a write until it may go on.
    #[derive(Debug)]
    struct Writing(Mutex<std::sync::mpsc::Receiver<()>>);

    impl Follower for Writing {
        fn advance(&self, _: Seq, _: Seq, _: &[Bytes]) -> bool {
            let _ = self.0.lock().recv_timeout(Duration::from_secs(30));
            true
        }

        fn call(&self) {}

        fn is_slow(&self) -> bool {
            false
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_comes_or_goes_waits_for_no_write() {
        let (room, _tracker) = room(10);
        let (go_on, writing) = std::sync::mpsc::sync_channel(1);
        let writing: Arc<dyn Follower> = Arc::new(Writing(Mutex::new(writing)));
        let row = room.admit(&writing);
        let _ = room.offer(entry(1));
        let begun = Instant::now();
        while Arc::strong_count(&row.followers.lock()) == 1 {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "the row does not write"
            );
            std::thread::yield_now();
        }
        let follower: Arc<dyn Follower> = Arc::new(Eager::default());
        let come_and_go = std::thread::spawn(move || {
            room.admit(&follower);
            room.slow_sessions();
            row.dismiss(&follower);
            row.dismiss(&writing);
            assert!(row.followers.lock().is_empty());
        });
        while !come_and_go.is_finished() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "it waits for the write"
            );
            std::thread::yield_now();
        }
        come_and_go.join().unwrap();
        go_on.send(()).unwrap();
    }

    #[tokio::test]
    async fn a_row_that_the_log_has_left_behind_calls_its_followers() {
        let (room, _tracker) = room(10);
        let follower: Arc<Eager> = Arc::default();
        let row = room.admit(&(follower.clone() as Arc<dyn Follower>));
        (1..=50).for_each(|seq| {
            let _ = room.offer(entry(seq));
        });
        while follower.calls.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        row.dismiss(&(follower.clone() as Arc<dyn Follower>));
        let _ = room.offer(entry(51));
        tokio::task::yield_now().await;
        assert!(follower.state.lock().1.is_empty());
    }
}
