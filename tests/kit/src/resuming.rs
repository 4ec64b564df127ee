//! A client that reconnects for ever, to any replica, as the API tells client developers to, and keeps book of
//! everything that the server should not have done.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle, time::sleep};

use crate::{
    client::{Client, Ended, Event},
    process::{serial, until},
    replica::Target,
};

/// After so long without an ack on an open connection, a client gives that connection up.
const ACK_LIMIT: Duration = Duration::from_secs(30);

/// What a [`ResumingClient`] has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Every message event, in the order of arrival.
    pub messages: Vec<Event>,
    /// nonce -> the first ack event.
    pub acks: BTreeMap<String, Event>,
    /// Every breach of the contract, in words: a hole, a repeat, a swap, an ack that changed.
    pub violations: Vec<String>,
    /// Connections that were joined.
    pub joins: u32,
    /// Joins that could not be resumed exactly (`recovered: false`).
    pub unrecovered: u32,
    /// Connections given up because an ack did not come.
    pub stalls: u32,
    /// Error events of the kinds that a client answers by trying again.
    pub retries: u32,
    /// nonces and texts not acked yet, oldest first.
    pub unacked: VecDeque<(String, String)>,
    /// Close codes, 1006 for a connection that broke.
    pub closes: Vec<u16>,
}

impl Seen {
    pub fn last_seq(&self) -> u64 {
        self.messages.last().map_or(0, |m| m["seq"].as_u64().unwrap_or(0))
    }

    fn message(&mut self, event: Event) {
        let (expected, seq) = (self.last_seq() + 1, event["seq"].as_u64().unwrap_or(0));
        if seq != expected {
            self.violations
                .push(format!("message {seq} where {expected} was due: {event}"));
        }
        self.messages.push(event);
    }

    fn ack(&mut self, event: Event) {
        let nonce = event["nonce"].as_str().unwrap_or_default().to_owned();
        let known = self.unacked.len();
        self.unacked.retain(|(unacked, _)| *unacked != nonce);
        match self.acks.get(&nonce) {
            Some(first) if (&first["id"], &first["seq"]) != (&event["id"], &event["seq"]) => {
                self.violations.push(format!("acked {first}, then {event}"));
            }
            Some(_) => {}
            None if known == self.unacked.len() => {
                self.violations.push(format!("ack of nothing sent: {event}"))
            }
            None => drop(self.acks.insert(nonce, event)),
        }
    }
}

enum Command {
    Say(String, String),
    Hop,
}

/// See the module. Dropped, it just disappears.
pub struct ResumingClient {
    id: u32,
    next_nonce: std::sync::atomic::AtomicU32,
    commands: mpsc::UnboundedSender<Command>,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl ResumingClient {
    /// Reads a room from its beginning and follows it. It begins at `targets[first]` and moves on to the next one
    /// each time that its connection ends.
    pub fn start(targets: Vec<Target>, room: &str, token: Option<&str>, first: usize) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let driver = Driver {
            targets,
            room: room.to_owned(),
            token: token.map(str::to_owned),
            next_target: first,
            commands: receiver,
            seen: seen.clone(),
        };
        let task = tokio::spawn(driver.run());
        Self {
            id: serial(),
            next_nonce: 0.into(),
            commands,
            seen,
            task,
        }
    }

    /// Sends a text, again and again until it is acked; its nonce.
    pub fn say(&self, text: &str) -> String {
        let number = self.next_nonce.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let nonce = format!("{}-{number}", self.id);
        lock(&self.seen)
            .unacked
            .push_back((nonce.clone(), text.to_owned()));
        let _ = self.commands.send(Command::Say(nonce.clone(), text.to_owned()));
        nonce
    }

    /// Drops the connection without a close frame and resumes on the next replica.
    pub fn hop(&self) {
        let _ = self.commands.send(Command::Hop);
    }

    pub fn unacked(&self) -> usize {
        lock(&self.seen).unacked.len()
    }

    pub fn joins(&self) -> u32 {
        lock(&self.seen).joins
    }

    pub fn last_seq(&self) -> u64 {
        lock(&self.seen).last_seq()
    }

    /// Waits until it has joined for the first time.
    pub async fn joined(&self, limit: Duration) {
        until("joined", limit, || async { self.joins() > 0 }).await;
    }

    /// Waits until at most `most` of what it said is not acked yet.
    pub async fn acked_but(&self, most: usize, limit: Duration) {
        until("everything acked", limit, || async { self.unacked() <= most }).await;
    }

    /// Waits until it has seen the message `seq`.
    pub async fn reached(&self, seq: u64, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.last_seq() < seq {
            let seen = self.last_seq();
            assert!(
                Instant::now() < deadline,
                "at {seq} within {limit:?}: only at {seen}: {:?}",
                self.brief()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// A copy of what it has seen so far.
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    fn brief(&self) -> (u32, u32, Vec<u16>, Vec<String>) {
        let seen = lock(&self.seen);
        (
            seen.joins,
            seen.stalls,
            seen.closes.clone(),
            seen.violations.clone(),
        )
    }
}

impl Drop for ResumingClient {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(|e| e.into_inner())
}

struct Driver {
    targets: Vec<Target>,
    room: String,
    token: Option<String>,
    next_target: usize,
    commands: mpsc::UnboundedReceiver<Command>,
    seen: Arc<Mutex<Seen>>,
}

impl Driver {
    async fn run(mut self) {
        loop {
            let target = self.targets[self.next_target % self.targets.len()].clone();
            self.next_target += 1;
            let pause = match self.join(&target).await {
                Some(client) => self.follow(client).await,
                None => Duration::from_millis(100),
            };
            // Not all at the same moment: a real client adds jitter.
            sleep(pause + Duration::from_millis(u64::from(serial() % 50))).await;
        }
    }

    async fn join(&mut self, target: &Target) -> Option<Client> {
        let (last, id) = {
            let seen = lock(&self.seen);
            (
                seen.last_seq(),
                seen.messages
                    .last()
                    .map(|m| m["id"].as_str().unwrap_or_default().to_owned()),
            )
        };
        let query = id.map_or("after=0".into(), |id| format!("after={last}&id={id}"));
        let client = Client::connect(target, &self.room, self.token.as_deref(), &query)
            .await
            .ok()?;
        let recovered = client.joined["recovered"] == true;
        let position = client.joined["seq"].as_u64();
        {
            let mut seen = lock(&self.seen);
            seen.joins += 1;
            seen.unrecovered += u32::from(!recovered);
            if recovered && position != Some(last) {
                seen.violations
                    .push(format!("resumed after {last}: {}", client.joined));
            }
        }
        if !recovered {
            // As the API says: read the history route up to where the events will follow.
            self.read_back(target, position?).await?;
        }
        Some(client)
    }

    async fn read_back(&self, target: &Target, head: u64) -> Option<()> {
        loop {
            let last = lock(&self.seen).last_seq();
            if last >= head {
                return Some(());
            }
            let limit = (head - last).min(200);
            let path = Target::history_path(&self.room, &format!("after={last}&limit={limit}"));
            let answer = target.try_get(&path, None).await.ok()?;
            let page = answer.body["data"]["messages"].as_array()?.clone();
            if page.is_empty() {
                return None;
            }
            let mut seen = lock(&self.seen);
            page.into_iter().for_each(|message| seen.message(message));
        }
    }

    /// Follows one connection to its end; how long to wait before the next.
    async fn follow(&mut self, mut client: Client) -> Duration {
        let mut pause = Duration::from_millis(20);
        let mut progress = Instant::now();
        let mut retry_at: Option<Instant> = None;
        // What was said before this connection and what is queued to be said are the same list.
        while self.commands.try_recv().is_ok() {}
        if !self.send_unacked(&mut client).await {
            return pause;
        }
        loop {
            let due = retry_at.map_or(Duration::from_millis(500), |at| {
                at.saturating_duration_since(Instant::now())
            });
            tokio::select! {
                biased;
                event = client.try_next_event(due) => match event {
                    Ok(event) => {
                        if event["type"] == "ack" {
                            progress = Instant::now();
                        }
                        match self.event(event) {
                            Reaction::None => {}
                            Reaction::RetryIn(wait) => retry_at = Some(Instant::now() + wait),
                            Reaction::ResumeIn(wait) => pause = wait,
                        }
                    }
                    Err(Ended::Silence) => {}
                    Err(ended) => {
                        let code = if let Ended::Closed(code) = ended { code } else { 1006 };
                        lock(&self.seen).closes.push(code);
                        return pause;
                    }
                },
                command = self.commands.recv() => match command {
                    Some(Command::Say(nonce, text)) => {
                        if lock(&self.seen).unacked.len() == 1 {
                            progress = Instant::now();
                        }
                        if client.try_send(json!({"text": text, "nonce": nonce})).await.is_err() {
                            return pause;
                        }
                    }
                    Some(Command::Hop) | None => return Duration::ZERO,
                },
            }
            if retry_at.is_some_and(|at| at <= Instant::now()) {
                retry_at = None;
                if !self.send_unacked(&mut client).await {
                    return pause;
                }
            }
            if progress.elapsed() > ACK_LIMIT && !lock(&self.seen).unacked.is_empty() {
                lock(&self.seen).stalls += 1;
                return pause;
            }
        }
    }

    async fn send_unacked(&self, client: &mut Client) -> bool {
        let unacked = lock(&self.seen).unacked.clone();
        for (nonce, text) in unacked {
            if client
                .try_send(json!({"text": text, "nonce": nonce}))
                .await
                .is_err()
            {
                return false;
            }
        }
        true
    }

    fn event(&self, event: Value) -> Reaction {
        let mut seen = lock(&self.seen);
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        match kind.as_str() {
            "message" => seen.message(event),
            "ack" => seen.ack(event),
            "reconnect" => {
                return Reaction::ResumeIn(Duration::from_millis(event["after"].as_u64().unwrap_or(0)));
            }
            "error" => {
                let error = event["error"]["type"].as_str().unwrap_or_default();
                if ["RATE_LIMITED", "OVERLOADED", "UNAVAILABLE"].contains(&error) {
                    seen.retries += 1;
                    return Reaction::RetryIn(Duration::from_millis(
                        event["retryAfter"].as_u64().unwrap_or(200),
                    ));
                }
                seen.violations.push(format!("refused: {event}"));
            }
            _ => {}
        }
        Reaction::None
    }
}

enum Reaction {
    None,
    RetryIn(Duration),
    ResumeIn(Duration),
}
