//! What operators ask, on a port of its own: is the process alive, should it get clients, what does it count.

use std::sync::Arc;

use http::StatusCode;
use poem::web::Data;
use poem::{Endpoint, EndpointExt, Response, Route, get, handler};

use crate::session::Context;
use crate::telemetry::Telemetry;

/// `/healthz`, `/readyz`, `/metrics`.
pub fn routes(context: Arc<Context>, telemetry: Telemetry) -> impl Endpoint<Output = Response> {
    Route::new()
        .at("/healthz", get(alive))
        .at("/readyz", get(ready))
        .at("/metrics", get(metrics))
        .data(context)
        .data(telemetry)
        .map_to_response()
}

#[handler]
fn alive() -> &'static str {
    "ok\n"
}

/// An outage of Postgres or Redis is every replica's: it must not take them all out of the balancer.
#[handler]
fn ready(Data(context): Data<&Arc<Context>>) -> Response {
    let (status, text) = match context.drain.begun() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        false => (StatusCode::OK, "ready\n"),
    };
    Response::builder().status(status).body(text)
}

#[handler]
fn metrics(Data(telemetry): Data<&Telemetry>) -> Response {
    match telemetry.render() {
        Ok(text) => Response::builder()
            .content_type("text/plain; version=0.0.4")
            .body(text),
        Err(e) => {
            tracing::error!(error = %e, "the metrics cannot be shown");
            StatusCode::INTERNAL_SERVER_ERROR.into()
        }
    }
}
