//! Group commit. Drafts of all sessions gather while the previous commit is under way; then one statement
//! gives each its room's next `seq` and stores it. Only then is the sender acked, and only then does anybody
//! see the message (I1).

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::busiest::Busiest;
use crate::clock::now_millis;
use crate::ids::{Nonce, RoomId, RoomName, User, UserId};
use crate::metrics::TraceId;
use crate::protocol::{ErrorType, Message};
use crate::relay::Relay;
use crate::room::{Entry, Rooms};
use crate::store::{Appended, NewRow, Store};
use crate::telemetry::{Origin, PublishSpan, Stage};
use crate::tools::Tools;

/// How much text one commit takes, in bytes.
const BATCH_BYTES: usize = 1 << 20;

/// How long a draft waits for an outage to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// A message that its sender would like to have stored.
#[derive(Debug)]
pub struct Draft {
    pub room: RoomName,
    pub room_id: RoomId,
    pub sender: User,
    pub nonce: Option<Nonce>,
    pub text: String,
    /// The span that follows it, where it is sampled.
    pub span: Option<Box<PublishSpan>>,
}

impl Draft {
    /// The trace that it is recorded in.
    pub fn recorded(&self) -> Option<TraceId> {
        self.span.as_ref()?.recorded()
    }
}

/// A stored message.
#[derive(Debug, Clone, Copy)]
pub struct Committed {
    pub appended: Appended,
    /// Milliseconds since the Unix epoch; meaningless for a repeated one.
    pub created_at: i64,
}

/// Why a draft was not stored, or is not known to be: the sender may try again with the same nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    #[error("too many messages wait to be stored, try again")]
    Overloaded,
    #[error("the message could not be stored for now, try again with the same nonce")]
    Unavailable,
}

impl JournalError {
    pub const fn kind(self) -> ErrorType {
        match self {
            Self::Overloaded => ErrorType::Overloaded,
            Self::Unavailable => ErrorType::Unavailable,
        }
    }
}

/// What became of a draft.
pub type Outcome = Result<Committed, JournalError>;

struct Waiting {
    draft: Draft,
    since: Instant,
    reply: oneshot::Sender<Outcome>,
}

/// The way in. Cheap to clone; the journal ends when the last clone is gone and the queue is empty.
#[derive(Debug, Clone)]
pub struct Journal(mpsc::Sender<Waiting>);

impl Journal {
    /// Starts the writer: one a replica, with batches that grow under load (measured: `benches/`).
    pub fn start(committer: Committer, queue: usize, batch: usize) -> Self {
        let (sender, receiver) = mpsc::channel(queue);
        let workers = committer.tools.workers.clone();
        workers.spawn(committer.run(receiver, batch));
        Self(sender)
    }

    /// Queues a draft. A full queue refuses at once.
    pub fn submit(&self, draft: Draft) -> Result<oneshot::Receiver<Outcome>, JournalError> {
        let (reply, outcome) = oneshot::channel();
        match self.0.try_send(Waiting {
            draft,
            since: Instant::now(),
            reply,
        }) {
            Ok(()) => Ok(outcome),
            Err(mpsc::error::TrySendError::Full(_)) => Err(JournalError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(JournalError::Unavailable),
        }
    }

    /// How many drafts may wait.
    pub fn limit(&self) -> usize {
        self.0.max_capacity()
    }

    /// How many drafts wait.
    pub fn depth(&self) -> usize {
        self.0.max_capacity() - self.0.capacity()
    }
}

/// Stores what has gathered, and tells whoever has to know.
#[derive(Debug)]
pub struct Committer {
    pub store: Store,
    pub rooms: Rooms,
    pub relay: Relay,
    pub busiest: Busiest,
    pub tools: Tools,
}

impl Committer {
    async fn run(self, mut queue: mpsc::Receiver<Waiting>, most: usize) {
        let mut gathered = Vec::with_capacity(most);
        while queue.recv_many(&mut gathered, most).await > 0 {
            let mut waiting = gathered.drain(..).peekable();
            while waiting.peek().is_some() {
                let mut bytes = 0;
                let mut batch = Batch::default();
                while let Some(next) =
                    waiting.next_if(|next| bytes == 0 || bytes + next.draft.text.len() <= BATCH_BYTES)
                {
                    if self.is_late(&next) {
                        // A sender that is gone needs no answer.
                        let _ = next.reply.send(Err(JournalError::Unavailable));
                        continue;
                    }
                    bytes += next.draft.text.len().max(1);
                    batch.add(next);
                }
                if !batch.rows.is_empty() {
                    self.commit(batch).await;
                }
            }
        }
    }

    /// While the database is away each batch takes as long as a wait may, and who is far behind in the queue would
    /// wait for all of them.
    fn is_late(&self, waiting: &Waiting) -> bool {
        !self.store.outages().is_up() && waiting.since.elapsed() > PATIENCE
    }

    async fn commit(&self, batch: Batch) {
        let (begun, clock) = (SystemTime::now(), Instant::now());
        batch
            .since
            .iter()
            .for_each(|since| self.tools.metrics.journal_waited(clock.duration_since(*since)));
        let result = self.store.append(&batch.rows).await;
        let mut stage = Stage {
            begun,
            ended: SystemTime::now(),
            messages: batch.rows.len(),
            database: self.store.database().clone(),
            failure: result
                .as_ref()
                .err()
                .map(|e| e.kind().unwrap_or("refused".into())),
            batch: None,
        };
        let recorded = batch
            .replies
            .iter()
            .flatten()
            .find_map(|reply| reply.span.as_deref()?.recorded());
        self.tools
            .metrics
            .journal_batch(stage.messages, clock.elapsed(), result.is_ok(), recorded);
        let sampled = batch
            .replies
            .iter()
            .flatten()
            .filter_map(|reply| reply.span.as_deref());
        stage.batch = self.tools.traces.batch(&stage, sampled);
        match result {
            Ok(appended) => {
                let new = batch.rows.iter().zip(&appended).filter(|(_, at)| !at.repeated);
                self.busiest.count(new.map(|(row, _)| (&row.room, &row.sender)));
                for ((row, replies), appended) in batch.rows.into_iter().zip(batch.replies).zip(appended) {
                    self.publish(row, replies, appended, &stage);
                }
            }
            Err(e) => {
                tracing::debug!(error = %e, messages = stage.messages, "a batch could not be committed");
                for Reply { outcome, span } in batch.replies.into_iter().flatten() {
                    // A sender that is gone needs no answer.
                    let _ = outcome.send(Err(JournalError::Unavailable));
                    span.into_iter().for_each(|span| span.end(&stage, None));
                }
            }
        }
    }

    fn publish(&self, row: NewRow, replies: Vec<Reply>, appended: Appended, stage: &Stage) {
        let created_at = row.created_at;
        if !appended.repeated {
            let trace = replies
                .iter()
                .find_map(|reply| reply.span.as_ref())
                .map(|span| span.context());
            let message = Message::new(&row.room, appended.point(), &row.sender, row.text, created_at);
            let (entry, origin) = (Entry::of(&message), Origin::at(stage.ended, trace));
            self.relay.publish(row.room_id, &entry, origin);
            self.rooms.committed(row.room_id, entry, origin);
        }
        for (n, Reply { outcome, span }) in replies.into_iter().enumerate() {
            let appended = Appended {
                repeated: appended.repeated || n > 0,
                ..appended
            };
            let _ = outcome.send(Ok(Committed { appended, created_at }));
            span.into_iter()
                .for_each(|span| span.end(stage, Some((appended.point(), appended.repeated))));
        }
    }
}

/// Who waits for a row.
struct Reply {
    outcome: oneshot::Sender<Outcome>,
    span: Option<Box<PublishSpan>>,
}

/// Rows to store and who waits for each: more than one where a batch holds the same nonce twice.
#[derive(Default)]
struct Batch {
    rows: Vec<NewRow>,
    replies: Vec<Vec<Reply>>,
    /// When each draft was queued.
    since: Vec<Instant>,
    nonces: HashMap<(RoomId, UserId, Nonce), usize>,
}

impl Batch {
    fn add(&mut self, Waiting { draft, since, reply }: Waiting) {
        self.since.push(since);
        let reply = Reply {
            outcome: reply,
            span: draft.span,
        };
        if let Some(nonce) = &draft.nonce {
            let key = (draft.room_id, draft.sender.id, nonce.clone());
            if let Some(first) = self.nonces.get(&key).and_then(|n| self.replies.get_mut(*n)) {
                return first.push(reply);
            }
            self.nonces.insert(key, self.rows.len());
        }
        self.rows.push(NewRow {
            room: draft.room,
            room_id: draft.room_id,
            id: Uuid::now_v7(),
            sender: draft.sender,
            nonce: draft.nonce,
            text: draft.text,
            created_at: now_millis(),
        });
        self.replies.push(vec![reply]);
    }
}
