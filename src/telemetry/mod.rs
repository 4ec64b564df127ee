//! What operators see: log lines on standard error, traces by OTLP, metrics by OTLP and for Prometheus.
//!
//! Everything about OTLP is set by the standard `OTEL_*` variables. Without an endpoint nothing is exported and a
//! message costs a branch. An endpoint that is away costs its batches: the queues are bounded and full ones drop.

mod trace;

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::{Registry, TextEncoder};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::LogFormat;
pub use trace::{Delivery, PublishSpan, RelaySpan, Stage, TraceContext, Traces};

/// `service.name` where `OTEL_SERVICE_NAME` does not give one, and the instrumentation scope.
const NAME: &str = "chat-gateway";
/// How long the last spans and metrics may take to go out when the process ends.
const FLUSH: Duration = Duration::from_secs(3);

/// Why telemetry did not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("RUST_LOG is not a filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("OTLP cannot be set up: {0}")]
    Otlp(#[from] ExporterBuildError),
    #[error("metrics cannot be set up: {0}")]
    Prometheus(#[from] opentelemetry_sdk::error::OTelSdkError),
    #[error("logging cannot be set up: {0}")]
    Log(#[from] TryInitError),
}

/// Exporters and instruments of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: SdkMeterProvider,
    registry: Registry,
}

impl Telemetry {
    /// Starts logging and, where the environment names an endpoint, exporting. Inside a runtime, which gRPC needs.
    pub fn start(format: LogFormat, filter: &str) -> Result<Self, TelemetryError> {
        let telemetry = Self::exporters()?;
        let spans = telemetry.traces.as_ref().map(|provider| {
            let ours = EnvFilter::new("chat_gateway=info");
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer(NAME))
                .with_filter(ours)
        });
        // A span of ours would stand on every line of its request: they are for traces, the lines have the trace id.
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        let lines = match format {
            LogFormat::Pretty => lines.boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        tracing_subscriber::registry()
            .with(lines.with_filter(EnvFilter::try_new(filter)?))
            .with(spans)
            .try_init()?;
        Ok(telemetry)
    }

    fn exporters() -> Result<Self, TelemetryError> {
        let resource = || {
            let name = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| NAME.to_owned());
            Resource::builder().with_service_name(name).build()
        };
        let traces = match exports("TRACES") {
            false => None,
            true => {
                let exporter = opentelemetry_otlp::SpanExporter::builder().build()?;
                Some(
                    SdkTracerProvider::builder()
                        .with_batch_exporter(exporter)
                        .with_resource(resource())
                        .build(),
                )
            }
        };
        let registry = Registry::new();
        let prometheus = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .build()?;
        let mut metrics = SdkMeterProvider::builder()
            .with_reader(prometheus)
            .with_resource(resource());
        if exports("METRICS") {
            metrics = metrics.with_periodic_exporter(opentelemetry_otlp::MetricExporter::builder().build()?);
        }
        Ok(Self {
            traces,
            metrics: metrics.build(),
            registry,
        })
    }

    pub fn meter(&self) -> opentelemetry::metrics::Meter {
        opentelemetry::metrics::MeterProvider::meter(&self.metrics, NAME)
    }

    pub fn traces(&self) -> Traces {
        Traces::new(self.traces.as_ref().map(|provider| provider.tracer(NAME)))
    }

    /// All metrics, in the text format of Prometheus.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut families = self.registry.gather();
        for metric in families.iter_mut().flat_map(|family| family.mut_metric()) {
            // There is one scope: its name on every line would say nothing.
            let labels = metric
                .take_label()
                .into_iter()
                .filter(|label| label.name() != "otel_scope_name");
            metric.set_label(labels.collect());
        }
        TextEncoder::new().encode_to_string(&families)
    }

    /// Sends what is left, within a time. Blocks.
    pub fn flush(&self) {
        if let Some(traces) = &self.traces
            && let Err(e) = traces.shutdown_with_timeout(FLUSH)
        {
            tracing::warn!(error = %e, "the last spans were not sent");
        }
        if let Err(e) = self.metrics.shutdown_with_timeout(FLUSH) {
            tracing::warn!(error = %e, "the last metrics were not sent");
        }
    }
}

/// Whether the environment wants a signal exported: an endpoint is named, and neither the signal nor the SDK is off.
fn exports(signal: &str) -> bool {
    let get = |name: String| std::env::var(name).ok().filter(|value| !value.is_empty());
    let off = get("OTEL_SDK_DISABLED".into()).is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || get(format!("OTEL_{signal}_EXPORTER")).is_some_and(|value| value == "none");
    let named = get("OTEL_EXPORTER_OTLP_ENDPOINT".into())
        .or_else(|| get(format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")))
        .or_else(|| get(format!("OTEL_{signal}_EXPORTER")));
    !off && named.is_some()
}
