//! A message's trace: its publish, with the wait for the journal, the commit and the relay below it, and a delivery
//! on every replica. Made with OpenTelemetry's own interface, not with `tracing` spans, so that a message that is
//! not sampled costs no more than the decision.

use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::trace::{
    Link, Span, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::ids::{RoomName, Seq};

/// The W3C trace context of one span: what travels in an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub flags: u8,
}

impl TraceContext {
    /// Bytes of the encoded form.
    pub const BYTES: usize = 25;

    /// Reads a `traceparent` header (W3C Trace Context, version 00); `None` for what is malformed.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lower = |text: &str| !text.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'+');
        let well_formed = [version, trace, span, flags].iter().all(|part| lower(part))
            && (version.len(), trace.len(), span.len(), flags.len()) == (2, 32, 16, 2)
            && version != "ff"
            && (version != "00" || parts.next().is_none());
        if !well_formed {
            return None;
        }
        u8::from_str_radix(version, 16).ok()?;
        let trace_id = u128::from_str_radix(trace, 16)
            .ok()
            .filter(|id| *id != 0)?
            .to_be_bytes();
        let span_id = u64::from_str_radix(span, 16)
            .ok()
            .filter(|id| *id != 0)?
            .to_be_bytes();
        Some(Self {
            trace_id,
            span_id,
            flags: u8::from_str_radix(flags, 16).ok()?,
        })
    }

    pub fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.trace_id);
        into.extend_from_slice(&self.span_id);
        into.push(self.flags);
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (trace_id, rest) = bytes.split_first_chunk()?;
        let (span_id, rest) = rest.split_first_chunk()?;
        Some(Self {
            trace_id: *trace_id,
            span_id: *span_id,
            flags: *rest.first()?,
        })
    }

    fn of(context: &SpanContext) -> Self {
        Self {
            trace_id: context.trace_id().to_bytes(),
            span_id: context.span_id().to_bytes(),
            flags: context.trace_flags().to_u8(),
        }
    }

    /// That of the current `tracing` span, sampled or not: what comes below it is decided with it.
    pub fn current() -> Option<Self> {
        let context = tracing::Span::current().context();
        let span = context.span();
        span.span_context()
            .is_valid()
            .then(|| Self::of(span.span_context()))
    }

    fn remote(self) -> SpanContext {
        SpanContext::new(
            TraceId::from_bytes(self.trace_id),
            SpanId::from_bytes(self.span_id),
            TraceFlags::new(self.flags),
            true,
            TraceState::NONE,
        )
    }

    /// 32 hex digits, as log lines show it.
    pub fn trace_id(&self) -> String {
        TraceId::from_bytes(self.trace_id).to_string()
    }

    pub fn parent(self) -> Context {
        Context::new().with_remote_span_context(self.remote())
    }
}

/// A message's way through Redis.
pub type RelaySpan = SdkSpan;

/// Makes spans, or none where nothing is exported. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<SdkTracer>>);

/// A publish that is sampled, until its message is stored.
#[derive(Debug)]
pub struct PublishSpan {
    tracer: Arc<SdkTracer>,
    span: SdkSpan,
    submitted: SystemTime,
}

/// What a commit has to say to the publishes in it.
#[derive(Debug, Clone, Copy)]
pub struct Stage {
    pub begun: SystemTime,
    pub ended: SystemTime,
    pub messages: usize,
}

impl Traces {
    pub(super) fn new(tracer: Option<SdkTracer>) -> Self {
        Self(tracer.map(Arc::new))
    }

    /// Begins a publish, below what the client said; `None` where it is not sampled.
    pub fn publish(
        &self,
        parent: Option<TraceContext>,
        room: &RoomName,
        bytes: usize,
    ) -> Option<Box<PublishSpan>> {
        let tracer = self.0.as_ref()?;
        let builder = SpanBuilder::from_name("send room").with_kind(SpanKind::Producer);
        let mut span =
            builder.start_with_context(&**tracer, &parent.map_or_else(Context::new, TraceContext::parent));
        if !span.is_recording() {
            return None;
        }
        span.set_attributes(room_attributes("send", room));
        span.set_attribute(KeyValue::new("messaging.message.body.size", bytes as i64));
        Some(Box::new(PublishSpan {
            tracer: tracer.clone(),
            span,
            submitted: SystemTime::now(),
        }))
    }

    /// The span of a batch, linked to the publishes in it that are sampled.
    pub fn batch<'a>(&self, stage: Stage, committed: bool, of: impl Iterator<Item = &'a PublishSpan>) {
        let publishes: Vec<SpanContext> = of.map(|publish| publish.span.span_context().clone()).collect();
        let (Some(tracer), Some(first)) = (&self.0, publishes.first().cloned()) else {
            return;
        };
        let links = publishes.into_iter().map(Link::with_context).collect();
        let builder = SpanBuilder::from_name("commit batch")
            .with_kind(SpanKind::Client)
            .with_start_time(stage.begun)
            .with_links(links)
            .with_attributes([
                KeyValue::new("db.operation.name", "append"),
                KeyValue::new("db.collection.name", "messages"),
                KeyValue::new("db.operation.batch.size", stage.messages as i64),
            ]);
        // In the trace of the first of them, since it has to be in one.
        let parent = Context::new().with_remote_span_context(first);
        let mut span = builder.start_with_context(&**tracer, &parent);
        if !committed {
            span.set_status(Status::error("the batch was not committed"));
        }
        span.end_with_timestamp(stage.ended);
    }

    /// A message on its way through Redis; its context goes into the envelope.
    pub fn relay(&self, parent: TraceContext) -> Option<(RelaySpan, TraceContext)> {
        let builder = SpanBuilder::from_name("publish redis")
            .with_kind(SpanKind::Producer)
            .with_attributes([
                KeyValue::new("messaging.system", "redis"),
                KeyValue::new("messaging.operation.type", "send"),
            ]);
        let span = builder.start_with_context(&**self.0.as_ref()?, &parent.parent());
        let context = TraceContext::of(span.span_context());
        Some((span, context))
    }

    /// A message has reached its room on this replica and its sessions have been woken.
    pub fn deliver(&self, parent: TraceContext, delivery: &Delivery<'_>) {
        let Some(tracer) = &self.0 else { return };
        let mut attributes = room_attributes("process", delivery.room).to_vec();
        attributes.extend([
            KeyValue::new("chat.message.seq", delivery.seq as i64),
            KeyValue::new("chat.sessions", delivery.sessions as i64),
            KeyValue::new(
                "chat.delivered.bytes",
                (delivery.bytes * delivery.sessions) as i64,
            ),
            KeyValue::new("chat.since_commit_ms", delivery.since_commit_millis),
        ]);
        let builder = SpanBuilder::from_name("deliver room")
            .with_kind(SpanKind::Consumer)
            .with_attributes(attributes);
        builder.start_with_context(&**tracer, &parent.parent()).end();
    }
}

/// What a delivery span says.
#[derive(Debug)]
pub struct Delivery<'a> {
    pub room: &'a RoomName,
    pub seq: Seq,
    /// Sessions of the room on this replica.
    pub sessions: usize,
    /// Bytes of the frame.
    pub bytes: usize,
    pub since_commit_millis: i64,
}

impl PublishSpan {
    pub fn context(&self) -> TraceContext {
        TraceContext::of(self.span.span_context())
    }

    /// The message is stored: adds the wait and the commit below the publish, and ends it.
    pub fn committed(mut self: Box<Self>, stage: Stage, id: uuid::Uuid, seq: Seq, repeated: bool) {
        self.stages(stage);
        self.span.set_attributes([
            KeyValue::new("messaging.message.id", id.to_string()),
            KeyValue::new("chat.message.seq", seq as i64),
            KeyValue::new("chat.message.repeated", repeated),
        ]);
        self.span.end();
    }

    /// The message is not stored.
    pub fn failed(mut self: Box<Self>, stage: Stage) {
        self.stages(stage);
        self.span.set_status(Status::error("the batch was not committed"));
        self.span.end();
    }

    fn stages(&self, stage: Stage) {
        let parent = Context::new().with_remote_span_context(self.span.span_context().clone());
        let child = |name, from, to, attributes: Vec<KeyValue>| {
            let builder = SpanBuilder::from_name(name)
                .with_start_time(from)
                .with_attributes(attributes);
            builder
                .start_with_context(&*self.tracer, &parent)
                .end_with_timestamp(to);
        };
        child("wait for journal", self.submitted, stage.begun, vec![]);
        let size = KeyValue::new("db.operation.batch.size", stage.messages as i64);
        child("commit", stage.begun, stage.ended, vec![size]);
    }
}

fn room_attributes(operation: &'static str, room: &RoomName) -> [KeyValue; 3] {
    [
        KeyValue::new("messaging.system", "chat-gateway"),
        KeyValue::new("messaging.operation.type", operation),
        KeyValue::new("messaging.destination.name", room.as_str().to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_travels() {
        let context = TraceContext::parse(VALID).unwrap();
        assert_eq!(context.flags, 1);
        let mut bytes = Vec::new();
        context.encode(&mut bytes);
        assert_eq!(bytes.len(), TraceContext::BYTES);
        assert_eq!(TraceContext::decode(&bytes), Some(context));
    }

    #[test]
    fn a_malformed_traceparent_is_none() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47é6-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }
}
