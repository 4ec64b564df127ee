//! Publishing, pipelined over a multiplexed connection: whatever has gathered while the previous pipeline was
//! under way goes out in the next one.

use std::time::Duration;

use opentelemetry::trace::{Span, Status};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline, RedisError};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Channels, TIMEOUT, TagKey, envelope};
use crate::ids::RoomId;
use crate::metrics::Metrics;
use crate::room::Entry;
use crate::telemetry::{Origin, RelaySpan, Traces};
use crate::tools::Tools;

/// How many messages may wait for Redis; what is over that is left to the head check.
const QUEUE: usize = 8192;
/// How many messages one pipeline takes.
const PIPELINE: usize = 512;

/// Between two tries to connect; what is published meanwhile is left to the head check.
const RETRY: Duration = Duration::from_millis(100);

/// The way to Redis. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    queue: mpsc::Sender<Outgoing>,
    channels: Channels,
    key: TagKey,
    metrics: Metrics,
    traces: Traces,
}

#[derive(Debug)]
struct Outgoing {
    channel: String,
    payload: Vec<u8>,
    span: Option<Box<RelaySpan>>,
}

impl Publisher {
    pub(super) fn start(client: Client, channels: Channels, key: TagKey, tools: &Tools) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let (metrics, traces) = (tools.metrics.clone(), tools.traces.clone());
        tools
            .workers
            .spawn(run(Link::new(client), receiver, metrics.clone()));
        Self {
            queue,
            channels,
            key,
            metrics,
            traces,
        }
    }

    pub fn publish(&self, room: RoomId, entry: &Entry, origin: Origin) {
        let channel = self.channels.room(room);
        let relayed = |parent| self.traces.relay(parent, &channel, entry.point());
        let (span, trace) = origin.trace.and_then(relayed).unzip();
        let payload = envelope::seal(room, entry, Origin { trace, ..origin }, &self.key);
        self.queue(Outgoing {
            channel,
            payload,
            span: span.map(Box::new),
        });
    }

    pub(super) fn send(&self, channel: String, payload: Vec<u8>) {
        self.queue(Outgoing {
            channel,
            payload,
            span: None,
        });
    }

    fn queue(&self, published: Outgoing) {
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

/// The connection, made when it is first needed, and anew after any error. redis' own ConnectionManager keeps one
/// on which answers time out, so that one which is open and dead would be kept until the kernel gives it up.
struct Link {
    client: Client,
    connection: Option<MultiplexedConnection>,
    tried: Option<Instant>,
}

/// Why messages did not go out.
#[derive(Debug, thiserror::Error)]
enum Unsent {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("not connected, the next try is due soon")]
    NotYet,
}

impl Link {
    fn new(client: Client) -> Self {
        Self {
            client,
            connection: None,
            tried: None,
        }
    }

    async fn send(&mut self, pipeline: &Pipeline) -> Result<(), Unsent> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        pipeline.query_async::<()>(&mut connection).await?;
        self.connection = Some(connection);
        Ok(())
    }

    async fn connect(&mut self) -> Result<MultiplexedConnection, Unsent> {
        if self.tried.is_some_and(|tried| tried.elapsed() < RETRY) {
            return Err(Unsent::NotYet);
        }
        self.tried = Some(Instant::now());
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT));
        Ok(self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?)
    }
}

async fn run(mut link: Link, mut queue: mpsc::Receiver<Outgoing>, metrics: Metrics) {
    let mut gathered = Vec::with_capacity(PIPELINE);
    let mut away = false;
    while queue.recv_many(&mut gathered, PIPELINE).await > 0 {
        let messages = gathered.len();
        let mut pipeline = redis::pipe();
        // The spans end when Redis has answered, whatever it says.
        let mut spans = Vec::new();
        for Outgoing {
            channel,
            payload,
            span,
        } in gathered.drain(..)
        {
            pipeline.cmd("PUBLISH").arg(channel).arg(payload).ignore();
            spans.extend(span);
        }
        match link.send(&pipeline).await {
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
