//! What is remembered of histories that went back: which positions a client may hold that are of no history any more.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Rewind;
use crate::ids::{RoomId, Seq};

/// How many rooms are remembered; the oldest is forgotten for the next.
const ROOMS: usize = 4096;
/// What happens within so long of the last one is the same incident.
const INCIDENT: Duration = Duration::from_secs(60);

/// The rooms of this replica whose history went back.
#[derive(Debug, Default)]
pub(super) struct Rewinds(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    rooms: HashMap<RoomId, Rewind>,
    /// In the order of their coming.
    order: VecDeque<RoomId>,
    last: Option<Instant>,
}

impl Rewinds {
    /// True: it is the first of its incident.
    pub(super) fn remember(&self, room: RoomId, rewind: Rewind) -> bool {
        let mut this = self.0.lock();
        match this.rooms.get_mut(&room) {
            // Who was away for both may hold a position of either.
            Some(before) => {
                before.common = before.common.min(rewind.common);
                before.upto = before.upto.max(rewind.upto);
            }
            None => {
                if this.order.len() == ROOMS
                    && let Some(oldest) = this.order.pop_front()
                {
                    this.rooms.remove(&oldest);
                }
                this.rooms.insert(room, rewind);
                this.order.push_back(room);
            }
        }
        let now = Instant::now();
        let last = this.last.replace(now);
        last.is_none_or(|last| now - last > INCIDENT)
    }

    /// Whether a position may be one of a history that is gone: its number alone does not tell.
    pub(super) fn is_ambiguous(&self, room: RoomId, seq: Seq) -> bool {
        let this = self.0.lock();
        let rewind = this.rooms.get(&room);
        rewind.is_some_and(|rewind| rewind.common < seq && seq <= rewind.upto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RoomName;

    #[test]
    fn remembers_so_many_rooms_and_both_of_two_rewinds() {
        let (rewinds, room) = (Rewinds::default(), |n: usize| {
            RoomName::parse(&format!("room {n}")).unwrap().id()
        });
        let rewind = |common, upto| Rewind {
            common: Seq(common),
            upto: Seq(upto),
        };
        assert!(rewinds.remember(room(0), rewind(5, 10)));
        assert!(!rewinds.remember(room(0), rewind(7, 12)));
        let of = |n, seqs: [u64; 4]| seqs.map(|seq| rewinds.is_ambiguous(room(n), Seq(seq)));
        assert_eq!(of(0, [5, 6, 12, 13]), [false, true, true, false]);
        for n in 1..=ROOMS {
            rewinds.remember(room(n), rewind(1, 2));
        }
        assert_eq!(of(0, [5, 6, 12, 13]), [false; 4]);
        assert_eq!(of(ROOMS, [1, 2, 3, 4]), [false, true, false, false]);
        assert_eq!(rewinds.0.lock().rooms.len(), ROOMS);
    }
}
