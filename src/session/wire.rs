//! The writing side of a session: its socket, its cursor, and what the socket has still to take.
//!
//! Two tasks write to it. While the session is at the head and nothing is left over, the room's row hands it each
//! message and the session's own task sleeps on; in every other case that task moves the cursor. Either holds the
//! lock for as long as one write takes, never while it waits.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::ids::Seq;
use crate::room::{Follower, Read, Room, WRITE_BYTES, WRITE_FRAMES};
use crate::ws::outbox::{Outbox, write_frames};
use crate::ws::stream::Stream;

/// A session's writing side.
#[derive(Debug)]
pub struct Wire<S> {
    pub stream: S,
    state: Mutex<State>,
    called: Notify,
}

#[derive(Debug)]
struct State {
    cursor: Seq,
    outbox: Outbox,
    /// Since when the session has been behind its room.
    behind_since: Option<Instant>,
    /// The session is over: no message is written behind its close frame.
    closed: bool,
}

/// A delivery: how far it came, and what the kernel took.
#[derive(Debug)]
pub struct Progress {
    pub reached: Reached,
    pub frames: usize,
    pub bytes: usize,
}

/// How far a delivery came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    Head,
    /// Until the socket took no more.
    Blocked,
    /// Until where the warm log begins too late; the next message is the one after this.
    Cold(Seq),
}

impl<S: Stream> Wire<S> {
    pub fn new(stream: S, cursor: Seq, first: Bytes) -> Arc<Self> {
        let mut outbox = Outbox::default();
        outbox.push(first);
        let state = State {
            cursor,
            outbox,
            behind_since: None,
            closed: false,
        };
        Arc::new(Self {
            stream,
            state: Mutex::new(state),
            called: Notify::new(),
        })
    }

    /// Adds a frame; [`Wire::deliver`] writes it.
    pub fn push(&self, frame: Bytes) {
        self.state.lock().outbox.push(frame);
    }

    /// Adds frames of the log that were read from the store behind `from`, up to `to`; unless the row has moved the
    /// cursor while they were read.
    pub fn feed(&self, from: Seq, to: Seq, frames: impl Iterator<Item = Bytes>) {
        let mut state = self.state.lock();
        if state.cursor == from {
            frames.for_each(|frame| state.outbox.push(frame));
            state.cursor = to;
        }
    }

    /// Writes what is due until the cursor is at the head or the socket takes no more.
    pub fn deliver(&self, room: &Room) -> io::Result<Progress> {
        let mut state = self.state.lock();
        let State {
            cursor,
            outbox,
            behind_since,
            ..
        } = &mut *state;
        let (mut frames, mut bytes) = (0, 0);
        let mut from_log = false;
        let reached = loop {
            let written = outbox.write(&self.stream)?;
            frames += written.frames;
            bytes += written.bytes;
            if !written.done {
                behind_since.get_or_insert_with(Instant::now);
                if from_log {
                    // What the log has need not be held here too: a frame a session, not a write's worth.
                    *cursor -= outbox.take_back() as u64;
                }
                break Reached::Blocked;
            }
            match room.read(*cursor, WRITE_FRAMES, WRITE_BYTES, outbox.frames()) {
                Read::UpToDate => {
                    *behind_since = None;
                    break Reached::Head;
                }
                Read::Advanced(at) => (*cursor, from_log) = (at, true),
                Read::Cold => break Reached::Cold(*cursor),
            }
        };
        Ok(Progress {
            reached,
            frames,
            bytes,
        })
    }

    /// Whether something waits for the socket.
    pub fn is_blocked(&self) -> bool {
        !self.state.lock().outbox.is_empty()
    }

    /// Whether so much waits for the socket that the client is no longer read.
    pub fn is_long(&self) -> bool {
        self.state.lock().outbox.is_long()
    }

    pub fn behind_since(&self) -> Option<Instant> {
        self.state.lock().behind_since
    }

    /// Waits until the session's task is called.
    pub async fn called(&self) {
        self.called.notified().await;
    }

    /// Ends the session's part in the room: from now on only its own task writes.
    pub fn end(&self) {
        self.state.lock().closed = true;
    }

    /// Writes what the socket takes of what is left.
    pub fn flush(&self) -> io::Result<()> {
        self.state.lock().outbox.write(&self.stream).map(drop)
    }

    /// What is left to write, with `last` behind it.
    pub fn close(&self, last: Bytes) -> Outbox {
        let mut rest = std::mem::take(&mut self.state.lock().outbox);
        rest.push(last);
        rest
    }
}

impl<S: Stream> Follower for Wire<S> {
    fn advance(&self, from: Seq, to: Seq, frames: &[Bytes]) -> bool {
        let mut state = self.state.lock();
        // What is left over is written by the session's task, which reads on by itself then.
        if state.closed || state.cursor >= to || !state.outbox.is_empty() {
            return false;
        }
        if state.cursor != from {
            self.called.notify_one();
            return false;
        }
        state.cursor = to;
        if let Some((frame, more)) = write_frames(&self.stream, frames) {
            state.outbox.push(frame);
            state.cursor -= more as u64;
            state.behind_since.get_or_insert_with(Instant::now);
            self.called.notify_one();
        }
        true
    }

    fn call(&self) {
        self.called.notify_one();
    }

    fn is_slow(&self) -> bool {
        self.behind_since().is_some()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const FRAME: usize = 256 * 1024;

    fn frames(from: Seq, to: Seq) -> Vec<Bytes> {
        (from.0 + 1..=to.0)
            .map(|seq| Bytes::from(vec![seq as u8; FRAME]))
            .collect()
    }

    /// Who does not read makes the replica keep one frame for it, however much the room had for it at once; and who then
    /// reads gets all of it, each byte once.
    #[tokio::test]
    async fn what_a_slow_client_pins_is_a_frame() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let wire = Wire::new(stream, Seq(0), Bytes::from_static(b"!"));
        wire.flush().unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'!');
        let mut to = Seq::NONE;
        while !wire.is_blocked() {
            assert!(wire.advance(to, to + 60, &frames(to, to + 60)));
            to += 60;
        }
        let cursor = {
            let state = wire.state.lock();
            assert!(state.outbox.is_one_frame_at_most());
            state.cursor
        };
        assert!(cursor < to, "the kernel took all");
        assert!(wire.is_slow());
        let read = async {
            let mut seen = vec![0; FRAME];
            for seq in 1..=to.0 {
                client.read_exact(&mut seen).await.unwrap();
                assert!(seen.iter().all(|byte| *byte == seq as u8), "frame {seq}");
            }
        };
        // What is left of the frame, and, as the session's task does it, the rest of the log behind the cursor.
        let write = async {
            for (to, rest) in [(cursor, Vec::new()), (to, frames(cursor, to))] {
                wire.feed(cursor, to, rest.into_iter());
                while wire.is_blocked() {
                    wire.stream.writable().await.unwrap();
                    wire.flush().unwrap();
                }
            }
        };
        tokio::join!(read, write);
    }
}
