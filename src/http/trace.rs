//! A request as operators see it: its span, in the client's trace where it gave one, and how long it took.

use std::net::IpAddr;
use std::time::Instant;

use http::{Method, StatusCode};
use opentelemetry::trace::{Status, TraceContextExt};
use poem::{PathPattern, Request};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::declared::Declared;
use crate::metrics::{Metrics, TraceId};
use crate::protocol::TraceContext;
use crate::replica::Replica;

/// A method that nobody knows, so that a stranger cannot make as many series as there are words.
const OTHER: &str = "_OTHER";
/// What a request failed with whose client went away before there was an answer.
const CANCELLED: &str = "cancelled";

/// A request that has not been answered yet. One that is dropped so was given up by its client, and counts too: those are
/// the slow ones.
pub(super) struct Asked {
    pub span: Span,
    method: &'static str,
    begun: Instant,
    /// Where it is recorded.
    trace: Option<TraceId>,
    metrics: Metrics,
    answered: bool,
}

/// What became of a request.
pub(super) struct Answered {
    pub status: StatusCode,
    /// As it is declared; `None` where nothing was found, so that a path is never a label.
    pub route: Option<String>,
    /// Its error's name, where the server is to blame.
    pub error: Option<&'static str>,
}

impl Asked {
    pub fn begin(request: &Request, client: IpAddr, replica: &Replica) -> Self {
        let method = known(request.method());
        let span = tracing::info_span!(
            "request",
            otel.name = named(method),
            otel.kind = "server",
            error.type = tracing::field::Empty,
            url.scheme = "http",
            http.request.method = method,
            http.request.method_original = tracing::field::Empty,
            http.route = tracing::field::Empty,
            http.response.status_code = tracing::field::Empty,
            url.path = request.original_uri().path(),
            client.address = %client,
            trace_id = tracing::field::Empty,
        );
        if method == OTHER {
            span.record("http.request.method_original", request.method().as_str());
        }
        if let Some(parent) = replica.traces().admit(traceparent(request))
            && let Err(e) = span.set_parent(parent.parent())
        {
            tracing::debug!(error = %e, "a request's trace was not continued");
        }
        let trace = span.in_scope(TraceContext::current);
        if let Some(trace) = trace {
            span.record("trace_id", trace.trace_id());
        }
        Self {
            span,
            method,
            begun: Instant::now(),
            trace: trace.filter(TraceContext::is_sampled).map(|trace| trace.trace_id),
            metrics: replica.metrics().clone(),
            answered: false,
        }
    }

    /// What is known of a request when it has been answered.
    pub fn end(mut self, answered: &Answered) {
        self.answered = true;
        let Answered { status, route, error } = answered;
        let error = error.filter(|_| status.is_server_error());
        if let Some(route) = route {
            self.span.record("http.route", route);
            let name = format!("{} {route}", named(self.method));
            self.span.context().span().update_name(name);
        }
        self.span.record("http.response.status_code", status.as_u16());
        if let Some(error) = error {
            self.span.set_status(Status::error(""));
            self.span.record("error.type", error);
        }
        let took = (self.begun.elapsed(), self.trace);
        self.metrics
            .request_done(took, self.method, route.as_deref(), Some(status.as_u16()), error);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.answered {
            self.span.record("error.type", CANCELLED);
            let took = (self.begun.elapsed(), self.trace);
            self.metrics
                .request_done(took, self.method, None, None, Some(CANCELLED));
        }
    }
}

/// The route as it is declared: what poem leaves beside an answer, or an error; nothing where nothing was found.
pub(super) fn route(pattern: Option<&PathPattern>) -> Option<String> {
    let pattern = pattern.map(|route| &*route.0).filter(|route| !route.is_empty())?;
    let declared = Declared::of(pattern).map(|route| route.pattern.as_str());
    Some(declared.unwrap_or(pattern).to_owned())
}

/// The trace that a request goes on with; what is malformed is ignored.
pub(super) fn traceparent(request: &Request) -> Option<TraceContext> {
    request.header("traceparent").and_then(TraceContext::parse)
}

/// As the semantic conventions have it: RFC 9110's methods and PATCH.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT",
    ];
    let known = KNOWN.into_iter().find(|known| *known == method.as_str());
    known.unwrap_or(OTHER)
}

/// A span's name may not hold what a stranger makes up either.
fn named(method: &'static str) -> &'static str {
    if method == OTHER { "HTTP" } else { method }
}
