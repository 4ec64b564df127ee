//! A session: one socket and a cursor over its room's log. It never waits for another client, and keeps no queue:
//! what is due is read from the log when the socket can take it.

mod deliver;
mod goodbye;
mod inbox;
mod join;
mod throttle;
mod wire;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use rand::Rng;
use tokio::time::{Instant, Sleep};

pub use goodbye::turn_away;
pub use join::{Joined, Position};

use crate::ids::User;
use crate::journal::Outcome;
use crate::protocol::{self, Close, NewMessage, Pace, TraceContext};
use crate::publish::InFlight;
use crate::replica::Replica;
use crate::room::Seat;
use crate::ws::frame::{self, Decoder};
use crate::ws::stream::Stream;
use deliver::{FedPage, Feed};
use throttle::Throttle;
use wire::Wire;

/// How many messages of one session may wait for the journal; until there is a place it is not read.
const MAX_IN_FLIGHT: usize = 64;
/// What a client of a leaving replica is told to wait, at most, in milliseconds.
const RECONNECT_SPREAD: u64 = 1000;

/// Whose session it is, for how long, and how fast they may write.
#[derive(Debug)]
pub struct Writer {
    pub user: User,
    /// When the token expires.
    pub until: Instant,
    pub rate: Option<Pace>,
    /// The trace that the client gave with the handshake.
    pub trace: Option<TraceContext>,
}

/// One socket in one room.
#[derive(Debug)]
pub struct Session<S> {
    replica: Arc<Replica>,
    seat: Seat,
    wire: Arc<Wire<S>>,
    /// Where it comes from, for what its address may have.
    address: IpAddr,
    feed: Feed,
    /// `None`: read only.
    writer: Option<Box<Writer>>,
    decoder: Decoder,
    /// Drafts given to the journal, in order; they are answered in order.
    in_flight: VecDeque<InFlight>,
    /// What came before its sender may say so much; until it may, the session is not read.
    held: Option<Box<Postponed>>,
    throttle: Throttle,
    /// Malformed commands in a row.
    malformed: u32,
    last_heard: Instant,
    next_ping: Instant,
    leave_at: Option<Instant>,
}

/// A message that its sender may not say yet.
#[derive(Debug)]
struct Postponed {
    message: NewMessage,
    until: Instant,
}

/// Why a session ends: the server closes it, the client did, or the socket broke.
#[derive(Debug)]
enum End {
    Close(Close),
    Peer(Option<u16>),
    Socket(io::Error),
}

impl From<Close> for End {
    fn from(why: Close) -> Self {
        Self::Close(why)
    }
}

impl From<io::Error> for End {
    fn from(e: io::Error) -> Self {
        Self::Socket(e)
    }
}

/// What woke the session.
enum Woken {
    /// The socket has something to read.
    Socket,
    /// Frames are here that no turn has taken yet.
    Frames,
    /// The socket takes what is due, or the room has news.
    Room,
    /// What became of the oldest draft.
    Outcome(Outcome),
    /// What was read from the store.
    Page(Result<FedPage, End>),
    Clock,
}

impl<S: Stream> Session<S> {
    /// The socket, the bytes that came with the handshake, and where from.
    pub fn new(
        replica: Arc<Replica>,
        joined: Joined,
        writer: Option<Box<Writer>>,
        (stream, early): (S, &[u8]),
        address: IpAddr,
    ) -> Self {
        // JSON may spell each byte of a text as \u00XX; the rest is the command's other fields.
        let mut decoder = Decoder::new(replica.rules.message_max_bytes * 6 + 1024);
        decoder.push(early);
        let (user, rate) = (
            writer.as_ref().map(|writer| &writer.user),
            writer.as_ref().and_then(|writer| writer.rate),
        );
        let Joined {
            mut seat,
            seq,
            recovered,
        } = joined;
        let wire = Wire::new(
            stream,
            seq,
            frame::text(&protocol::joined(&seat.name, seq, user, recovered, rate)),
        );
        seat.follow(wire.clone());
        let now = Instant::now();
        Self {
            seat,
            wire,
            address,
            feed: Feed::default(),
            next_ping: now + replica.rules.ping,
            replica,
            writer,
            decoder,
            in_flight: VecDeque::new(),
            held: None,
            throttle: Throttle::new(rate, now),
            malformed: 0,
            last_heard: now,
            leave_at: None,
        }
    }

    /// Runs until the session ends.
    pub async fn run(mut self) {
        self.replica.metrics().session_opened();
        let (why, last) = match self.live().await {
            End::Close(why) => (Some(why), frame::close(why.code(), why.reason())),
            End::Peer(code) => (Some(Close::Done), frame::close_echo(code)),
            End::Socket(e) => {
                tracing::debug!(error = %e, "a socket broke");
                return self.replica.metrics().session_closed(None);
            }
        };
        self.wire.end();
        self.settle().await;
        if matches!(why, Some(Close::Leaving | Close::WentBack)) {
            let wait = rand::rng().random_range(0..=RECONNECT_SPREAD);
            self.wire.push(frame::text(&protocol::reconnect(wait)));
        }
        self.replica.metrics().session_closed(why);
        self.goodbye(last).await;
    }

    async fn live(&mut self) -> End {
        let mut clock = pin!(tokio::time::sleep_until(self.deadline()));
        loop {
            if let Err(end) = self.turn(clock.as_mut()).await {
                return end;
            }
        }
    }

    /// Does what is due, then waits for whatever is next.
    async fn turn(&mut self, mut clock: Pin<&mut Sleep>) -> Result<(), End> {
        self.take_commands()?;
        self.deliver()?;
        self.leave_if_due()?;
        let deadline = self.deadline();
        if clock.deadline() != deadline {
            clock.as_mut().reset(deadline);
        }
        match self.wait(clock).await? {
            Woken::Socket => self.read(),
            Woken::Frames | Woken::Room => Ok(()),
            Woken::Outcome(outcome) => {
                self.answer(outcome);
                Ok(())
            }
            Woken::Page(page) => {
                self.fed(page?);
                Ok(())
            }
            Woken::Clock => self.tick(),
        }
    }

    /// What comes first is what ends by itself: a client that never stops sending holds up neither its own acks nor
    /// its clock. The conditions borrow from one another's parts, hence one `poll_fn` and not a branch for each.
    async fn wait(&mut self, mut clock: Pin<&mut Sleep>) -> Result<Woken, End> {
        let reading = self.reads();
        // Frames that are here already wait for no socket, only for everybody else's turn.
        let ready = reading && self.decoder.is_ready();
        if ready {
            tokio::task::yield_now().await;
        }
        let Self {
            wire,
            in_flight,
            throttle,
            feed,
            ..
        } = self;
        let blocked = wire.is_blocked();
        let own = poll_fn(|cx| {
            if clock.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(Woken::Clock));
            }
            if let Some(oldest) = in_flight.front_mut()
                && let Poll::Ready(outcome) = Pin::new(oldest).poll(cx)
            {
                return Poll::Ready(Ok(Woken::Outcome(outcome)));
            }
            if let Poll::Ready(page) = feed.poll(cx) {
                return Poll::Ready(Ok(Woken::Page(page)));
            }
            if blocked && let Poll::Ready(writes) = wire.stream.poll_write_ready(cx) {
                return Poll::Ready(writes.map(|()| Woken::Room));
            }
            if ready {
                return Poll::Ready(Ok(Woken::Frames));
            }
            if reading {
                if let Poll::Ready(reads) = wire.stream.poll_read_ready(cx) {
                    return Poll::Ready(reads.map(|()| Woken::Socket));
                }
                throttle.paused();
            }
            Poll::Pending
        });
        tokio::select! {
            woken = own => Ok(woken?),
            () = wire.called() => Ok(Woken::Room),
        }
    }

    /// Whether the client is listened to at the moment. Not while it has said more than it may, while the journal has
    /// enough of it, or while it does not take our answers: then TCP slows it down.
    fn reads(&self) -> bool {
        self.held.is_none()
            && self.throttle.rests_until().is_none()
            && self.in_flight.len() < MAX_IN_FLIGHT
            && !self.wire.is_long()
    }

    /// At its moment of the drain, or when its room's history went back, a session goes.
    fn leave_if_due(&mut self) -> Result<(), End> {
        if self.seat.went_back() {
            return Err(End::Close(Close::WentBack));
        }
        if self.leave_at.is_none() {
            self.leave_at = self.replica.drain.moment();
        }
        match self.leave_at.is_some_and(|at| at <= Instant::now()) {
            true => Err(End::Close(Close::Leaving)),
            false => Ok(()),
        }
    }

    /// When the clock has to wake the session next.
    fn deadline(&self) -> Instant {
        let settings = &self.replica.rules;
        let mut next = self.next_ping.min(self.last_heard + settings.idle);
        let others = [
            self.writer.as_ref().map(|writer| writer.until),
            self.wire.behind_since().map(|since| since + settings.slow),
            self.held.as_ref().map(|held| held.until),
            self.throttle.rests_until(),
            self.leave_at,
        ];
        for other in others.into_iter().flatten() {
            next = next.min(other);
        }
        next
    }

    fn tick(&mut self) -> Result<(), End> {
        let (now, settings) = (Instant::now(), &self.replica.rules);
        if self.writer.as_ref().is_some_and(|writer| writer.until <= now) {
            return Err(End::Close(Close::TokenExpired));
        }
        if self.last_heard + settings.idle <= now {
            return Err(End::Close(Close::NoSignOfLife));
        }
        if self
            .wire
            .behind_since()
            .is_some_and(|since| since + settings.slow <= now)
        {
            return Err(End::Close(Close::TooFarBehind));
        }
        if self.next_ping <= now {
            self.next_ping = now + settings.ping;
            self.wire.push(frame::PING_FRAME);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
