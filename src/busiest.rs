//! Who is busiest: the rooms and the people with the most messages of the last minute or two, for whoever looks at
//! `/status`. Never a label of a metric: there are too many, and they are people.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use crate::ids::{RoomName, User, UserId};

/// How many of each are told.
const TOLD: usize = 10;
/// How many of each are counted at a time. By the space-saving method (Metwally et al. 2005) whoever has more than one in
/// so many of all messages is among them.
const COUNTED: usize = 256;
/// How long a count goes on before it is the last one's.
const MINUTE: Duration = Duration::from_secs(60);

/// Counts by room and by sender, in bounded memory. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Busiest(Arc<Mutex<Option<Minutes>>>);

/// The minute that goes on, and the one before.
#[derive(Debug)]
struct Minutes {
    begun: Instant,
    now: Tally,
    before: Option<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    rooms: Counts<RoomName>,
    users: Counts<User>,
}

/// What `/status` says, the busiest first.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Report {
    /// Over how many seconds.
    pub seconds: u64,
    pub rooms: Vec<BusyRoom>,
    pub users: Vec<BusyUser>,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct BusyRoom {
    pub room: RoomName,
    /// Messages; at the most so many, where there were more rooms than are counted.
    pub messages: u64,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct BusyUser {
    pub id: UserId,
    pub username: Arc<str>,
    pub messages: u64,
}

impl Busiest {
    /// Counts messages that were stored.
    pub fn count<'a>(&self, stored: impl Iterator<Item = (&'a RoomName, &'a User)>) {
        let mut minutes = self.0.lock();
        let tally = &mut turn(&mut minutes).now;
        for (room, user) in stored {
            tally.rooms.add(room, 1);
            tally.users.add(user, 1);
        }
    }

    pub fn report(&self) -> Report {
        let mut minutes = self.0.lock();
        let Minutes { begun, now, before } = turn(&mut minutes);
        let past = before.as_ref().map_or(Duration::ZERO, |_| MINUTE);
        let rooms = top_of(&now.rooms, before.as_ref().map(|tally| &tally.rooms));
        let users = top_of(&now.users, before.as_ref().map(|tally| &tally.users));
        Report {
            seconds: (past + begun.elapsed()).as_secs(),
            rooms: rooms
                .into_iter()
                .map(|(room, messages)| BusyRoom { room, messages })
                .collect(),
            users: users
                .into_iter()
                .map(|(User { id, username }, messages)| BusyUser {
                    id,
                    username,
                    messages,
                })
                .collect(),
        }
    }
}

/// The minutes as of now.
fn turn(minutes: &mut Option<Minutes>) -> &mut Minutes {
    let now = Instant::now();
    let minutes = minutes.get_or_insert_with(|| Minutes {
        begun: now,
        now: Tally::default(),
        before: None,
    });
    let age = now.duration_since(minutes.begun);
    if age >= MINUTE {
        let last = std::mem::take(&mut minutes.now);
        // What is older than a minute is nobody's last one.
        minutes.before = Some(if age < 2 * MINUTE { last } else { Tally::default() });
        minutes.begun = now;
    }
    minutes
}

fn top_of<K: Hash + Eq + Clone>(now: &Counts<K>, before: Option<&Counts<K>>) -> Vec<(K, u64)> {
    let mut sums = now.0.clone();
    for (key, count) in before.into_iter().flat_map(|counts| &counts.0) {
        *sums.entry(key.clone()).or_default() += count;
    }
    let mut all: Vec<_> = sums.into_iter().collect();
    all.sort_unstable_by_key(|(_, count)| std::cmp::Reverse(*count));
    all.truncate(TOLD);
    all
}

/// The space-saving method: who is new takes the place of whoever has the least, and that one's count.
#[derive(Debug)]
struct Counts<K>(HashMap<K, u64>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone> Counts<K> {
    fn add(&mut self, key: &K, count: u64) {
        if let Some(known) = self.0.get_mut(key) {
            *known += count;
            return;
        }
        let mut before = 0;
        if self.0.len() >= COUNTED {
            let least = self.0.iter().min_by_key(|(_, count)| **count);
            if let Some((least, count)) = least.map(|(key, count)| (key.clone(), *count)) {
                self.0.remove(&least);
                before = count;
            }
        }
        self.0.insert(key.clone(), before + count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn user(id: i64) -> User {
        User {
            id: UserId(id),
            username: id.to_string().into(),
        }
    }

    #[test]
    fn the_busiest_are_told_first() {
        let busiest = Busiest::default();
        let rooms: Vec<_> = (1..=20)
            .map(|n| RoomName::parse(&format!("room {n}")).unwrap())
            .collect();
        for (n, room) in rooms.iter().enumerate() {
            let somebody = user(n as i64 % 3);
            busiest.count(std::iter::repeat_n((room, &somebody), n + 1));
        }
        let report = busiest.report();
        assert_eq!((report.rooms.len(), report.users.len()), (TOLD, 3));
        assert_eq!(
            (report.rooms[0].room.as_str(), report.rooms[0].messages),
            ("room 20", 20)
        );
        assert_eq!((report.users[0].id, report.users[0].messages), (UserId(1), 77));
    }

    #[test]
    fn a_minute_is_kept_and_then_forgotten() {
        let busiest = Busiest::default();
        let (room, ann) = (RoomName::parse("r").unwrap(), user(1));
        let messages = || busiest.report().rooms.first().map(|room| room.messages);
        let older = |by| {
            if let Some(minutes) = &mut *busiest.0.lock() {
                minutes.begun -= by;
            }
        };
        busiest.count(std::iter::repeat_n((&room, &ann), 5));
        older(MINUTE);
        busiest.count(std::iter::once((&room, &ann)));
        assert_eq!(messages(), Some(6));
        older(MINUTE);
        assert_eq!(messages(), Some(1));
        older(2 * MINUTE);
        assert_eq!(messages(), None);
    }

    proptest! {
        /// However many there are, the memory is bounded, no count is too low, and who has more than one in COUNTED is there.
        #[test]
        fn heavy_ones_are_found_among_any_crowd(crowd in prop::collection::vec(0u32..1000, 0..1500), heavy in 0u32..10) {
            let mut counts = Counts::default();
            let mut model: HashMap<u32, u64> = HashMap::new();
            for (n, key) in crowd.iter().enumerate() {
                for key in [Some(*key), n.is_multiple_of(20).then_some(heavy)].into_iter().flatten() {
                    counts.add(&key, 1);
                    *model.entry(key).or_default() += 1;
                    prop_assert!(counts.0.len() <= COUNTED);
                }
            }
            let all: u64 = model.values().sum();
            for (key, count) in model {
                if count > all / COUNTED as u64 {
                    prop_assert!(counts.0.get(&key).is_some_and(|known| *known >= count));
                }
            }
        }
    }
}
