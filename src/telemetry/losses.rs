//! What did not reach the collector: counted, told at most once a minute, and never kept beyond a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use opentelemetry::metrics::Meter;
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};
use parking_lot::Mutex;

use super::export::{Signal, variable};

/// Between two lines about an endpoint that goes on failing.
const SELDOM: Duration = Duration::from_secs(60);
/// Spans that may wait where `OTEL_BSP_MAX_QUEUE_SIZE` does not say, as the SDK has it.
const QUEUE: usize = 2048;

/// The counts. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    traces: Failures,
    metrics: Failures,
    dropped_spans: AtomicU64,
    /// Spans that have ended and are not yet with the exporter.
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct Failures {
    count: AtomicU64,
    line: Mutex<LossLine>,
}

/// When the log was told, and what has happened since it was told that all is well.
#[derive(Debug, Default)]
struct LossLine {
    told: Option<Instant>,
    failing: u64,
    is_known: bool,
}

impl Losses {
    fn of(&self, signal: Signal) -> &Failures {
        match signal {
            Signal::Traces => &self.0.traces,
            Signal::Metrics => &self.0.metrics,
        }
    }

    fn note(&self, signal: Signal, result: &OTelSdkResult) {
        let failures = self.of(signal);
        let mut line = failures.line.lock();
        let signal = signal.name();
        match result {
            Ok(()) => {
                if std::mem::take(&mut line.is_known) {
                    tracing::info!(signal, failures = line.failing, "OTLP exports succeed again");
                }
                line.failing = 0;
            }
            Err(e) => {
                failures.count.fetch_add(1, Ordering::Relaxed);
                line.failing += 1;
                if line.told.is_none_or(|told| told.elapsed() >= SELDOM) {
                    tracing::warn!(signal, failures = line.failing, error = %e, "OTLP exports fail, what was in them is lost");
                    line.told = Some(Instant::now());
                    line.is_known = true;
                }
            }
        }
    }

    /// Shows the counts as metrics.
    pub(super) fn observe(&self, meter: &Meter) {
        let losses = self.clone();
        meter
            .u64_observable_counter("chat.telemetry.failures")
            .with_description("OTLP exports that failed.")
            .with_callback(move |observer| {
                for signal in [Signal::Traces, Signal::Metrics] {
                    let count = losses.of(signal).count.load(Ordering::Relaxed);
                    observer.observe(count, &[KeyValue::new("signal", signal.name())]);
                }
            })
            .build();
        let losses = self.clone();
        meter
            .u64_observable_counter("chat.telemetry.dropped_spans")
            .with_description("Spans that did not reach the collector.")
            .with_callback(move |observer| {
                observer.observe(losses.0.dropped_spans.load(Ordering::Relaxed), &[]);
            })
            .build();
    }
}

/// An exporter whose failures are noted; the SDK, which would write a line for each, hears of none.
#[derive(Debug)]
pub(super) struct Noted<E>(pub E, pub Losses);

impl<E: SpanExporter> SpanExporter for Noted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let Self(exporter, losses) = self;
        let spans = batch.len();
        losses.0.waiting.fetch_sub(spans, Ordering::Relaxed);
        let result = exporter.export(batch).await;
        losses.note(Signal::Traces, &result);
        if result.is_err() {
            losses.0.dropped_spans.fetch_add(spans as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Noted<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.0.export(metrics).await;
        self.1.note(Signal::Metrics, &result);
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.0.temporality()
    }
}

/// The SDK's queue of spans, which drops when it is full without saying how many: bounded here, and counted.
#[derive(Debug)]
pub(super) struct Queue {
    inner: BatchSpanProcessor,
    most: usize,
    losses: Losses,
}

impl Queue {
    pub(super) fn new(exporter: impl SpanExporter + 'static, losses: Losses) -> Self {
        let most = variable("OTEL_BSP_MAX_QUEUE_SIZE").and_then(|most| most.parse().ok());
        Self {
            // Its own bound is the same, so that what passes ours fits.
            inner: BatchSpanProcessor::builder(Noted(exporter, losses.clone())).build(),
            most: most.unwrap_or(QUEUE),
            losses,
        }
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        let Counts {
            waiting,
            dropped_spans,
            ..
        } = &*self.losses.0;
        if waiting.fetch_add(1, Ordering::Relaxed) < self.most {
            return self.inner.on_end(span);
        }
        waiting.fetch_sub(1, Ordering::Relaxed);
        dropped_spans.fetch_add(1, Ordering::Relaxed);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Tracer, TracerProvider};
    use opentelemetry_sdk::error::OTelSdkError;
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    /// Takes nothing while the gate is held, and then every second batch.
    #[derive(Debug, Clone, Default)]
    struct Stuck {
        gate: Arc<Mutex<()>>,
        batches: Arc<AtomicUsize>,
        taken: Arc<AtomicUsize>,
    }

    impl SpanExporter for Stuck {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            drop(self.gate.lock());
            match self.batches.fetch_add(1, Ordering::Relaxed) % 2 {
                0 => Err(OTelSdkError::InternalFailure("not now".into())),
                _ => {
                    self.taken.fetch_add(batch.len(), Ordering::Relaxed);
                    Ok(())
                }
            }
        }
    }

    #[test]
    fn a_span_is_taken_or_counted_as_dropped_and_few_wait() {
        const SPANS: usize = 10_000;
        let (exporter, losses) = (Stuck::default(), Losses::default());
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Queue::new(exporter.clone(), losses.clone()))
            .build();
        let gate = exporter.gate.lock();
        for _ in 0..SPANS {
            drop(provider.tracer("test").start("span"));
        }
        let waiting = losses.0.waiting.load(Ordering::Relaxed);
        assert!(waiting <= QUEUE, "{waiting} spans wait");
        let dropped = || losses.0.dropped_spans.load(Ordering::Relaxed) as usize;
        assert!(dropped() >= SPANS - 2 * QUEUE, "only {} were dropped", dropped());
        drop(gate);
        assert!(provider.shutdown().is_ok());
        let taken = exporter.taken.load(Ordering::Relaxed);
        assert!(taken > 0);
        assert_eq!(taken + dropped(), SPANS);
        assert_eq!(losses.0.waiting.load(Ordering::Relaxed), 0);
        assert!(losses.0.traces.count.load(Ordering::Relaxed) > 0);
    }

    #[test]
    fn an_endpoint_that_goes_on_failing_is_told_once_and_so_is_its_return() {
        let (losses, bad) = (Losses::default(), Err(OTelSdkError::AlreadyShutdown));
        let line = || {
            let line = losses.0.traces.line.lock();
            (line.told, line.is_known)
        };
        losses.note(Signal::Traces, &bad);
        let told = line();
        assert!(told.0.is_some() && told.1);
        losses.note(Signal::Traces, &bad);
        assert_eq!(line(), told, "within the minute");
        losses.note(Signal::Traces, &Ok(()));
        losses.note(Signal::Traces, &bad);
        // It flaps: neither its next failure nor its next return is news.
        assert_eq!(line(), (told.0, false));
        assert_eq!(losses.0.traces.count.load(Ordering::Relaxed), 3);
        assert_eq!(losses.0.metrics.count.load(Ordering::Relaxed), 0);
    }
}
