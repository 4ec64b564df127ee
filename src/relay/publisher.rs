//! Publishing, pipelined over a multiplexed connection: whatever has gathered while the previous pipeline was
//! under way goes out in the next one.

use opentelemetry::trace::{Span, Status};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{Channels, Envelope, TIMEOUT};
use crate::ids::RoomId;
use crate::metrics::Metrics;
use crate::room::Entry;
use crate::telemetry::{RelaySpan, TraceContext, Traces};

/// How many messages may wait for Redis; what is over that is left to the head check.
const QUEUE: usize = 8192;
/// How many messages one pipeline takes.
const PIPELINE: usize = 512;

/// The way to Redis. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    queue: mpsc::Sender<Published>,
    channels: Channels,
    metrics: Metrics,
    traces: Traces,
}

#[derive(Debug)]
struct Published {
    channel: String,
    payload: Vec<u8>,
    span: Option<Box<RelaySpan>>,
}

impl Publisher {
    pub(super) fn start(
        client: Client,
        channels: Channels,
        metrics: Metrics,
        traces: Traces,
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
            traces,
        })
    }

    pub fn publish(&self, room: RoomId, entry: &Entry, trace: Option<TraceContext>) {
        let (span, trace) = trace.and_then(|parent| self.traces.relay(parent)).unzip();
        let payload = Envelope::of(entry, trace).0;
        self.queue(Published {
            channel: self.channels.room(room),
            payload,
            span: span.map(Box::new),
        });
    }

    pub(super) fn send(&self, channel: String, payload: Vec<u8>) {
        self.queue(Published {
            channel,
            payload,
            span: None,
        });
    }

    fn queue(&self, published: Published) {
        if let Err(refused) = self.queue.try_send(published) {
            self.metrics.relay_dropped(1);
            fail(refused.into_inner().span, "the queue to Redis is full");
        }
    }
}

fn fail(span: Option<Box<RelaySpan>>, why: &'static str) {
    if let Some(mut span) = span {
        span.set_status(Status::error(why));
    }
}

async fn run(mut connection: ConnectionManager, mut queue: mpsc::Receiver<Published>, metrics: Metrics) {
    let mut gathered = Vec::with_capacity(PIPELINE);
    let mut away = false;
    while queue.recv_many(&mut gathered, PIPELINE).await > 0 {
        let messages = gathered.len();
        let mut pipeline = redis::pipe();
        // The spans end when Redis has answered, whatever it says.
        let mut spans = Vec::new();
        for Published {
            channel,
            payload,
            span,
        } in gathered.drain(..)
        {
            pipeline.cmd("PUBLISH").arg(channel).arg(payload).ignore();
            spans.extend(span);
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
                spans
                    .drain(..)
                    .for_each(|span| fail(Some(span), "Redis did not take it"));
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!(error = %e, "Redis does not take messages; other replicas find them by the head check");
                }
            }
        }
    }
}
