//! The warm end of a room's log, and the cursor's view of it. Pure: no clock, no socket, no database.
//!
//! Messages arrive from the local journal, from the relay and from the store, in any order and more than
//! once; the log takes them strictly by `seq` (I2). What comes early waits for the missing one, within
//! limits; what the log has heard of but does not have is a [`Hole`], to be read from the store.
//!
//! The store may come back from an older copy, and then gives the same places to other messages. Whatever does not
//! fit raises a doubt, not more, since what arrives may be late; [`Claim::judge`] settles it by what the store says.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use uuid::Uuid;

use crate::ids::{Point, Seq};
use crate::store::{Head, Stored};

/// What a message takes beside its frame, in bytes: its place in the log, and the frame's block.
const ENTRY: usize = 96;
/// How many messages may be under suspicion: one that is not what it was is enough.
const SUSPECTS: usize = 8;

/// A message of the log: its place, its identity, and the frame that every session writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub seq: Seq,
    pub id: Uuid,
    /// A whole WebSocket frame, encoded once.
    pub frame: Bytes,
}

impl Entry {
    pub const fn point(&self) -> Point {
        Point {
            seq: self.seq,
            id: self.id,
        }
    }
}

/// What the store is asked when it is asked for the head.
#[derive(Debug, Clone, Copy, Default)]
pub struct Question {
    /// What is at our head: the store's is no lower, or the history went back.
    tip: Option<Point>,
    /// Which message stands there?
    pub point: Option<Point>,
}

/// What a message that came is to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// The next one: the head moved.
    News,
    /// New, and something is missing before it.
    Early,
    /// It is here.
    Known,
    /// Its place is below what is warm: whether it is the one that was there cannot be told.
    Past,
    /// Another message has its place.
    Contradiction,
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
    /// Which message is at the head, however little is warm; `None` in an empty room.
    tip: Option<Uuid>,
    warm: VecDeque<Entry>,
    warm_bytes: usize,
    early: BTreeMap<Seq, Entry>,
    early_bytes: usize,
    heard_of: Seq,
    /// How often something did not fit, and how often that is settled.
    doubts: (u64, u64),
    /// What it did not fit to.
    suspects: Vec<Point>,
    /// The tip when the store was last asked for the head, whether it answered or not.
    asked: Option<Point>,
}

impl Log {
    /// A log that does not yet know its head: it keeps what arrives until [`Log::load`].
    pub const fn new(limits: WarmLimits) -> Self {
        Self {
            limits,
            head: None,
            tip: None,
            warm: VecDeque::new(),
            warm_bytes: 0,
            early: BTreeMap::new(),
            early_bytes: 0,
            heard_of: Seq::NONE,
            doubts: (0, 0),
            suspects: Vec::new(),
            asked: None,
        }
    }

    /// Starts the log from the store's newest messages, oldest first (none: the room is empty).
    pub fn load(&mut self, newest: Vec<Entry>) {
        if self.head.is_some() {
            return;
        }
        let before = newest.first().map_or(Seq::NONE, |entry| entry.seq - 1);
        self.head = Some(before);
        for entry in newest {
            self.append(entry);
        }
        self.take_early();
    }

    /// The last message in order; 0 before the first, or before the log is loaded.
    pub fn head(&self) -> Seq {
        self.head.unwrap_or_default()
    }

    /// Takes a message from wherever it came.
    pub fn offer(&mut self, entry: Entry) -> Offered {
        match self.head {
            Some(head) if entry.seq <= head => self.compare(entry.point()),
            Some(head) if entry.seq == head + 1 => {
                self.append(entry);
                self.take_early();
                Offered::News
            }
            _ => self.keep_early(entry),
        }
    }

    /// What to ask the store when it is asked for the head. The point is the tip of the last time: if the store was away
    /// between the two, and came back older, what it has now may stand upon what it has lost.
    pub fn question(&mut self) -> Question {
        let tip = self.tip();
        let point = std::mem::replace(&mut self.asked, tip).or(tip);
        Question { tip, point }
    }

    /// Forgets what waits for a hole, not that it exists. So it is read from the store, which may have been away in between
    /// and come back older.
    pub fn forget_early(&mut self) {
        self.early.clear();
        self.early_bytes = 0;
    }

    /// Takes the answer: the head, and which message stands at the point, if one does.
    pub fn answer(&mut self, to: Question, stored: Head) {
        self.heard_of = self.heard_of.max(stored.seq);
        let other = |point: &Point| stored.found.is_some_and(|id| id != point.id);
        let gone = |tip: &Point| tip.seq > stored.seq;
        if let Some(known) = to.point.filter(other).or(to.tip.filter(gone)) {
            self.doubt(Some(known));
        }
    }

    /// Something does not fit: to a message that is known, or else to the whole.
    pub fn doubt(&mut self, known: Option<Point>) {
        self.doubts.0 += 1;
        if self.suspects.len() < SUSPECTS {
            self.suspects.extend(known.or(self.tip()));
        }
    }

    /// Whether what is known of the room is in doubt.
    pub const fn is_doubted(&self) -> bool {
        self.doubts.0 > self.doubts.1
    }

    /// All that the log holds to be so, for the store to confirm.
    pub fn claim(&self) -> Claim {
        let warm = self.warm.iter().map(Entry::point);
        let mut points: Vec<Point> = self.asked.into_iter().chain(self.tip()).chain(warm).collect();
        points.extend(&self.suspects);
        points.extend(self.early.values().map(Entry::point));
        points.sort_unstable();
        points.dedup();
        Claim {
            points,
            head: self.head(),
            heard_of: self.heard_of,
            doubts: self.doubts.0,
        }
    }

    /// The claim holds, and with it the doubts that led to it are settled.
    pub fn settle(&mut self, claim: &Claim) {
        self.doubts.1 = claim.doubts;
        self.suspects.retain(|suspect| !claim.points.contains(suspect));
    }

    /// The message at the head.
    pub fn tip(&self) -> Option<Point> {
        Some(Point {
            seq: self.head?,
            id: self.tip?,
        })
    }

    /// The first stretch that is missing, if any is.
    pub fn hole(&self) -> Option<Hole> {
        let after = self.head?;
        let known = self.early.keys().next().map_or(self.heard_of, |first| *first - 1);
        (known > after).then_some(Hole { after, upto: known })
    }

    /// The identity of a message that is warm, or at the head.
    pub fn id_at(&self, seq: Seq) -> Option<Uuid> {
        if self.head == Some(seq) {
            return self.tip;
        }
        let first = self.warm.front()?.seq;
        if seq < first {
            return None;
        }
        let index = usize::try_from(seq - first).ok()?;
        self.warm.get(index).map(|entry| entry.id)
    }

    /// Hands out what follows `cursor`, at least one frame if there is one, at most `count` frames and about `bytes`.
    pub fn read(&self, cursor: Seq, count: usize, bytes: usize, into: &mut Vec<Bytes>) -> Read {
        if cursor >= self.head() {
            return Read::UpToDate;
        }
        let next = cursor + 1;
        let Some(first) = self.warm.front().filter(|first| first.seq <= next) else {
            return Read::Cold;
        };
        let start = next - first.seq;
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

    /// What the log takes of memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.warm_bytes + self.early_bytes + (self.warm.len() + self.early.len()) * ENTRY
    }

    /// Gives back what is kept for speed; the newest `keep` messages stay. What waits for a hole is part of it then.
    pub fn cool(&mut self, keep: usize) {
        self.forget_early();
        self.warm.drain(..self.warm.len().saturating_sub(keep));
        self.warm.shrink_to_fit();
        self.warm_bytes = self.warm.iter().map(|entry| entry.frame.len()).sum();
    }

    fn append(&mut self, entry: Entry) {
        self.head = Some(entry.seq);
        self.tip = Some(entry.id);
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

    /// Compares a message with the one that has its place.
    fn compare(&mut self, Point { seq, id }: Point) -> Offered {
        match self.id_at(seq) {
            Some(same) if same == id => Offered::Known,
            Some(id) => self.contradict(Point { seq, id }),
            None => Offered::Past,
        }
    }

    fn contradict(&mut self, known: Point) -> Offered {
        self.doubt(Some(known));
        Offered::Contradiction
    }

    /// What does not fit is forgotten, but not that it exists: it is a hole then.
    fn keep_early(&mut self, entry: Entry) -> Offered {
        if let Some(early) = self.early.get(&entry.seq) {
            let known = early.point();
            return match known.id == entry.id {
                true => Offered::Known,
                false => self.contradict(known),
            };
        }
        self.heard_of = self.heard_of.max(entry.seq);
        if self.early.len() < self.limits.messages
            && self.early_bytes + entry.frame.len() <= self.limits.bytes
        {
            self.early_bytes += entry.frame.len();
            self.early.insert(entry.seq, entry);
        }
        Offered::Early
    }

    fn take_early(&mut self) {
        while let Some(first) = self.early.first_entry()
            && *first.key() <= self.head.unwrap_or_default() + 1
        {
            let entry = first.remove();
            self.early_bytes -= entry.frame.len();
            match entry.seq == self.head() + 1 {
                true => self.append(entry),
                false => drop(self.compare(entry.point())),
            }
        }
    }
}

/// What a log holds to be so, at a moment. What the store says later has to agree, since all of it was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// In order.
    pub points: Vec<Point>,
    pub head: Seq,
    /// The room's head is no lower than this.
    pub heard_of: Seq,
    doubts: u64,
}

/// What the store's answer to a [`Claim`] means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Intact,
    /// This server cannot know.
    Unsure,
    WentBack(Rewind),
}

/// A history that went back: what was at `common < seq <= upto` is gone, and others may have its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewind {
    pub common: Seq,
    pub upto: Seq,
}

impl Claim {
    /// A message that is missing at or below the stored head was removed, which is no contradiction; and a head that is
    /// lower than a message which is there is a counter behind its table, which the next commit mends.
    pub fn judge(&self, stored: &Stored) -> Verdict {
        if stored.follows {
            return Verdict::Unsure;
        }
        let upto = self.head.max(self.heard_of);
        let newest = stored.ids.last_key_value().map_or(Seq::NONE, |(seq, _)| *seq);
        let head = stored.head.max(newest);
        let mut common = Seq::NONE;
        for Point { seq, id } in &self.points {
            match stored.ids.get(seq) {
                Some(same) if same == id => common = *seq,
                None if *seq <= head => {}
                _ if *seq <= self.head => return Verdict::WentBack(Rewind { common, upto }),
                _ => {
                    return Verdict::WentBack(Rewind {
                        common: Seq::NONE,
                        upto,
                    });
                }
            }
        }
        match upto > head {
            // All that is warm is there, but not what was announced: where the histories part is not seen any more.
            true => Verdict::WentBack(Rewind {
                common: Seq::NONE,
                upto,
            }),
            false => Verdict::Intact,
        }
    }
}

#[cfg(test)]
mod tests;
