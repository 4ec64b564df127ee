//! The end of a session: its last answers, its close frame, and a moment for the client to close too.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Session, inbox};
use crate::protocol::Close;
use crate::ws::frame;
use crate::ws::outbox::Outbox;
use crate::ws::stream::Stream;

/// How long the close of a session waits for what becomes of the messages that it gave to the journal.
const ANSWERS: Duration = Duration::from_secs(5);
/// How long a client has to answer a close before the socket goes.
const GOODBYE: Duration = Duration::from_secs(2);

impl<S: Stream> Session<S> {
    /// Whatever ends the session, its client hears what became of every message that the journal took: else it
    /// would send what is stored again, and again.
    pub(super) async fn settle(&mut self) {
        let until = Instant::now() + ANSWERS;
        while let Some(oldest) = self.in_flight.front_mut() {
            let outcome = tokio::time::timeout_at(until, &mut *oldest).await;
            let outcome = outcome.unwrap_or_else(|_| oldest.give_up());
            self.answer(outcome);
            // A socket that is broken shows itself again at the goodbye.
            let _ = self.wire.flush();
        }
    }

    /// Writes what is left and the close frame, and gives the client a moment to answer.
    pub(super) async fn goodbye(self, last: Bytes) {
        let rest = self.wire.close(last);
        let Self {
            seat,
            wire,
            replica,
            feed,
            ..
        } = self;
        // The journal ends when nobody can send to it any more.
        drop((seat, feed, replica));
        goodbye(&wire.stream, rest).await;
    }
}

/// Closes a WebSocket that gets no session.
pub async fn turn_away(stream: impl Stream, why: Close) {
    let mut outbox = Outbox::default();
    outbox.push(frame::close(why.code(), why.reason()));
    goodbye(&stream, outbox).await;
}

async fn goodbye(stream: &impl Stream, mut outbox: Outbox) {
    let close = async {
        while !outbox.write(stream)?.done {
            poll_fn(|cx| stream.poll_write_ready(cx)).await?;
        }
        stream.end_writing()?;
        // Until the client has closed too: a socket that is dropped with unread bytes resets the connection,
        // and the client may lose the close frame.
        inbox::read_to_end(stream).await
    };
    match tokio::time::timeout(GOODBYE, close).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::debug!(error = %e, "a socket broke at its close"),
        Err(_) => tracing::debug!("a client did not answer the close"),
    }
}
