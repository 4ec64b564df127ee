//! Deciding about a publish before there is a span: most are not sampled, and to build one costs far more than to decide.

use std::cell::Cell;

use opentelemetry::trace::{SpanId, SpanKind, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, Sampler, SamplingDecision, ShouldSample};

use super::context::TraceContext;
use super::export::variable;

thread_local! {
    /// What the next root span of this thread is to have, since it was decided about.
    static DECIDED: Cell<Option<TraceId>> = const { Cell::new(None) };
}

/// Where the SDK gets its ids from: the one that was decided about, else one at random.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        DECIDED.take().unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}

/// The SDK's sampler by ratio. It decides by the trace id alone, so that the span which is built decides the same.
#[derive(Debug)]
pub(super) struct Early {
    root: Sampler,
    parent_based: bool,
}

impl Early {
    /// As the standard variables say; `None` where they name another sampler, which is asked by the span itself.
    pub(super) fn from_environment() -> Option<Self> {
        Self::of(
            &variable("OTEL_TRACES_SAMPLER")?,
            &variable("OTEL_TRACES_SAMPLER_ARG")?,
        )
    }

    fn of(sampler: &str, ratio: &str) -> Option<Self> {
        let parent_based = match sampler {
            "traceidratio" => false,
            "parentbased_traceidratio" => true,
            _ => return None,
        };
        Some(Self {
            root: Sampler::TraceIdRatioBased(ratio.parse().ok()?),
            parent_based,
        })
    }

    /// True: no span of this publish would be recorded. Where it says false, the span is begun next.
    pub(super) fn refuses(&self, parent: Option<&TraceContext>) -> bool {
        let Some(parent) = parent else {
            let id = RandomIdGenerator::default().new_trace_id();
            let asked = self
                .root
                .should_sample(None, id, "", &SpanKind::Producer, &[], &[]);
            let sampled = asked.decision == SamplingDecision::RecordAndSample;
            DECIDED.set(sampled.then_some(id));
            return !sampled;
        };
        self.parent_based && !parent.is_sampled()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::Context;
    use opentelemetry::trace::{Span, SpanBuilder, TracerProvider};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    const PARENT: TraceContext = TraceContext {
        trace_id: [1; 16],
        span_id: [2; 8],
        flags: 0,
    };

    #[test]
    fn what_it_lets_through_is_sampled_and_it_lets_through_as_many_as_the_ratio_says() {
        let early = Early::of("parentbased_traceidratio", "0.25").unwrap();
        let provider = SdkTracerProvider::builder()
            .with_id_generator(Ids::default())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(0.25))))
            .build();
        let tracer = provider.tracer("test");
        let begin = || SpanBuilder::from_name("span").start_with_context(&tracer, &Context::new());
        let mut sampled = 0;
        for _ in 0..10_000 {
            if !early.refuses(None) {
                assert!(begin().is_recording(), "decided twice, and not alike");
                sampled += 1;
            }
        }
        // Nine standard deviations.
        assert!((2100..2900).contains(&sampled), "{sampled} of 10,000");
        let others = (0..10_000).filter(|_| begin().is_recording()).count();
        assert!(
            (2100..2900).contains(&others),
            "{others} that were not decided about"
        );
    }

    #[test]
    fn a_parent_decides_where_the_sampler_goes_by_it() {
        let sampled = TraceContext { flags: 1, ..PARENT };
        let by_parent = Early::of("parentbased_traceidratio", "1").unwrap();
        assert!(by_parent.refuses(Some(&PARENT)) && !by_parent.refuses(Some(&sampled)));
        let by_id = Early::of("traceidratio", "0").unwrap();
        assert!(!by_id.refuses(Some(&PARENT)), "the span itself is asked");
        assert!(by_id.refuses(None));
        assert!(Early::of("parentbased_always_on", "0.5").is_none());
        assert!(Early::of("traceidratio", "half").is_none());
    }
}
