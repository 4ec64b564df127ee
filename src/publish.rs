//! Publishing, by whatever way a message comes: a draft for the journal, and what became of it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::ids::{Nonce, RoomId, RoomName, User};
use crate::journal::{Draft, Journal, JournalError, Outcome};
use crate::metrics::{Metrics, TraceId};
use crate::protocol::{NewMessage, TraceContext};
use crate::telemetry::Traces;

/// The way in for messages.
#[derive(Debug)]
pub struct Publishing {
    pub journal: Journal,
    metrics: Metrics,
    traces: Traces,
}

/// A message that the journal has. It resolves when the message is durable, or known not to be.
#[derive(Debug)]
pub struct InFlight {
    pub nonce: Option<Nonce>,
    since: Instant,
    trace: Option<TraceId>,
    metrics: Metrics,
    outcome: oneshot::Receiver<Outcome>,
}

impl Publishing {
    pub const fn new(journal: Journal, metrics: Metrics, traces: Traces) -> Self {
        Self {
            journal,
            metrics,
            traces,
        }
    }

    /// Gives a message to the journal. `parent`: the span that it goes on below; the message's own trace is the caller's
    /// to admit.
    ///
    /// # Errors
    /// The journal takes no more for now.
    pub fn submit(
        &self,
        sender: &User,
        (room, room_id): (&RoomName, RoomId),
        NewMessage { text, nonce, .. }: NewMessage,
        parent: Option<TraceContext>,
    ) -> Result<InFlight, JournalError> {
        let draft = Draft {
            room: room.clone(),
            room_id,
            sender: sender.clone(),
            nonce: nonce.clone(),
            span: self.traces.publish(parent, room, text.len()),
            text,
        };
        let (since, trace) = (Instant::now(), draft.recorded());
        let outcome = self.journal.submit(draft)?;
        self.metrics.message_taken();
        Ok(InFlight {
            nonce,
            since,
            trace,
            metrics: self.metrics.clone(),
            outcome,
        })
    }
}

impl InFlight {
    #[cfg(test)]
    pub fn for_tests(nonce: Option<Nonce>, outcome: oneshot::Receiver<Outcome>, metrics: Metrics) -> Self {
        Self {
            nonce,
            since: Instant::now(),
            trace: None,
            metrics,
            outcome,
        }
    }

    /// Its sender is told that it is not known to be stored, and waits no longer.
    pub fn give_up(&self) -> Outcome {
        self.resolved(Err(JournalError::Unavailable))
    }

    fn resolved(&self, outcome: Outcome) -> Outcome {
        self.metrics
            .acked(self.since.elapsed(), outcome.is_ok(), self.trace);
        outcome
    }
}

impl Future for InFlight {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let outcome = ready!(Pin::new(&mut self.outcome).poll(cx)).unwrap_or(Err(JournalError::Unavailable));
        Poll::Ready(self.resolved(outcome))
    }
}
