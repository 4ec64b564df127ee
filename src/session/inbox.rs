//! What the client sends: bytes become frames, frames become drafts for the journal, and outcomes become acks.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;

use tokio::time::Instant;

use super::throttle::Ruling;
use super::{End, MAX_IN_FLIGHT, Postponed, Session};
use crate::ids::Nonce;
use crate::journal::Outcome;
use crate::limits::REPEAT;
use crate::metrics::Limit;
use crate::protocol::{self, BadCommand, Close, Command, ErrorType, NewMessage, parse_command};
use crate::publish::InFlight;
use crate::ws::frame::{self, Incoming, Violation};
use crate::ws::stream::Stream;

/// How much one read takes, in bytes; shared by all sessions of a thread, so that an idle one holds none.
const READ: usize = 16 * 1024;
/// How many frames are taken in a turn, before everybody else has theirs.
const TURN: usize = 64;
/// So many malformed commands in a row end the session.
const MAX_MALFORMED: u32 = 10;
/// When to try again after OVERLOADED or UNAVAILABLE, in milliseconds.
const RETRY_AFTER: u64 = 1000;
/// How much of a refused command costs as much as a ping, in bytes.
const REFUSED: usize = 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8; READ]>> = RefCell::new(Box::new([0; READ]));
}

/// Reads and forgets until the client closes.
pub(super) async fn read_to_end(stream: &impl Stream) -> io::Result<()> {
    loop {
        poll_fn(|cx| stream.poll_read_ready(cx)).await?;
        match BUFFER.with_borrow_mut(|buffer| stream.try_read(buffer.as_mut_slice())) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

impl From<Violation> for Close {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::Protocol => Self::ProtocolError,
            Violation::NotUtf8 => Self::NotUtf8,
            Violation::TooLarge => Self::FrameTooLarge,
        }
    }
}

impl<S: Stream> Session<S> {
    /// Reads once from the socket. Only where no whole frame waits: the buffer holds a frame and one read at most.
    pub(super) fn read(&mut self) -> Result<(), End> {
        BUFFER.with_borrow_mut(|buffer| match self.wire.stream.try_read(buffer.as_mut_slice()) {
            Ok(0) => Err(End::Socket(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                self.decoder.push(&buffer[..count]);
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(e) => Err(e.into()),
        })
    }

    /// Takes the frames that are whole, a turn's worth, as long as the session is listened to.
    pub(super) fn take_commands(&mut self) -> Result<(), End> {
        let now = Instant::now();
        self.throttle.look(now);
        if let Some(held) = self.held.take() {
            self.take_message(held.message, now)?;
        }
        if !self.reads() {
            // Whoever is not listened to is not silent.
            self.last_heard = now;
        }
        let (mut left, mut ping) = (TURN, None);
        while left > 0 && self.decoder.is_ready() && self.reads() {
            left -= 1;
            let taken = self.decoder.take().map_err(Close::from)?;
            let mut cost = self.decoder.frames_taken();
            // Every whole frame is a sign of life, a fragment too; bytes alone are not.
            if cost > 0 {
                self.last_heard = now;
            }
            match taken {
                None => {}
                Some(Incoming::Text(text)) => cost = cost - 1 + self.take_text(&text, now)?,
                Some(Incoming::Binary) => {
                    self.writable()?;
                    self.refuse_malformed("a command is a text frame", None)?;
                }
                // Of several pings the last is answered (RFC 6455 §5.5.3).
                Some(Incoming::Ping(payload)) => ping = Some(payload),
                Some(Incoming::Pong) => {}
                Some(Incoming::Close(code)) => return Err(End::Peer(code)),
            }
            if cost > 0 && self.throttle.spend(cost, now) {
                self.replica.metrics().limit_hit(Limit::Frames);
            }
        }
        if let Some(payload) = ping {
            self.wire.push(frame::pong(&payload));
        }
        Ok(())
    }

    fn writable(&self) -> Result<(), End> {
        match self.writer {
            Some(_) => Ok(()),
            None => Err(End::Close(Close::ReadOnly)),
        }
    }

    /// Takes a command; what it costs beside the message that it is, if it is one.
    fn take_text(&mut self, text: &str, now: Instant) -> Result<usize, End> {
        match parse_command(text, self.replica.rules.message_max_bytes) {
            Ok(Command::Message(message)) => {
                self.take_message(message, now)?;
                return Ok(0);
            }
            Ok(Command::Ping(nonce)) => self.wire.push(frame::text(&protocol::pong(nonce.as_ref()))),
            Err(BadCommand {
                error,
                message,
                nonce,
            }) => {
                self.writable()?;
                match error {
                    ErrorType::BadBinding => self.refuse_malformed(&message, nonce.as_ref())?,
                    error => self.refuse(error, &message, nonce.as_ref(), None),
                }
            }
        }
        Ok(1 + text.len() / REFUSED)
    }

    /// Gives a message to the journal, or keeps it until its sender may say so much.
    fn take_message(&mut self, message: NewMessage, now: Instant) -> Result<(), End> {
        self.writable()?;
        self.malformed = 0;
        match self.throttle.message(now, self.replica.rules.slow) {
            Ruling::Take => self.submit(message),
            Ruling::Hold { until, begins } => {
                if begins {
                    self.replica.metrics().limit_hit(Limit::Messages);
                }
                self.held = Some(Box::new(Postponed { message, until }));
            }
            Ruling::Refuse(wait) => self.refuse_too_fast(&message, wait.as_millis() as u64 + 1),
            Ruling::End => {
                self.refuse_too_fast(&message, RETRY_AFTER);
                return Err(End::Close(Close::RateExceeded));
            }
        }
        Ok(())
    }

    fn submit(&mut self, message: NewMessage) {
        let Some(writer) = &self.writer else { return };
        let (nonce, room) = (message.nonce.clone(), (&self.seat.name, self.seat.id));
        let parent = self.replica.traces().admit(message.trace.or(writer.trace));
        match self
            .replica
            .publishing
            .submit(&writer.user, room, message, parent)
        {
            Ok(in_flight) => {
                debug_assert!(self.in_flight.len() < MAX_IN_FLIGHT);
                self.in_flight.push_back(in_flight);
            }
            Err(e) => self.refuse(e.kind(), &e.to_string(), nonce.as_ref(), Some(RETRY_AFTER)),
        }
    }

    /// Tells the sender what became of its oldest draft.
    pub(super) fn answer(&mut self, outcome: Outcome) {
        let Some(InFlight { nonce, .. }) = self.in_flight.pop_front() else {
            return;
        };
        if self.in_flight.is_empty() {
            self.in_flight.shrink_to_fit();
        }
        match (outcome, nonce) {
            (Ok(committed), Some(nonce)) => {
                if committed.appended.repeated {
                    self.throttle.give_back(1.0 - REPEAT);
                }
                let ack = protocol::ack(
                    &self.seat.name,
                    &nonce,
                    committed.appended.id,
                    committed.appended.seq,
                );
                self.wire.push(frame::text(&ack));
            }
            (Ok(_), None) => {}
            (Err(e), nonce) => self.refuse(e.kind(), &e.to_string(), nonce.as_ref(), Some(RETRY_AFTER)),
        }
    }

    fn refuse_too_fast(&mut self, message: &NewMessage, retry_after: u64) {
        self.replica.metrics().limit_hit(Limit::Messages);
        self.refuse(
            ErrorType::RateLimited,
            "too many messages a second",
            message.nonce.as_ref(),
            Some(retry_after),
        );
    }

    fn refuse_malformed(&mut self, message: &str, nonce: Option<&Nonce>) -> Result<(), End> {
        self.refuse(ErrorType::BadBinding, message, nonce, None);
        self.malformed += 1;
        match self.malformed >= MAX_MALFORMED {
            true => Err(End::Close(Close::Malformed)),
            false => Ok(()),
        }
    }

    fn refuse(&mut self, error: ErrorType, message: &str, nonce: Option<&Nonce>, retry_after: Option<u64>) {
        self.replica.metrics().refused(error);
        self.wire
            .push(frame::text(&protocol::error(error, message, nonce, retry_after)));
    }
}
