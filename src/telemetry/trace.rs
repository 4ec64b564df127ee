//! A message's trace: its publish, with the wait for the journal, the commit and the relay below it, and a delivery
//! on every replica. Made with OpenTelemetry's own interface, not with `tracing` spans, so that a message that is
//! not sampled costs no more than the decision.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Link, Span, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

use super::sampling::{Sampling, decided};
use crate::ids::{Point, RoomName};
use crate::protocol::TraceContext;

/// `messaging.system` of what clients send and get.
const SYSTEM: &str = "chat-gateway";

/// A message's way through Redis.
pub type RelaySpan = SdkSpan;

/// Makes spans, or none where nothing is exported. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Tracer>);

#[derive(Debug, Clone)]
struct Tracer {
    spans: Arc<SdkTracer>,
    sampling: Sampling,
}

/// A publish that is sampled, until its message is stored.
#[derive(Debug)]
pub struct PublishSpan {
    tracer: Arc<SdkTracer>,
    span: SdkSpan,
    submitted: SystemTime,
}

/// A database, by the semantic conventions.
#[derive(Debug)]
pub struct Database {
    /// `db.system.name`.
    pub system: &'static str,
    pub namespace: String,
    /// Of a server.
    pub address: Option<String>,
    pub port: Option<u16>,
}

/// A batch's transaction, as the publishes in it see it.
#[derive(Debug)]
pub struct Stage {
    pub begun: SystemTime,
    pub ended: SystemTime,
    pub messages: usize,
    pub database: Arc<Database>,
    /// What went wrong, where it was not committed.
    pub failure: Option<Cow<'static, str>>,
    /// Its own span, where a publish in it is sampled.
    pub batch: Option<SpanContext>,
}

impl Traces {
    pub(super) fn new(spans: SdkTracer, sampling: Sampling) -> Self {
        let spans = Arc::new(spans);
        Self(Some(Tracer { spans, sampling }))
    }

    /// What a client sent as its context, with the flag that counts here: whether it is sampled is decided now.
    pub fn admit(&self, client: Option<TraceContext>) -> Option<TraceContext> {
        match &self.0 {
            Some(Tracer { sampling, .. }) => client.map(|client| sampling.admit(client)),
            None => client,
        }
    }

    /// Begins a publish, below what was admitted or decided; `None` where it is not sampled.
    pub fn publish(
        &self,
        parent: Option<TraceContext>,
        room: &RoomName,
        bytes: usize,
    ) -> Option<Box<PublishSpan>> {
        let Tracer { spans, sampling } = self.0.as_ref()?;
        let parent = match parent {
            Some(parent) => parent.is_sampled().then(|| parent.parent()),
            None => sampling.draw().then(decided),
        }?;
        let builder = SpanBuilder::from_name("send room").with_kind(SpanKind::Producer);
        let mut span = builder.start_with_context(&**spans, &parent);
        if !span.is_recording() {
            return None;
        }
        span.set_attributes(messaging(SYSTEM, "send", "send", room.as_str()));
        span.set_attribute(KeyValue::new("messaging.message.body.size", bytes as i64));
        Some(Box::new(PublishSpan {
            tracer: spans.clone(),
            span,
            submitted: SystemTime::now(),
        }))
    }

    /// The span of a batch, linked to the publishes in it that are sampled; `None` where none is, and it was committed. One
    /// that failed is recorded always.
    pub fn batch<'a>(&self, stage: &Stage, of: impl Iterator<Item = &'a PublishSpan>) -> Option<SpanContext> {
        let Tracer { spans, .. } = self.0.as_ref()?;
        let publishes: Vec<SpanContext> = of.map(|publish| publish.span.span_context().clone()).collect();
        // In the trace of the first of them, since it has to be in one.
        let parent = match publishes.first() {
            Some(first) => Context::new().with_remote_span_context(first.clone()),
            None if stage.failure.is_none() => return None,
            None => decided(),
        };
        let links = publishes.into_iter().map(Link::with_context).collect();
        let builder = SpanBuilder::from_name("commit batch")
            .with_kind(SpanKind::Client)
            .with_start_time(stage.begun)
            .with_links(links)
            .with_attributes(stage.attributes());
        let mut span = builder.start_with_context(&**spans, &parent);
        span.set_status(stage.status());
        span.end_with_timestamp(stage.ended);
        Some(span.span_context().clone())
    }

    /// A message on its way through Redis; its context goes into the envelope.
    pub fn relay(
        &self,
        parent: TraceContext,
        channel: &str,
        message: Point,
    ) -> Option<(RelaySpan, TraceContext)> {
        let mut attributes = messaging("redis", "publish", "send", channel).to_vec();
        attributes.extend(identity(message));
        let builder = SpanBuilder::from_name("publish redis")
            .with_kind(SpanKind::Producer)
            .with_attributes(attributes);
        let span = builder.start_with_context(&*self.0.as_ref()?.spans, &parent.parent());
        let context = TraceContext::of(span.span_context());
        Some((span, context))
    }

    /// A message has reached its room on this replica and its sessions have been woken.
    pub fn deliver(&self, parent: TraceContext, delivery: &Delivery<'_>) {
        let Some(Tracer { spans, .. }) = &self.0 else {
            return;
        };
        let mut attributes = messaging(SYSTEM, "deliver", "process", delivery.room.as_str()).to_vec();
        attributes.extend(identity(delivery.message));
        attributes.extend([
            KeyValue::new("chat.sessions", delivery.sessions as i64),
            KeyValue::new(
                "chat.delivered.bytes",
                (delivery.bytes * delivery.sessions) as i64,
            ),
            KeyValue::new("chat.since_commit_ms", delivery.since_commit.as_secs_f64() * 1e3),
        ]);
        let builder = SpanBuilder::from_name("deliver room")
            .with_kind(SpanKind::Consumer)
            .with_attributes(attributes);
        builder.start_with_context(&**spans, &parent.parent()).end();
    }
}

/// What a delivery span says.
#[derive(Debug)]
pub struct Delivery<'a> {
    pub room: &'a RoomName,
    pub message: Point,
    /// Sessions of the room on this replica.
    pub sessions: usize,
    /// Bytes of the frame.
    pub bytes: usize,
    /// By the clocks of two replicas.
    pub since_commit: Duration,
}

impl PublishSpan {
    pub fn context(&self) -> TraceContext {
        TraceContext::of(self.span.span_context())
    }

    /// The trace that it is recorded in.
    pub fn recorded(&self) -> Option<[u8; 16]> {
        let context = self.context();
        context.is_sampled().then_some(context.trace_id)
    }

    /// Adds the wait and the commit, which is linked to that of the whole batch, below the publish, and ends it.
    /// `stored`: the message, and whether it was there before.
    pub fn end(mut self: Box<Self>, stage: &Stage, stored: Option<(Point, bool)>) {
        if let Some((message, repeated)) = stored {
            self.span.set_attributes(identity(message));
            self.span
                .set_attribute(KeyValue::new("chat.message.repeated", repeated));
        }
        let parent = Context::new().with_remote_span_context(self.span.span_context().clone());
        SpanBuilder::from_name("wait for journal")
            .with_start_time(self.submitted)
            .start_with_context(&*self.tracer, &parent)
            .end_with_timestamp(stage.begun);
        let mut commit = SpanBuilder::from_name("commit")
            .with_start_time(stage.begun)
            .with_links(stage.batch.clone().map(Link::with_context).into_iter().collect())
            .with_attributes(stage.attributes())
            .start_with_context(&*self.tracer, &parent);
        commit.set_status(stage.status());
        commit.end_with_timestamp(stage.ended);
        self.span.set_status(stage.status());
        self.span.end();
    }
}

impl Stage {
    fn attributes(&self) -> Vec<KeyValue> {
        let Database {
            system,
            namespace,
            address,
            port,
        } = &*self.database;
        let mut attributes = vec![
            KeyValue::new("db.system.name", *system),
            KeyValue::new("db.namespace", namespace.clone()),
            KeyValue::new("db.operation.name", "append"),
            KeyValue::new("db.collection.name", "messages"),
            KeyValue::new("db.operation.batch.size", self.messages as i64),
        ];
        attributes.extend(
            address
                .clone()
                .map(|address| KeyValue::new("server.address", address)),
        );
        attributes.extend(port.map(|port| KeyValue::new("server.port", i64::from(port))));
        attributes.extend(self.failure.clone().map(|kind| KeyValue::new("error.type", kind)));
        attributes
    }

    fn status(&self) -> Status {
        match self.failure {
            None => Status::Unset,
            Some(_) => Status::error("the batch was not committed"),
        }
    }
}

/// The semantic conventions' attributes of a messaging span.
fn messaging(
    system: &'static str,
    operation: &'static str,
    kind: &'static str,
    destination: &str,
) -> [KeyValue; 4] {
    [
        KeyValue::new("messaging.system", system),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.operation.type", kind),
        KeyValue::new("messaging.destination.name", destination.to_owned()),
    ]
}

fn identity(Point { id, seq }: Point) -> [KeyValue; 2] {
    [
        KeyValue::new("messaging.message.id", id.to_string()),
        KeyValue::new("chat.message.seq", seq.to_db()),
    ]
}
