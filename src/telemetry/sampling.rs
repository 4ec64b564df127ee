//! Which traces are recorded. It is decided before there is a span: most are not, and to build one costs far more than to
//! decide; and a client that asks for its own is followed within a budget.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use opentelemetry::metrics::Meter;
use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

use super::export::variable;
use crate::protocol::TraceContext;

/// Stands in a context below which a span is recorded, whatever else is said.
#[derive(Debug)]
struct Decided;

/// What the standard variables and the budget say. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Sampling {
    /// Of the traces that begin here, and of those whose clients' word does not count.
    ratio: f64,
    /// Whether the word of whoever a span is below counts.
    by_parent: bool,
    budget: Option<Arc<DefaultDirectRateLimiter>>,
    over_budget: Arc<AtomicU64>,
}

impl Sampling {
    /// As `OTEL_TRACES_SAMPLER` and its argument say, with the SDK's defaults; `budget`: so many times a second a client's word
    /// that its trace is sampled is taken.
    pub(super) fn from_environment(budget: u32) -> Self {
        let sampler = variable("OTEL_TRACES_SAMPLER").unwrap_or_default();
        Self::of(&sampler, variable("OTEL_TRACES_SAMPLER_ARG").as_deref(), budget)
    }

    fn of(sampler: &str, ratio: Option<&str>, budget: u32) -> Self {
        let ratio = || ratio.and_then(|ratio| ratio.parse().ok()).unwrap_or(1.0);
        let (ratio, by_parent) = match sampler {
            "always_on" => (1.0, false),
            "always_off" => (0.0, false),
            "traceidratio" => (ratio(), false),
            "parentbased_always_off" => (0.0, true),
            "parentbased_traceidratio" => (ratio(), true),
            _ => (1.0, true),
        };
        let burst = |n: NonZeroU32| Quota::per_second(n).allow_burst(n.saturating_add(n.get()));
        Self {
            ratio,
            by_parent,
            budget: NonZeroU32::new(budget).map(|n| Arc::new(RateLimiter::direct(burst(n)))),
            over_budget: Arc::default(),
        }
    }

    /// A client's context, with the flag that counts here. Its trace goes on in any case.
    pub(super) fn admit(&self, client: TraceContext) -> TraceContext {
        client.with_sampled(match (self.by_parent, client.is_sampled()) {
            (true, false) => false,
            (true, true) => self.draw() || self.is_in_budget(),
            (false, _) => self.draw(),
        })
    }

    /// Whether a trace that begins now is recorded.
    pub(super) fn draw(&self) -> bool {
        // By chance and not by the trace's id, which a client may choose.
        self.ratio >= 1.0 || (self.ratio > 0.0 && rand::random::<f64>() < self.ratio)
    }

    fn is_in_budget(&self) -> bool {
        let is_left = self.budget.as_ref().is_some_and(|budget| budget.check().is_ok());
        if !is_left {
            self.over_budget.fetch_add(1, Ordering::Relaxed);
        }
        is_left
    }

    /// Shows as a metric how often a client was not followed.
    pub(super) fn observe(&self, meter: &Meter) {
        let over_budget = self.over_budget.clone();
        meter
            .u64_observable_counter("chat.telemetry.over_budget")
            .with_description("Traces that a client wanted sampled, past TRACE_CLIENT_SAMPLED_PER_SECOND.")
            .with_callback(move |observer| observer.observe(over_budget.load(Ordering::Relaxed), &[]))
            .build();
    }
}

/// The context of a trace that begins here and is recorded.
pub(super) fn decided() -> Context {
    Context::new().with_value(Decided)
}

impl ShouldSample for Sampling {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        _: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let above = parent.filter(|parent| parent.has_active_span());
        let sampled = match above.map(|parent| parent.span().span_context().is_sampled()) {
            _ if parent.is_some_and(|parent| parent.get::<Decided>().is_some()) => true,
            // Ours, a replica's, or a client's that was admitted: it has been decided, unless it is always the same.
            Some(sampled) if self.by_parent || (self.ratio > 0.0 && self.ratio < 1.0) => sampled,
            _ => self.draw(),
        };
        SamplingResult {
            decision: match sampled {
                true => SamplingDecision::RecordAndSample,
                false => SamplingDecision::Drop,
            },
            attributes: Vec::new(),
            trace_state: above.map_or(TraceState::NONE, |parent| {
                parent.span().span_context().trace_state().clone()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Span, SpanBuilder, TracerProvider};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    const CLIENT: TraceContext = TraceContext {
        trace_id: [1; 16],
        span_id: [2; 8],
        flags: 1,
    };

    fn is_recorded(sampling: &Sampling, below: &Context) -> bool {
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampling.clone())
            .build();
        let span = SpanBuilder::from_name("span").start_with_context(&provider.tracer("test"), below);
        span.is_recording()
    }

    #[test]
    fn a_client_is_followed_within_the_budget_and_past_it_by_the_ratio() {
        let none = Sampling::of("parentbased_always_off", None, 5);
        let followed = (0..1000).filter(|_| none.admit(CLIENT).is_sampled()).count();
        assert!(
            (10..20).contains(&followed),
            "two seconds' worth of five: {followed}"
        );
        assert_eq!(none.over_budget.load(Ordering::Relaxed), 1000 - followed as u64);
        let some = Sampling::of("parentbased_traceidratio", Some("0.25"), 0);
        let followed = (0..10_000).filter(|_| some.admit(CLIENT).is_sampled()).count();
        // Nine standard deviations; and the same trace id every time.
        assert!((2100..2900).contains(&followed), "{followed} of 10,000");
        let unsampled = TraceContext { flags: 0, ..CLIENT };
        assert!(
            !Sampling::of("", None, 5).admit(unsampled).is_sampled(),
            "who says no is not traced"
        );
        assert_eq!(some.admit(CLIENT).trace_id, CLIENT.trace_id);
    }

    #[test]
    fn a_span_is_recorded_as_was_decided_before_there_was_one() {
        for (sampler, root, below_sampled, below_unsampled) in [
            ("", true, true, false),
            ("always_on", true, true, true),
            ("always_off", false, false, false),
            ("parentbased_always_off", false, true, false),
        ] {
            let sampling = Sampling::of(sampler, None, 0);
            let unsampled = TraceContext { flags: 0, ..CLIENT };
            assert_eq!(is_recorded(&sampling, &Context::new()), root, "{sampler}");
            assert_eq!(
                is_recorded(&sampling, &CLIENT.parent()),
                below_sampled,
                "{sampler}"
            );
            assert_eq!(
                is_recorded(&sampling, &unsampled.parent()),
                below_unsampled,
                "{sampler}"
            );
            assert!(is_recorded(&sampling, &decided()), "{sampler}");
        }
    }

    #[test]
    fn of_the_traces_that_begin_here_there_are_as_many_as_the_ratio_says() {
        for sampler in ["traceidratio", "parentbased_traceidratio"] {
            let sampling = Sampling::of(sampler, Some("0.25"), 0);
            let drawn = (0..10_000).filter(|_| sampling.draw()).count();
            assert!((2100..2900).contains(&drawn), "{sampler}: {drawn} of 10,000");
        }
        assert!(
            Sampling::of("traceidratio", Some("half"), 0).draw(),
            "as the SDK takes it"
        );
    }
}
