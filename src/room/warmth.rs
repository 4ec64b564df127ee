//! All warm logs together have a share of this replica's memory (I7). When it is full, those that have not been used for
//! longest are given back; what their rooms' cursors lack is read from the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Room;
use crate::memory::Share;

/// What a room takes beside its log, in bytes, with its row and its subscription (measured: 1.6 KiB with one session).
const ROOM: usize = 2048;
/// How many logs one append looks at, at most.
const LOOKS: usize = 8;

/// The rooms that hold something warm. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Warmth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    share: Share,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    next: u64,
    /// In the order of their use, nearly: who was used since it got its place gets another one when its turn comes.
    rooms: BTreeMap<u64, Weak<Room>>,
}

/// What a room holds, as the share counts it. Dropped, it is given back.
#[derive(Debug)]
pub(super) struct Holding {
    warmth: Warmth,
    bytes: usize,
    place: Option<u64>,
    /// Since it got its place.
    used: bool,
}

impl Warmth {
    pub fn new(share: Share) -> Self {
        let places = Mutex::default();
        Self(Arc::new(Inner { share, places }))
    }

    /// Lets go of what is over the share, and counts the logs. A room of which something was just added keeps its
    /// newest message, however little there is.
    pub(super) fn make_room(&self, added: &Room) {
        let share = &self.0.share;
        let mut has_more = true;
        for _ in 0..LOOKS {
            if !share.is_over() {
                return;
            }
            let oldest = self.0.places.lock().rooms.pop_first();
            let Some((_, room)) = oldest else {
                has_more = false;
                break;
            };
            if let Some(room) = room.upgrade() {
                room.cool();
            }
        }
        if share.is_over() {
            added.cool_to_newest();
        }
        // A cache that gives back is at work; one that has nothing more to give is at its limit.
        if share.is_over() && !has_more {
            share.refuse();
        }
    }

    fn place(&self, room: Weak<Room>) -> u64 {
        let mut places = self.0.places.lock();
        places.next += 1;
        let place = places.next;
        places.rooms.insert(place, room);
        place
    }
}

impl Holding {
    pub(super) fn new(warmth: Warmth) -> Self {
        warmth.0.share.add(ROOM);
        Self {
            warmth,
            bytes: 0,
            place: None,
            used: false,
        }
    }

    /// The log has grown or shrunk to so many bytes.
    pub(super) fn set(&mut self, bytes: usize, room: &Weak<Room>) {
        let share = &self.warmth.0.share;
        match bytes.checked_sub(self.bytes) {
            Some(0) => return,
            Some(more) => share.add(more),
            None => share.sub(self.bytes - bytes),
        }
        self.bytes = bytes;
        if bytes > 0 && self.place.is_none() {
            self.place = Some(self.warmth.place(room.clone()));
        }
    }

    pub(super) const fn used(&mut self) {
        self.used = true;
    }

    /// Its turn has come. False: it was used, and has a new place.
    pub(super) fn gives_back(&mut self, room: &Weak<Room>) -> bool {
        let used = std::mem::take(&mut self.used);
        self.place = used.then(|| self.warmth.place(room.clone()));
        !used
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.warmth.0.share.sub(ROOM + self.bytes);
        if let Some(place) = self.place {
            self.warmth.0.places.lock().rooms.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio_util::task::TaskTracker;
    use uuid::Uuid;

    use super::super::{Entry, Read, WarmLimits};
    use super::*;
    use crate::ids::{RoomName, Seq};
    use crate::memory::{LEAST, Memory};
    use crate::metrics::Metrics;

    const FRAME: usize = 16 * 1024;

    fn rooms(count: usize) -> (Vec<Arc<Room>>, Share) {
        let share = Memory::new(LEAST, &Metrics::default()).rooms;
        let warmth = Warmth::new(share.clone());
        let limits = WarmLimits {
            messages: 512,
            bytes: 1 << 20,
        };
        let room = |n| {
            let name = RoomName::parse(&format!("room {n}")).unwrap();
            let (tracker, metrics) = (TaskTracker::new(), Metrics::default());
            let room = Room::new(name, limits, warmth.clone(), tracker, metrics);
            let _ = room.load(vec![]);
            room
        };
        ((0..count).map(room).collect(), share)
    }

    fn entry(seq: Seq) -> Entry {
        Entry {
            seq,
            id: Uuid::from_u128(seq.0.into()),
            frame: Bytes::from(vec![b'x'; FRAME]),
        }
    }

    fn warm(room: &Room) -> usize {
        room.state.lock().log.bytes()
    }

    /// 300 rooms of 1 MiB each, where 32 MiB are for all: never more than these and what one look takes, and all of it
    /// is back when the rooms are gone.
    #[test]
    fn all_logs_together_stay_within_the_share() {
        let (rooms, share) = rooms(300);
        for seq in 1..=64 {
            for room in &rooms {
                let _ = room.offer(entry(Seq(seq)));
                assert!(share.held() <= share.limit() + 2 * FRAME, "{}", share.held());
            }
        }
        let counted: usize = rooms.iter().map(|room| warm(room) + ROOM).sum();
        assert_eq!(share.held(), counted);
        assert!(
            share.held() > share.limit() / 2,
            "what is free is used: {}",
            share.held()
        );
        for room in &rooms {
            // Whatever is warm, a cursor finds its way, and who the last message is, is known.
            assert_eq!(room.head(), Seq(64));
            assert_eq!(room.id_at(Seq(64)), Some(entry(Seq(64)).id));
            assert!(room.read(Seq(63), 9, FRAME, &mut vec![]) != Read::UpToDate);
        }
        drop(rooms);
        assert_eq!(share.held(), 0);
    }

    #[test]
    fn who_was_not_used_for_longest_gives_back_first() {
        let (rooms, _) = rooms(100);
        for room in &rooms {
            (1..=40).for_each(|seq| drop(room.offer(entry(Seq(seq)))));
            // Somebody goes on reading in the first one.
            let read = rooms[0].read(Seq(1), 1, FRAME, &mut vec![]);
            assert_eq!(read, Read::Advanced(Seq(2)));
        }
        assert!(rooms[1..30].iter().all(|room| warm(room) == 0));
        assert!(rooms[70..].iter().all(|room| warm(room) > 40 * FRAME));
    }
}
