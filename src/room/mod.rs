//! A room: the warm log and the sessions that follow it on this replica. It knows neither sockets nor Redis.

mod changes;
mod doubt;
mod log;
mod registry;
mod repair;
mod rewinds;
mod row;
mod warmth;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, watch};
use tokio_util::task::TaskTracker;

pub use changes::Changes;
pub use log::{Entry, Hole, Log, Offered, Question, Read, Rewind, Verdict, WarmLimits};
pub use registry::{EMPTY, Rooms, Seat};
pub use row::{Follower, WRITE_BYTES, WRITE_FRAMES};
pub use warmth::Warmth;

use crate::ids::{RoomId, RoomName, Seq};
use crate::metrics::Metrics;
use crate::protocol::Message;
use crate::ws::frame;
use row::Row;
use warmth::Holding;

impl Entry {
    /// Encodes a message for every session of its room.
    pub fn of(message: &Message) -> Self {
        Self {
            seq: message.seq,
            id: message.id,
            frame: frame::text(&message.to_event()),
        }
    }
}

/// A room that is live on this replica.
#[derive(Debug)]
pub struct Room {
    pub name: RoomName,
    pub id: RoomId,
    state: Mutex<State>,
    loaded: OnceCell<()>,
    /// Its log is not the store's any more: whoever follows has to come back.
    went_back: AtomicBool,
    /// Rung when the head has moved; the rows wait for that.
    bell: watch::Sender<()>,
    rows: Mutex<Vec<Arc<Row>>>,
    tracker: TaskTracker,
    metrics: Metrics,
    warmth: Warmth,
    this: Weak<Self>,
}

/// A row's view of its room's bell.
type Bell = watch::Receiver<()>;

#[derive(Debug)]
struct State {
    log: Log,
    holding: Holding,
    repairing: bool,
    doubting: bool,
    sessions: usize,
    empty_since: Instant,
}

impl Room {
    fn new(
        name: RoomName,
        limits: WarmLimits,
        warmth: Warmth,
        tracker: TaskTracker,
        metrics: Metrics,
    ) -> Arc<Self> {
        let state = State {
            log: Log::new(limits),
            holding: Holding::new(warmth.clone()),
            repairing: false,
            doubting: false,
            sessions: 0,
            empty_since: Instant::now(),
        };
        Arc::new_cyclic(|this| Self {
            id: name.id(),
            name,
            state: Mutex::new(state),
            loaded: OnceCell::new(),
            went_back: AtomicBool::new(false),
            bell: watch::Sender::new(()),
            rows: Mutex::default(),
            tracker,
            metrics,
            warmth,
            this: this.clone(),
        })
    }

    /// The last message in order that this replica has.
    pub fn head(&self) -> Seq {
        self.state.lock().log.head()
    }

    /// The identity of a message that is warm.
    pub fn id_at(&self, seq: Seq) -> Option<uuid::Uuid> {
        self.state.lock().log.id_at(seq)
    }

    /// Whether the room has been given up because its history went back. Its sessions have to resume.
    pub fn went_back(&self) -> bool {
        self.went_back.load(Ordering::Relaxed)
    }

    /// See [`Log::read`]. Of a history that went back nothing more is handed out.
    pub fn read(&self, cursor: Seq, count: usize, bytes: usize, into: &mut Vec<Bytes>) -> Read {
        if self.went_back() {
            return Read::UpToDate;
        }
        let mut state = self.state.lock();
        let read = state.log.read(cursor, count, bytes, into);
        if matches!(read, Read::Advanced(_)) {
            state.holding.used();
        }
        read
    }

    fn ring(&self) {
        self.bell.send_replace(());
    }

    /// Makes every session of the room look around.
    fn call_all(&self) {
        self.rows.lock().iter().for_each(|row| row.call());
    }

    fn slow_sessions(&self) -> usize {
        self.rows.lock().iter().map(|row| row.slow()).sum()
    }

    /// Finds the follower a place in a row, a new one if all are full.
    fn admit(&self, follower: &Arc<dyn Follower>) -> Arc<Row> {
        let mut rows = self.rows.lock();
        if let Some(row) = rows.iter().find(|row| row.admit(follower)) {
            return row.clone();
        }
        let row = Arc::new(Row::default());
        row.admit(follower);
        // First the bell, then the head: what is appended in between rings.
        let bell = self.bell.subscribe();
        self.tracker
            .spawn(row.clone().run(self.this.clone(), bell, self.head()));
        rows.push(row.clone());
        row
    }

    /// Takes a message.
    fn offer(&self, entry: Entry) -> (Offered, Errands) {
        let (offered, errands) = self.change(|state| {
            state.holding.used();
            state.log.offer(entry)
        });
        if offered == Offered::News {
            self.ring();
        }
        (offered, errands)
    }

    /// Tells the log something that moves nothing, as what the store answered.
    fn tell(&self, what: impl FnOnce(&mut Log)) -> Errands {
        self.change(|state| what(&mut state.log)).1
    }

    /// The one way to a log: what it takes of memory then is counted.
    fn change<T>(&self, what: impl FnOnce(&mut State) -> T) -> (T, Errands) {
        let mut state = self.state.lock();
        let result = what(&mut state);
        state.count(&self.this);
        let errands = state.errands();
        drop(state);
        self.warmth.make_room(self);
        (result, errands)
    }

    /// Gives its warm log back, unless it was used since this was last asked.
    fn cool(&self) {
        let mut state = self.state.lock();
        if state.holding.gives_back(&self.this) {
            state.log.cool(0);
            state.count(&self.this);
        }
    }

    fn cool_to_newest(&self) {
        let mut state = self.state.lock();
        state.log.cool(1);
        state.count(&self.this);
    }

    fn question(&self) -> Question {
        self.state.lock().log.question()
    }

    fn load(&self, newest: Vec<Entry>) -> Errands {
        let errands = self.tell(|log| log.load(newest));
        self.ring();
        errands
    }

    fn give_up(&self) {
        self.went_back.store(true, Ordering::Relaxed);
        self.call_all();
    }
}

/// What has to be done for a room. Each is asked for once, until it is done: whoever gets it, does it.
#[derive(Debug)]
#[must_use]
struct Errands {
    /// Something is missing: read it from the store.
    repair: bool,
    /// Something does not fit: ask the store who is right.
    doubt: bool,
}

impl State {
    fn empty_since(&self) -> Option<Instant> {
        (self.sessions == 0).then_some(self.empty_since)
    }

    fn count(&mut self, room: &Weak<Room>) {
        self.holding.set(self.log.bytes(), room);
    }

    fn errands(&mut self) -> Errands {
        let errands = Errands {
            repair: !self.repairing && self.log.hole().is_some(),
            doubt: !self.doubting && self.log.is_doubted(),
        };
        self.repairing |= errands.repair;
        self.doubting |= errands.doubt;
        errands
    }
}
