//! Publishing, pipelined over a multiplexed connection: whatever has gathered while the previous pipeline was
//! under way goes out in the next one.

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{Channels, Envelope, TIMEOUT};
use crate::ids::RoomId;
use crate::metrics::Metrics;

/// How many messages may wait for Redis; what is over that is left to the head check.
const QUEUE: usize = 8192;
/// How many messages one pipeline takes.
const PIPELINE: usize = 512;

/// The way to Redis. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    queue: mpsc::Sender<(String, Vec<u8>)>,
    channels: Channels,
    metrics: Metrics,
}

impl Publisher {
    pub(super) fn start(
        client: Client,
        channels: Channels,
        metrics: Metrics,
        tracker: &TaskTracker,
    ) -> Result<Self, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(TIMEOUT))
            .set_connection_timeout(Some(TIMEOUT))
            .set_number_of_retries(1);
        let connection = ConnectionManager::new_lazy_with_config(client, config)?;
        let (queue, receiver) = mpsc::channel(QUEUE);
        tracker.spawn(run(connection, receiver, metrics.clone()));
        Ok(Self {
            queue,
            channels,
            metrics,
        })
    }

    pub fn publish(&self, room: RoomId, envelope: Envelope) {
        self.send(self.channels.room(room), envelope.0);
    }

    pub(super) fn send(&self, channel: String, payload: Vec<u8>) {
        if self.queue.try_send((channel, payload)).is_err() {
            self.metrics.relay_dropped(1);
        }
    }
}

async fn run(
    mut connection: ConnectionManager,
    mut queue: mpsc::Receiver<(String, Vec<u8>)>,
    metrics: Metrics,
) {
    let mut gathered = Vec::with_capacity(PIPELINE);
    let mut away = false;
    while queue.recv_many(&mut gathered, PIPELINE).await > 0 {
        let messages = gathered.len();
        let mut pipeline = redis::pipe();
        for (channel, payload) in gathered.drain(..) {
            pipeline.cmd("PUBLISH").arg(channel).arg(payload).ignore();
        }
        match pipeline.query_async::<()>(&mut connection).await {
            Ok(()) => {
                metrics.relay_published(messages);
                if std::mem::take(&mut away) {
                    tracing::info!("publishing to Redis again");
                }
            }
            Err(e) => {
                metrics.relay_dropped(messages);
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!(error = %e, "Redis does not take messages; other replicas find them by the head check");
                }
            }
        }
    }
}
