//! A client that reconnects for ever, to any replica, as the API tells client developers to, and keeps book of
//! everything that the server should not have done.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{sync::Notify, task::JoinSet, time::sleep};

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

/// What the caller and the driver share.
#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    /// What is still to be sent on this connection.
    outgoing: Mutex<VecDeque<(String, String)>>,
    hop: AtomicBool,
    wake: Notify,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn outgoing(&self) -> MutexGuard<'_, VecDeque<(String, String)>> {
        self.outgoing.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// See the module. Dropped, it just disappears.
pub struct ResumingClient {
    id: u32,
    next_nonce: AtomicU32,
    shared: Arc<Shared>,
    /// One task, which ends with us.
    _driver: JoinSet<()>,
}

impl ResumingClient {
    /// Reads a room from its beginning and follows it. It begins at `targets[first]` and moves on to the next one
    /// each time that its connection ends.
    pub fn start(targets: Vec<Target>, room: &str, token: Option<&str>, first: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let driver = Driver {
            targets,
            room: room.to_owned(),
            token: token.map(str::to_owned),
            next_target: first,
            shared: shared.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.run());
        Self {
            id: serial(),
            next_nonce: AtomicU32::new(0),
            shared,
            _driver: tasks,
        }
    }

    /// Sends a text, again and again until it is acked; its nonce.
    pub fn say(&self, text: &str) -> String {
        let nonce = format!("{}-{}", self.id, self.next_nonce.fetch_add(1, Ordering::Relaxed));
        self.shared
            .seen()
            .unacked
            .push_back((nonce.clone(), text.to_owned()));
        self.shared.outgoing().push_back((nonce.clone(), text.to_owned()));
        self.shared.wake.notify_one();
        nonce
    }

    /// Drops the connection without a close frame and resumes on the next replica.
    pub fn hop(&self) {
        self.shared.hop.store(true, Ordering::Relaxed);
        self.shared.wake.notify_one();
    }

    pub fn unacked(&self) -> usize {
        self.shared.seen().unacked.len()
    }

    pub fn joins(&self) -> u32 {
        self.shared.seen().joins
    }

    pub fn last_seq(&self) -> u64 {
        self.shared.seen().last_seq()
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
            let (now, seen) = (Instant::now(), self.brief());
            // What went wrong once does not get better by waiting.
            assert!(
                now < deadline && seen.3.is_empty(),
                "{seq} within {limit:?}: at {}: {seen:?}",
                self.last_seq()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// A copy of what it has seen so far.
    pub fn seen(&self) -> Seen {
        self.shared.seen().clone()
    }

    fn brief(&self) -> (u32, u32, Vec<u16>, Vec<String>) {
        let seen = self.shared.seen();
        (
            seen.joins,
            seen.stalls,
            seen.closes.clone(),
            seen.violations.clone(),
        )
    }
}

struct Driver {
    targets: Vec<Target>,
    room: String,
    token: Option<String>,
    next_target: usize,
    shared: Arc<Shared>,
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
            let seen = self.shared.seen();
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
            let mut seen = self.shared.seen();
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
            let last = self.shared.seen().last_seq();
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
            let mut seen = self.shared.seen();
            page.into_iter().for_each(|message| seen.message(message));
        }
    }

    /// Follows one connection to its end; how long to wait before the next.
    async fn follow(&mut self, mut client: Client) -> Duration {
        let mut pause = Duration::from_millis(20);
        let mut progress = Instant::now();
        let mut retry_at: Option<Instant> = None;
        let mut pace = Pace::of(&client.joined);
        self.send_all_again();
        loop {
            let Some(wait) = self.send_outgoing(&mut client, &mut pace).await else {
                return pause;
            };
            let due = retry_at
                .map_or(Duration::from_millis(500), |at| {
                    at.saturating_duration_since(Instant::now())
                })
                .min(wait);
            tokio::select! {
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
                        self.shared.seen().closes.push(code);
                        return pause;
                    }
                },
                () = self.shared.wake.notified() => {
                    if self.shared.hop.swap(false, Ordering::Relaxed) {
                        return Duration::ZERO;
                    }
                }
            }
            if retry_at.is_some_and(|at| at <= Instant::now()) {
                retry_at = None;
                self.send_all_again();
            }
            let mut seen = self.shared.seen();
            if seen.unacked.is_empty() {
                progress = Instant::now();
            } else if progress.elapsed() > ACK_LIMIT {
                seen.stalls += 1;
                return pause;
            }
        }
    }

    /// What was said and is not acked is due on this connection, oldest first.
    fn send_all_again(&self) {
        // Locked first: what is said meanwhile is appended after, not lost.
        let mut outgoing = self.shared.outgoing();
        *outgoing = self.shared.seen().unacked.clone();
    }

    /// Sends what is due, as fast as it may; how long until more may be sent, `None` for a broken connection.
    async fn send_outgoing(&self, client: &mut Client, pace: &mut Pace) -> Option<Duration> {
        loop {
            if self.shared.outgoing().is_empty() {
                return Some(Duration::MAX);
            }
            let wait = pace.take();
            if !wait.is_zero() {
                return Some(wait);
            }
            let next = self.shared.outgoing().pop_front();
            let Some((nonce, text)) = next else { continue };
            client
                .try_send(json!({"text": text, "nonce": nonce}))
                .await
                .ok()?;
        }
    }

    fn event(&self, event: Value) -> Reaction {
        let mut seen = self.shared.seen();
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

/// The rate that `joined` gave: a bucket, and when it will be full again.
struct Pace {
    rate: Option<(f64, f64)>,
    full_at: Instant,
}

impl Pace {
    fn of(joined: &Event) -> Self {
        let rate = &joined["rate"];
        Self {
            rate: rate["perSecond"].as_f64().zip(rate["burst"].as_f64()),
            full_at: Instant::now(),
        }
    }

    /// Takes one message; how long to wait where it could not.
    fn take(&mut self) -> Duration {
        let Some((per_second, burst)) = self.rate else {
            return Duration::ZERO;
        };
        let (now, step) = (Instant::now(), Duration::from_secs_f64(1.0 / per_second));
        let next = self.full_at.max(now) + step;
        let wait = (next - now).saturating_sub(step.mul_f64(burst));
        if wait.is_zero() {
            self.full_at = next;
        }
        wait
    }
}

enum Reaction {
    None,
    RetryIn(Duration),
    ResumeIn(Duration),
}
