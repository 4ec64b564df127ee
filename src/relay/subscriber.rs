//! Hearing the other replicas: a dedicated RESP3 connection, whose pushes go straight into the rooms' logs with
//! no queue between. It is made anew for ever. That it works is proven by hearing our own heartbeat through it,
//! not by a socket that is connected.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, RedisError, Value};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::envelope::{self, Opened};
use super::publisher::Publisher;
use super::{Channels, TIMEOUT, TagKey};
use crate::health::Health;
use crate::ids::RoomId;
use crate::metrics::Metrics;
use crate::room::{Changes, Rooms};

/// How often the heartbeat goes out.
const BEAT: Duration = Duration::from_millis(1000);
/// How long without hearing it until the connection counts as deaf.
const DEAF: Duration = Duration::from_millis(3500);
/// The first and the longest wait between two tries to connect; half of it is jitter.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long hints gather until the rooms are looked at.
const HINTS: Duration = Duration::from_millis(100);
/// How many channels one SUBSCRIBE names.
const BULK: usize = 500;

pub(super) struct Subscriber {
    pub client: Client,
    pub channels: Channels,
    pub heartbeat: String,
    pub key: TagKey,
    pub rooms: Rooms,
    pub publisher: Publisher,
    pub metrics: Metrics,
    pub health: Health,
}

/// Why a connection was given up.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("the connection was closed")]
    Closed,
    #[error("the own heartbeat is not heard")]
    Deaf,
}

/// What the pushes of one connection say beside the messages.
#[derive(Debug)]
struct Ear {
    /// When the last heartbeat went out, and when one came in.
    beat: Mutex<Instant>,
    heard: Mutex<Instant>,
    closed: watch::Sender<bool>,
}

impl Subscriber {
    pub async fn run(self, stop: CancellationToken) {
        let mut wait = BACKOFF.0;
        loop {
            let begun = Instant::now();
            let lost = tokio::select! {
                lost = self.listen() => lost.err().unwrap_or(Lost::Closed),
                () = stop.cancelled() => return,
            };
            self.metrics.relay_connected(false);
            self.health.redis(None);
            tracing::warn!(error = %lost, "not hearing Redis; messages of other replicas come by the head check");
            // A connection that held for a while was a good one: try again at once.
            wait = if begun.elapsed() > DEAF {
                BACKOFF.0
            } else {
                (wait * 2).min(BACKOFF.1)
            };
            let jitter = rand::rng().random_range(0.5..1.0);
            tokio::select! {
                () = tokio::time::sleep(wait.mul_f64(jitter)) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// One connection, until it is lost.
    async fn listen(&self) -> Result<(), Lost> {
        let ear = Arc::new(Ear {
            beat: Mutex::new(Instant::now()),
            heard: Mutex::new(Instant::now()),
            closed: watch::Sender::new(false),
        });
        let mut connection = self.connect(ear.clone()).await?;
        connection.subscribe(self.heartbeat.as_str()).await?;
        // What changed until now is in the list of live rooms, which is subscribed as a whole.
        let (interest, hints) = (self.rooms.interest(), self.rooms.hints());
        let all = self.rooms.ids();
        self.hear(&mut connection, &all).await?;
        self.metrics.relay_connected(true);
        tracing::info!(rooms = all.len(), "hearing Redis");
        let mut closed = ear.closed.subscribe();
        let mut beat = tokio::time::interval(BEAT);
        loop {
            tokio::select! {
                changes = interest.next() => {
                    let wanted = |want| changes.iter().filter(move |(_, w)| **w == want).map(|(room, _)| *room);
                    let dropped: Vec<String> = wanted(false).map(|room| self.channels.room(room)).collect();
                    for some in dropped.chunks(BULK) {
                        connection.unsubscribe(some).await?;
                    }
                    self.hear(&mut connection, &wanted(true).collect::<Vec<_>>()).await?;
                }
                _ = beat.tick() => {
                    let silence = ear.heard.lock().elapsed();
                    if silence > DEAF {
                        return Err(Lost::Deaf);
                    }
                    *ear.beat.lock() = Instant::now();
                    self.publisher.send(self.heartbeat.clone(), Vec::new());
                }
                hinted = gather(&hints) => {
                    let rooms: Vec<RoomId> = hinted.into_keys().collect();
                    if !matches!(timeout(TIMEOUT, self.rooms.check_heads(&rooms)).await, Ok(Ok(()))) {
                        tracing::debug!("the heads of rooms cannot be read that an older replica spoke of");
                    }
                }
                _ = closed.changed() => return Err(Lost::Closed),
            }
        }
    }

    /// Subscribes to these rooms' channels, and only then checks their heads: what was published before is read
    /// from the store, what is published after is heard.
    async fn hear(&self, connection: &mut MultiplexedConnection, rooms: &[RoomId]) -> Result<(), Lost> {
        let mut read = true;
        for some in rooms.chunks(BULK) {
            let channels: Vec<String> = some.iter().map(|room| self.channels.room(*room)).collect();
            connection.subscribe(channels.as_slice()).await?;
            // Meanwhile no heartbeat goes out: a database that hangs must not make us deaf to Redis.
            read = read && matches!(timeout(TIMEOUT, self.rooms.check_heads(some)).await, Ok(Ok(())));
            if !read {
                tracing::debug!("the rooms' heads cannot be read, the next head check will");
            }
        }
        Ok(())
    }

    async fn connect(&self, ear: Arc<Ear>) -> Result<MultiplexedConnection, RedisError> {
        let (rooms, channels, metrics) = (self.rooms.clone(), self.channels.clone(), self.metrics.clone());
        let (heartbeat, health, key) = (self.heartbeat.clone(), self.health.clone(), self.key.clone());
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT))
            .set_push_sender(move |push: PushInfo| -> Result<(), std::convert::Infallible> {
                match push.kind {
                    PushKind::Message => match message(push.data) {
                        Some((channel, _)) if channel == heartbeat.as_bytes() => {
                            *ear.heard.lock() = Instant::now();
                            let took = ear.beat.lock().elapsed();
                            metrics.relay_round_trip(took);
                            health.redis(Some(took));
                        }
                        Some((channel, payload)) => {
                            let Some(room) = channels.room_of(&channel) else {
                                metrics.relay_unreadable();
                                return Ok(());
                            };
                            match envelope::open(room, payload, &key) {
                                Opened::Message(entry, origin) => {
                                    metrics.relay_received();
                                    rooms.arrive(room, entry, origin);
                                }
                                Opened::Hint => rooms.hint(room),
                                Opened::Forged => metrics.relay_forged(),
                                Opened::Unreadable => metrics.relay_unreadable(),
                            }
                        }
                        None => metrics.relay_unreadable(),
                    },
                    PushKind::Disconnection => drop(ear.closed.send_replace(true)),
                    _ => {}
                }
                Ok(())
            });
        let info = self.client.get_connection_info();
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.clone().set_redis_settings(settings))?;
        client.get_multiplexed_async_connection_with_config(&config).await
    }
}

async fn gather(hints: &Changes) -> HashMap<RoomId, bool> {
    tokio::time::sleep(HINTS).await;
    hints.next().await
}

/// A push of the kind `message`: channel and payload.
fn message(data: Vec<Value>) -> Option<(Vec<u8>, Vec<u8>)> {
    match <[Value; 2]>::try_from(data) {
        Ok([Value::BulkString(channel), Value::BulkString(payload)]) => Some((channel, payload)),
        _ => None,
    }
}
