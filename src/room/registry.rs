//! Which rooms are live here: from their first session until a little after the last one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use super::changes::Changes;
use super::rewinds::Rewinds;
use super::row::Row;
use super::{Entry, Errands, Follower, Log, Offered, Question, Rewind, Room, WarmLimits, Warmth};
use crate::ids::{RoomId, RoomName, Seq};
use crate::memory::Share;
use crate::protocol::TraceContext;
use crate::store::{Store, StoreError};
use crate::telemetry::{Delivery, Origin};
use crate::tools::Tools;

/// How many of a room's newest messages are read when it comes to life: what most resuming clients lack.
const FIRST_READ: u64 = 64;
/// How many rooms without a session may linger: whoever comes back to one is served from memory, but a stranger who only
/// knocks at doors takes no more than this.
pub const EMPTY: usize = 1000;
/// How many rooms one query asks the heads of.
const HEADS_AT_ONCE: usize = 1000;

/// The live rooms of this replica. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rooms(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    live: RwLock<HashMap<RoomId, Arc<Room>>>,
    pub(super) store: Store,
    pub(super) tools: Tools,
    limits: WarmLimits,
    warmth: Warmth,
    linger: Duration,
    interest: Changes,
    hints: Changes,
    rewinds: Rewinds,
}

/// A session's place in a live room; the room stays live while it is held.
#[derive(Debug)]
pub struct Seat {
    room: Arc<Room>,
    place: Option<(Arc<Row>, Arc<dyn Follower>)>,
}

impl Seat {
    /// From now on the follower hears of every message; what came before it has to read itself.
    pub fn follow(&mut self, follower: Arc<dyn Follower>) {
        self.place = Some((self.room.admit(&follower), follower));
    }
}

impl std::ops::Deref for Seat {
    type Target = Arc<Room>;

    fn deref(&self) -> &Arc<Room> {
        &self.room
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some((row, follower)) = &self.place {
            row.dismiss(follower);
        }
        let mut state = self.room.state.lock();
        state.sessions -= 1;
        state.empty_since = Instant::now();
    }
}

impl Shared {
    /// Whether this is still the room that sessions join, of a replica that has not left.
    pub(super) fn is_live(&self, room: &Arc<Room>) -> bool {
        let live = self.live.read();
        let same = live.get(&room.id).is_some_and(|live| Arc::ptr_eq(live, room));
        same && !self.tools.workers.is_closed()
    }

    /// Does what has to be done for a room.
    pub(super) fn run(self: &Arc<Self>, room: &Arc<Room>, errands: Errands) {
        if errands.repair {
            self.tools.metrics.hole();
            super::repair::start(self.clone(), room.clone());
        }
        if errands.doubt {
            super::doubt::start(self.clone(), room.clone());
        }
    }

    /// The store's history of this room is older than ours: who joins now gets the room anew, who is there has to.
    pub(super) fn go_back(&self, room: &Arc<Room>, rewind: Rewind) {
        // Before anybody can join anew.
        let first = self.rewinds.remember(room.id, rewind);
        {
            let mut live = self.live.write();
            if live.get(&room.id).is_some_and(|live| Arc::ptr_eq(live, room)) {
                live.remove(&room.id);
                self.interest.set(room.id, false);
            }
        }
        room.give_up();
        self.tools.metrics.went_back();
        let Rewind { common, upto } = rewind;
        match first {
            true => {
                tracing::error!(room = %room.id, %common, %upto, "the database's history went back: messages that were acked are gone from it, \
                    as after a restore, or a failover that lost the newest commits; sessions of such rooms are made to resume \
                    (other rooms' lines are at debug)");
            }
            false => tracing::debug!(room = %room.id, %common, %upto, "a room's history went back"),
        }
    }
}

impl Rooms {
    /// `share`: what all warm logs together may take.
    pub fn new(store: Store, share: Share, limits: WarmLimits, linger: Duration, tools: Tools) -> Self {
        Self(Arc::new(Shared {
            live: RwLock::default(),
            store,
            tools,
            limits,
            warmth: Warmth::new(share),
            linger,
            interest: Changes::default(),
            hints: Changes::default(),
            rewinds: Rewinds::default(),
        }))
    }

    /// Which rooms' channels the relay should begin (true) or cease to hear.
    pub fn interest(&self) -> Changes {
        self.0.interest.clone()
    }

    /// Live rooms whose heads should be looked at.
    pub fn hints(&self) -> Changes {
        self.0.hints.clone()
    }

    /// Somebody says that there may be something new in a room.
    pub fn hint(&self, room: RoomId) {
        if self.0.live.read().contains_key(&room) {
            self.0.hints.set(room, true);
        }
    }

    /// Takes a seat; the first one brings the room to life: the relay is told first, then the store is read, so
    /// that nothing falls between the two.
    pub async fn join(&self, name: &RoomName) -> Result<Seat, StoreError> {
        let seat = self.seat(name);
        seat.loaded
            .get_or_try_init(|| async {
                let newest = self.0.store.messages(name, None, None, FIRST_READ).await?;
                let errands = seat.load(newest.iter().map(Entry::of).collect());
                self.0.run(&seat, errands);
                Ok::<_, StoreError>(())
            })
            .await?;
        Ok(seat)
    }

    fn seat(&self, name: &RoomName) -> Seat {
        let id = name.id();
        let mut live = self.0.live.write();
        let room = live.entry(id).or_insert_with(|| {
            self.0.interest.set(id, true);
            Room::new(
                name.clone(),
                self.0.limits,
                self.0.warmth.clone(),
                self.0.tools.workers.clone(),
                self.0.tools.metrics.clone(),
            )
        });
        // Counted under the registry's lock, so that `retire` cannot take the room away in between.
        room.state.lock().sessions += 1;
        Seat {
            room: room.clone(),
            place: None,
        }
    }

    /// The room, if it is live here.
    pub fn get(&self, id: RoomId) -> Option<Arc<Room>> {
        self.0.live.read().get(&id).cloned()
    }

    pub fn ids(&self) -> Vec<RoomId> {
        self.0.live.read().keys().copied().collect()
    }

    /// How many rooms are live.
    pub fn len(&self) -> usize {
        self.0.live.read().len()
    }

    /// How many sessions wait for their socket to take more.
    pub fn slow_sessions(&self) -> usize {
        let rooms: Vec<_> = self.0.live.read().values().cloned().collect();
        rooms.iter().map(|room| room.slow_sessions()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Brings a message that was committed elsewhere to its room, if that is live here.
    pub fn arrive(&self, room: RoomId, entry: Entry, origin: Origin) {
        if let Some(room) = self.get(room) {
            self.take(&room, entry, origin);
        }
    }

    /// Brings a message that was committed here to its room, if that is live here.
    pub fn committed(&self, room: RoomId, entry: Entry, origin: Origin) {
        if let Some(room) = self.get(room)
            && self.take(&room, entry, origin) == Offered::Past
        {
            self.doubt(&room);
        }
    }

    fn take(&self, room: &Arc<Room>, entry: Entry, origin: Origin) -> Offered {
        let (message, bytes) = (entry.point(), entry.frame.len());
        let (offered, errands) = room.offer(entry);
        self.0.run(room, errands);
        // What has come before, or from ourselves by way of Redis, has arrived already.
        if !matches!(offered, Offered::News | Offered::Early) {
            return offered;
        }
        let since_commit = origin.age();
        let recorded = origin.trace.filter(TraceContext::is_sampled);
        self.0
            .tools
            .metrics
            .message_arrived(since_commit, recorded.map(|trace| trace.trace_id));
        if let Some(trace) = origin.trace {
            let sessions = room.state.lock().sessions;
            self.0.tools.traces.deliver(
                trace,
                &Delivery {
                    room: &room.name,
                    message,
                    sessions,
                    bytes,
                    since_commit,
                },
            );
        }
        offered
    }

    /// Makes every session of every room look around.
    pub fn call_all(&self) {
        self.0.live.read().values().for_each(|room| room.call_all());
    }

    /// Asks the store for the heads of these rooms and repairs what is behind.
    pub async fn check_heads(&self, rooms: &[RoomId]) -> Result<(), StoreError> {
        let behind = self.compare_heads(rooms).await?;
        self.0.tools.health.heads(behind);
        self.0.tools.metrics.heads_checked(behind);
        Ok(())
    }

    /// The most messages that one of them lacks.
    async fn compare_heads(&self, rooms: &[RoomId]) -> Result<u64, StoreError> {
        let mut most = 0;
        // Without a room the question still shows whether the store answers.
        let chunks = rooms
            .chunks(HEADS_AT_ONCE)
            .chain(rooms.is_empty().then_some(rooms));
        for some in chunks {
            let live: Vec<Arc<Room>> = some.iter().filter_map(|id| self.get(*id)).collect();
            let questions: Vec<Question> = live.iter().map(|room| room.question()).collect();
            let asked: Vec<_> = (live.iter().zip(&questions))
                .map(|(room, question)| (room.id, question.point))
                .collect();
            let heads = self.0.store.heads(&asked).await.inspect_err(|_| {
                let all = self.0.live.read();
                all.values().for_each(|room| drop(room.tell(Log::forget_early)));
            })?;
            for ((room, question), head) in live.iter().zip(questions).zip(heads) {
                most = most.max(head.seq - room.head());
                self.tell(room, |log| log.answer(question, head));
            }
        }
        Ok(most)
    }

    /// Asks the store for a room's head.
    pub async fn stored_head(&self, id: RoomId) -> Result<Seq, StoreError> {
        let live = self.get(id).map(|room| (room.question(), room));
        let point = live.as_ref().and_then(|(question, _)| question.point);
        let head = self.0.store.head(id, point).await?;
        if let Some((question, room)) = live {
            self.tell(&room, |log| log.answer(question, head));
        }
        Ok(head.seq)
    }

    /// Has the store asked whether it still has what this room has.
    pub fn doubt(&self, room: &Arc<Room>) {
        self.tell(room, |log| log.doubt(None));
    }

    fn tell(&self, room: &Arc<Room>, what: impl FnOnce(&mut Log)) {
        let errands = room.tell(what);
        self.0.run(room, errands);
    }

    /// Whether a position may be one of a history that is gone, as far as this replica remembers.
    pub fn is_ambiguous(&self, room: RoomId, seq: Seq) -> bool {
        self.0.rewinds.is_ambiguous(room, seq)
    }

    /// Lets go of the rooms that have been empty for the linger time, and of those that have been for longest where
    /// there are too many.
    pub fn retire(&self) {
        let mut empty: Vec<(Instant, RoomId)> = (self.0.live.read().values())
            .filter_map(|room| Some((room.state.lock().empty_since()?, room.id)))
            .collect();
        let many = empty.len().saturating_sub(EMPTY);
        if many > 0 {
            empty.select_nth_unstable(many - 1);
        }
        let gone = empty.into_iter().enumerate();
        let gone = gone.filter(|(n, (since, _))| *n < many || since.elapsed() >= self.0.linger);
        let gone: Vec<(Instant, RoomId)> = gone.map(|(_, room)| room).collect();
        if gone.is_empty() {
            return;
        }
        let mut live = self.0.live.write();
        for (since, id) in gone {
            // Nobody has come since.
            if (live.get(&id)).is_some_and(|room| room.state.lock().empty_since() == Some(since)) {
                live.remove(&id);
                self.0.interest.set(id, false);
            }
        }
    }

    /// How many live rooms have no session.
    pub fn empty(&self) -> usize {
        let live = self.0.live.read();
        let empty = live.values().filter(|room| room.state.lock().sessions == 0);
        empty.count()
    }
}
