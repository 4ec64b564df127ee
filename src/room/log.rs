//! The warm end of a room's log, and the cursor's view of it. Pure: no clock, no socket, no database.
//!
//! Messages arrive from the local journal, from the relay and from the store, in any order and more than
//! once; the log takes them strictly by `seq` (I2). What comes early waits for the missing one, within
//! limits; what the log has heard of but does not have is a [`Hole`], to be read from the store.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use uuid::Uuid;

use crate::ids::Seq;

/// A message of the log: its place, its identity, and the frame that every session writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub seq: Seq,
    pub id: Uuid,
    /// A whole WebSocket frame, encoded once.
    pub frame: Bytes,
}

/// How much of a room stays warm; older messages are read from the store.
#[derive(Debug, Clone, Copy)]
pub struct WarmLimits {
    pub messages: usize,
    pub bytes: usize,
}

/// Messages that exist but are not here: `after < seq <= upto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    pub after: Seq,
    pub upto: Seq,
}

/// What a cursor finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// At the head: nothing to deliver.
    UpToDate,
    /// The frames were handed out; the cursor is now here.
    Advanced(Seq),
    /// What follows the cursor is no longer warm: read it from the store.
    Cold,
}

/// The warm log of one room.
#[derive(Debug)]
pub struct Log {
    limits: WarmLimits,
    /// `None` until the store has said where the room's head is.
    head: Option<Seq>,
    warm: VecDeque<Entry>,
    warm_bytes: usize,
    early: BTreeMap<Seq, Entry>,
    early_bytes: usize,
    heard_of: Seq,
}

impl Log {
    /// A log that does not yet know its head: it keeps what arrives until [`Log::load`].
    pub const fn new(limits: WarmLimits) -> Self {
        Self {
            limits,
            head: None,
            warm: VecDeque::new(),
            warm_bytes: 0,
            early: BTreeMap::new(),
            early_bytes: 0,
            heard_of: 0,
        }
    }

    /// Starts the log from the store's newest messages, oldest first (none: the room is empty).
    pub fn load(&mut self, newest: Vec<Entry>) {
        if self.head.is_some() {
            return;
        }
        let before = newest.first().map_or(0, |entry| entry.seq - 1);
        self.head = Some(before);
        for entry in newest {
            self.append(entry);
        }
        self.take_early();
    }

    /// The last message in order; 0 before the first, or before the log is loaded.
    pub fn head(&self) -> Seq {
        self.head.unwrap_or(0)
    }

    /// Takes a message from wherever it came. True: the head moved.
    pub fn offer(&mut self, entry: Entry) -> bool {
        self.heard_of = self.heard_of.max(entry.seq);
        match self.head {
            Some(head) if entry.seq <= head => false,
            Some(head) if entry.seq == head + 1 => {
                self.append(entry);
                self.take_early();
                true
            }
            _ => {
                self.keep_early(entry);
                false
            }
        }
    }

    /// Takes word that the room's head is at least `seq`.
    pub fn hear_of(&mut self, seq: Seq) {
        self.heard_of = self.heard_of.max(seq);
    }

    /// The first stretch that is missing, if any is.
    pub fn hole(&self) -> Option<Hole> {
        let after = self.head?;
        let known = self.early.keys().next().map_or(self.heard_of, |first| first - 1);
        (known > after).then_some(Hole { after, upto: known })
    }

    /// The identity of a warm message.
    pub fn id_at(&self, seq: Seq) -> Option<Uuid> {
        let first = self.warm.front()?.seq;
        let index = usize::try_from(seq.checked_sub(first)?).ok()?;
        self.warm.get(index).map(|entry| entry.id)
    }

    /// Hands out what follows `cursor`, at least one frame if there is one, at most `count` frames and about `bytes`.
    pub fn read(&self, cursor: Seq, count: usize, bytes: usize, into: &mut Vec<Bytes>) -> Read {
        if cursor >= self.head() {
            return Read::UpToDate;
        }
        let Some(start) = self
            .warm
            .front()
            .and_then(|first| (cursor + 1).checked_sub(first.seq))
        else {
            return Read::Cold;
        };
        let mut at = cursor;
        let mut taken = 0;
        for entry in self.warm.range(start as usize..).take(count) {
            if taken > 0 && taken + entry.frame.len() > bytes {
                break;
            }
            taken += entry.frame.len();
            into.push(entry.frame.clone());
            at = entry.seq;
        }
        Read::Advanced(at)
    }

    fn append(&mut self, entry: Entry) {
        self.head = Some(entry.seq);
        self.heard_of = self.heard_of.max(entry.seq);
        self.warm_bytes += entry.frame.len();
        self.warm.push_back(entry);
        // The newest message always stays, however large.
        while self.warm.len() > 1
            && (self.warm.len() > self.limits.messages || self.warm_bytes > self.limits.bytes)
        {
            if let Some(old) = self.warm.pop_front() {
                self.warm_bytes -= old.frame.len();
            }
        }
    }

    /// What does not fit is forgotten, but not that it exists: it is a hole then.
    fn keep_early(&mut self, entry: Entry) {
        if self.early.len() >= self.limits.messages
            || self.early_bytes + entry.frame.len() > self.limits.bytes
        {
            return;
        }
        self.early_bytes += entry.frame.len();
        if let Some(same) = self.early.insert(entry.seq, entry) {
            self.early_bytes -= same.frame.len();
        }
    }

    fn take_early(&mut self) {
        while let Some(first) = self.early.first_entry()
            && *first.key() <= self.head.unwrap_or(0) + 1
        {
            let entry = first.remove();
            self.early_bytes -= entry.frame.len();
            if entry.seq == self.head() + 1 {
                self.append(entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(seq: Seq) -> Entry {
        Entry {
            seq,
            id: Uuid::from_u128(seq.into()),
            frame: Bytes::from(vec![b'x'; 1 + (seq % 7) as usize]),
        }
    }

    fn entries(range: impl Iterator<Item = Seq>) -> Vec<Entry> {
        range.map(entry).collect()
    }

    /// Everything a cursor sees until it is up to date or cold.
    fn follow(log: &Log, mut cursor: Seq) -> (Vec<Bytes>, Seq, bool) {
        let mut frames = Vec::new();
        loop {
            match log.read(cursor, 3, 10, &mut frames) {
                Read::UpToDate => return (frames, cursor, false),
                Read::Cold => return (frames, cursor, true),
                Read::Advanced(at) => {
                    assert!(at > cursor);
                    cursor = at;
                }
            }
        }
    }

    const LIMITS: WarmLimits = WarmLimits {
        messages: 20,
        bytes: 100,
    };

    #[test]
    fn what_arrives_before_the_head_is_known_waits_for_it() {
        let mut log = Log::new(LIMITS);
        assert!(!log.offer(entry(6)));
        assert_eq!(log.hole(), None);
        log.load(entries(3..=5));
        assert_eq!(log.head(), 6);
        assert_eq!(
            follow(&log, 2),
            (entries(3..=6).into_iter().map(|e| e.frame).collect(), 6, false)
        );
    }

    #[test]
    fn a_hole_names_what_is_missing() {
        let mut log = Log::new(LIMITS);
        log.load(vec![]);
        log.offer(entry(4));
        assert_eq!(log.hole(), Some(Hole { after: 0, upto: 3 }));
        log.offer(entry(1));
        log.offer(entry(3));
        assert_eq!(log.hole(), Some(Hole { after: 1, upto: 2 }));
        assert!(log.offer(entry(2)));
        assert_eq!((log.hole(), log.head()), (None, 4));
        log.hear_of(9);
        assert_eq!(log.hole(), Some(Hole { after: 4, upto: 9 }));
    }

    #[test]
    fn an_old_cursor_is_cold_and_a_future_one_is_up_to_date() {
        let mut log = Log::new(WarmLimits {
            messages: 2,
            bytes: 1000,
        });
        log.load(entries(1..=5));
        assert_eq!(log.read(2, 9, 99, &mut vec![]), Read::Cold);
        assert_eq!(log.read(3, 9, 99, &mut vec![]), Read::Advanced(5));
        assert_eq!(log.read(8, 9, 99, &mut vec![]), Read::UpToDate);
        assert_eq!(
            (log.id_at(3), log.id_at(4), log.id_at(6)),
            (None, Some(Uuid::from_u128(4)), None)
        );
    }

    proptest! {
        /// The model: a set of seqs that have arrived. Whatever the order and however often they come, the head
        /// is the end of the unbroken run, a cursor sees exactly that run, and the hole is what the model lacks.
        #[test]
        fn agrees_with_a_set(loaded in 0u64..10, arrivals in prop::collection::vec(1u64..25, 0..80), from in 0u64..25) {
            let mut log = Log::new(WarmLimits { messages: 1000, bytes: 100_000 });
            log.load(entries(1..=loaded));
            let mut model: std::collections::BTreeSet<Seq> = (1..=loaded).collect();
            for seq in arrivals {
                log.offer(entry(seq));
                model.insert(seq);
                let head = (1..).find(|seq| !model.contains(seq)).unwrap() - 1;
                prop_assert_eq!(log.head(), head);
                let next = model.iter().copied().find(|seq| *seq > head);
                prop_assert_eq!(log.hole(), next.map(|next| Hole { after: head, upto: next - 1 }));
                let (frames, cursor, cold) = follow(&log, from);
                prop_assert!(!cold);
                prop_assert_eq!(cursor, head.max(from));
                prop_assert_eq!(frames, entries(from + 1..=head).into_iter().map(|e| e.frame).collect::<Vec<_>>());
            }
        }

        /// With small limits the log is bounded, and filling its holes from the store always reaches the head.
        #[test]
        fn is_bounded_and_repairs(arrivals in prop::collection::vec(1u64..200, 1..200)) {
            let mut log = Log::new(LIMITS);
            log.load(vec![]);
            for seq in &arrivals {
                log.offer(entry(*seq));
                prop_assert!(log.warm.len() <= LIMITS.messages && log.warm_bytes <= LIMITS.bytes);
                prop_assert!(log.early.len() <= LIMITS.messages && log.early_bytes <= LIMITS.bytes);
                prop_assert_eq!(log.early_bytes, log.early.values().map(|e| e.frame.len()).sum::<usize>());
            }
            while let Some(hole) = log.hole() {
                for seq in hole.after + 1..=hole.upto.min(hole.after + 5) {
                    log.offer(entry(seq));
                }
            }
            prop_assert_eq!(log.head(), arrivals.iter().copied().max().unwrap());
            prop_assert!(log.early.is_empty());
        }
    }
}
