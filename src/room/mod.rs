//! A room: the warm log and the sessions that follow it on this replica. It knows neither sockets nor Redis.

mod log;
mod registry;
mod repair;
mod row;

use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, watch};
use tokio_util::task::TaskTracker;

pub use log::{Entry, Hole, Log, Read, WarmLimits};
pub use registry::{Interest, Parts, Rooms, Seat};
pub use row::{Follower, WRITE_BYTES, WRITE_FRAMES};

use crate::ids::{RoomId, RoomName, Seq};
use crate::metrics::Metrics;
use crate::protocol::Message;
use crate::session::frame;
use row::Row;

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
    /// Rung when the head has moved; the rows wait for that.
    bell: watch::Sender<()>,
    rows: Mutex<Vec<Arc<Row>>>,
    tracker: TaskTracker,
    metrics: Metrics,
    this: Weak<Self>,
}

/// A row's view of its room's bell.
type Bell = watch::Receiver<()>;

#[derive(Debug)]
struct State {
    log: Log,
    repairing: bool,
    sessions: usize,
    empty_since: Instant,
}

impl Room {
    fn new(name: RoomName, limits: WarmLimits, tracker: TaskTracker, metrics: Metrics) -> Arc<Self> {
        let log = Log::new(limits);
        let state = State {
            log,
            repairing: false,
            sessions: 0,
            empty_since: Instant::now(),
        };
        Arc::new_cyclic(|this| Self {
            id: name.id(),
            name,
            state: Mutex::new(state),
            loaded: OnceCell::new(),
            bell: watch::Sender::new(()),
            rows: Mutex::default(),
            tracker,
            metrics,
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

    /// See [`Log::read`].
    pub fn read(&self, cursor: Seq, count: usize, bytes: usize, into: &mut Vec<Bytes>) -> Read {
        self.state.lock().log.read(cursor, count, bytes, into)
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

    /// Takes a message; true: something is missing before it and somebody has to start the repair.
    fn offer(&self, entry: Entry) -> bool {
        let mut state = self.state.lock();
        let moved = state.log.offer(entry);
        let repair = state.wants_repair();
        drop(state);
        if moved {
            self.ring();
        }
        repair
    }

    /// Takes word of the room's head; true: somebody has to start the repair.
    fn hear_of(&self, head: Seq) -> bool {
        let mut state = self.state.lock();
        state.log.hear_of(head);
        state.wants_repair()
    }

    fn load(&self, newest: Vec<Entry>) -> bool {
        let mut state = self.state.lock();
        state.log.load(newest);
        let repair = state.wants_repair();
        drop(state);
        self.ring();
        repair
    }
}

impl State {
    /// True once for each repair: whoever gets it, does it.
    fn wants_repair(&mut self) -> bool {
        let wanted = !self.repairing && self.log.hole().is_some();
        self.repairing |= wanted;
        wanted
    }
}
