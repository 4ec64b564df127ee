//! What the client sends: bytes become frames, frames become drafts for the journal, and outcomes become acks.

use std::cell::RefCell;
use std::io;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::frame::{self, Incoming};
use super::{End, InFlight, MAX_IN_FLIGHT, Session};
use crate::ids::Nonce;
use crate::journal::{Draft, Outcome};
use crate::limits::check_message;
use crate::metrics::Limit;
use crate::protocol::{self, BadCommand, Close, Command, ErrorType, parse_command};

/// How much one read takes, in bytes; shared by all sessions of a thread, so that an idle one holds none.
const READ: usize = 16 * 1024;
/// So many malformed commands in a row end the session.
const MAX_MALFORMED: u32 = 10;
/// So many commands over the rate in a row end the session.
const MAX_TOO_FAST: u32 = 20;
/// When to try again after OVERLOADED or UNAVAILABLE, in milliseconds.
const RETRY_AFTER: u64 = 1000;

thread_local! {
    static BUFFER: RefCell<Box<[u8; READ]>> = RefCell::new(Box::new([0; READ]));
}

/// Reads and forgets until the client closes.
pub(super) async fn read_to_end(stream: &TcpStream) -> io::Result<()> {
    loop {
        stream.readable().await?;
        match BUFFER.with_borrow_mut(|buffer| stream.try_read(buffer.as_mut_slice())) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

impl Session {
    /// Reads once from the socket.
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

    /// Takes the frames that are whole, as long as the session is listened to.
    pub(super) fn take_commands(&mut self) -> Result<(), End> {
        if !self.reads() {
            // Whoever is not listened to is not silent.
            self.last_heard = Instant::now();
        }
        while self.reads() && self.decoder.buffered() > 0 {
            let before = self.decoder.buffered();
            let taken = self.decoder.take().map_err(End::Close)?;
            // Every whole frame is a sign of life, a fragment too; bytes alone are not.
            if self.decoder.buffered() < before {
                self.last_heard = Instant::now();
            }
            match taken {
                None => break,
                Some(Incoming::Text(text)) => self.take_text(&text)?,
                Some(Incoming::Binary) => {
                    self.writable()?;
                    self.refuse_malformed("a command is a text frame", None)?;
                }
                Some(Incoming::Ping(payload)) => self.wire.push(frame::pong(&payload)),
                Some(Incoming::Pong) => {}
                Some(Incoming::Close(code)) => return Err(End::Peer(code)),
            }
        }
        Ok(())
    }

    fn writable(&self) -> Result<(), End> {
        match self.writer {
            Some(_) => Ok(()),
            None => Err(End::Close(Close::ReadOnly)),
        }
    }

    fn take_text(&mut self, text: &str) -> Result<(), End> {
        self.writable()?;
        match parse_command(text, self.context.settings.message_max_bytes) {
            Ok(command) => self.take_command(command),
            Err(BadCommand {
                error: ErrorType::BadBinding,
                message,
                nonce,
            }) => self.refuse_malformed(&message, nonce.as_ref()),
            Err(BadCommand {
                error,
                message,
                nonce,
            }) => {
                self.refuse(error, &message, nonce.as_ref(), None);
                Ok(())
            }
        }
    }

    fn take_command(&mut self, Command { text, nonce, trace }: Command) -> Result<(), End> {
        self.malformed = 0;
        let Some(writer) = &self.writer else {
            return Err(End::Close(Close::ReadOnly));
        };
        if let Some(Err(exceeded)) = writer.rate.as_ref().map(check_message) {
            self.too_fast += 1;
            self.context.metrics.limit_hit(Limit::Messages);
            let wait = exceeded.retry_after.as_millis() as u64 + 1;
            self.refuse(
                ErrorType::RateLimited,
                "too many messages a second",
                nonce.as_ref(),
                Some(wait),
            );
            return match self.too_fast >= MAX_TOO_FAST {
                true => Err(End::Close(Close::RateExceeded)),
                false => Ok(()),
            };
        }
        self.too_fast = 0;
        let draft = Draft {
            room: self.seat.name.clone(),
            room_id: self.seat.id,
            sender: writer.user.clone(),
            nonce: nonce.clone(),
            span: self
                .context
                .traces
                .publish(trace.or(writer.trace), &self.seat.name, text.len()),
            text,
        };
        match self.context.journal.submit(draft) {
            Ok(outcome) => {
                debug_assert!(self.in_flight.len() < MAX_IN_FLIGHT);
                self.context.metrics.message_taken();
                self.in_flight.push_back(InFlight {
                    nonce,
                    since: Instant::now(),
                    outcome,
                });
            }
            Err(e) => self.refuse(e.kind(), &e.to_string(), nonce.as_ref(), Some(RETRY_AFTER)),
        }
        Ok(())
    }

    /// Tells the sender what became of its oldest draft.
    pub(super) fn answer(&mut self, outcome: Outcome) {
        let Some(InFlight { nonce, since, .. }) = self.in_flight.pop_front() else {
            return;
        };
        self.context.metrics.acked(since.elapsed());
        if self.in_flight.is_empty() {
            self.in_flight.shrink_to_fit();
        }
        match (outcome, nonce) {
            (Ok(committed), Some(nonce)) => {
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

    fn refuse_malformed(&mut self, message: &str, nonce: Option<&Nonce>) -> Result<(), End> {
        self.refuse(ErrorType::BadBinding, message, nonce, None);
        self.malformed += 1;
        match self.malformed >= MAX_MALFORMED {
            true => Err(End::Close(Close::Malformed)),
            false => Ok(()),
        }
    }

    fn refuse(&mut self, error: ErrorType, message: &str, nonce: Option<&Nonce>, retry_after: Option<u64>) {
        self.context.metrics.refused(error);
        self.wire
            .push(frame::text(&protocol::error(error, message, nonce, retry_after)));
    }
}
