//! A room: the warm log and the sessions that follow it on this replica. It knows neither sockets nor Redis.

mod log;
mod registry;
mod repair;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, watch};

pub use log::{Entry, Hole, Log, Read, WarmLimits};
pub use registry::{Interest, Rooms, Seat};

use crate::ids::{RoomId, RoomName, Seq};
use crate::protocol::Message;
use crate::session::frame;

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
    /// Bumped when the head has moved; its sessions wait for that.
    bell: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    log: Log,
    repairing: bool,
    sessions: usize,
    empty_since: Instant,
}

impl Room {
    fn new(name: RoomName, limits: WarmLimits) -> Self {
        let state = State {
            log: Log::new(limits),
            repairing: false,
            sessions: 0,
            empty_since: Instant::now(),
        };
        Self {
            id: name.id(),
            name,
            state: Mutex::new(state),
            loaded: OnceCell::new(),
            bell: watch::Sender::new(()),
        }
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

    /// Wakes every session of the room.
    pub fn ring(&self) {
        self.bell.send_replace(());
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

/// One session's view of its room's bell.
pub type Bell = watch::Receiver<()>;

impl Room {
    pub fn bell(self: &Arc<Self>) -> Bell {
        self.bell.subscribe()
    }
}
