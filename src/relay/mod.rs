//! Between replicas: each committed message goes out on its room's Redis channel, and comes in from the
//! others'. At most once is enough (I5): what is missed is found by `seq` and read from the store.

mod envelope;
mod publisher;
mod subscriber;
mod tag;

use std::time::Duration;

use redis::Client;
use tokio_util::sync::CancellationToken;

use crate::ids::RoomId;
use crate::room::{Entry, Rooms};
use crate::telemetry::Origin;
use crate::tools::Tools;

use publisher::Publisher;
pub use tag::TagKey;

/// How long Redis may take to answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The way out to the other replicas. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Relay {
    /// One machine: there are no others.
    None,
    Redis(Publisher),
}

impl Relay {
    /// Starts publishing to and hearing from Redis. Redis need not be there yet.
    pub fn start(
        client: Client,
        prefix: &str,
        key: TagKey,
        rooms: Rooms,
        stop: CancellationToken,
        tools: Tools,
    ) -> Self {
        let channels = Channels {
            prefix: prefix.to_owned(),
        };
        let publisher = Publisher::start(client.clone(), channels.clone(), key.clone(), &tools);
        tools.metrics.relay_begins();
        let workers = tools.workers.clone();
        let subscriber = subscriber::Subscriber {
            client,
            heartbeat: channels.heartbeat(),
            channels,
            key,
            rooms,
            publisher: publisher.clone(),
            metrics: tools.metrics,
            health: tools.health,
        };
        workers.spawn(subscriber.run(stop));
        Self::Redis(publisher)
    }

    /// Tells the other replicas of a committed message. Never waits.
    pub fn publish(&self, room: RoomId, entry: &Entry, origin: Origin) {
        if let Self::Redis(publisher) = self {
            publisher.publish(room, entry, origin);
        }
    }
}

/// Channel names: `<prefix>:room:<32 hex digits of the room's id>`.
#[derive(Debug, Clone)]
struct Channels {
    prefix: String,
}

impl Channels {
    fn room(&self, room: RoomId) -> String {
        format!("{}:room:{room}", self.prefix)
    }

    fn room_of(&self, channel: &[u8]) -> Option<RoomId> {
        let hex = channel
            .strip_prefix(self.prefix.as_bytes())?
            .strip_prefix(b":room:")?;
        uuid::Uuid::try_parse_ascii(hex).ok().map(RoomId)
    }

    /// A channel of this process alone, on which it listens for itself.
    fn heartbeat(&self) -> String {
        format!("{}:heartbeat:{}", self.prefix, uuid::Uuid::now_v7().as_simple())
    }
}
