//! Whose trace something belongs to, between the wire's form and the SDK's.

use std::time::{Duration, SystemTime};

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::clock::micros;
use crate::protocol::TraceContext;

impl TraceContext {
    pub(super) fn of(context: &SpanContext) -> Self {
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

/// Where a committed message comes from: when it was committed, and the span that its deliveries belong below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Microseconds since the Unix epoch, by the clock of the replica that committed it.
    pub committed_at: i64,
    pub trace: Option<TraceContext>,
}

impl Origin {
    pub fn at(committed: SystemTime, trace: Option<TraceContext>) -> Self {
        Self {
            committed_at: micros(committed),
            trace,
        }
    }

    /// How long ago that was; zero where the other replica's clock is ahead of ours.
    pub fn age(&self) -> Duration {
        let micros = micros(SystemTime::now()).saturating_sub(self.committed_at);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_ahead_makes_no_negative_age() {
        let ahead = SystemTime::now() + Duration::from_secs(60);
        assert_eq!(Origin::at(ahead, None).age(), Duration::ZERO);
        let behind = SystemTime::now() - Duration::from_secs(60);
        assert!(Origin::at(behind, None).age() >= Duration::from_secs(60));
    }
}
