//! The page that ships inside the binary: plain HTML, CSS and JavaScript, no build step.

use poem::{Endpoint, EndpointExt, Response, Route, endpoint::make_sync, get};
use poem_openapi::{OpenApi, OpenApiService, Webhook};

/// Nothing from elsewhere, nothing inline.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; \
     img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The docs page carries its script and style inside.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
     img-src data:; base-uri 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, content type, content.
const FILES: [(&str, &str, &str); 11] = [
    ("/", HTML, include_str!("index.html")),
    ("/app.css", CSS, include_str!("app.css")),
    ("/app.js", SCRIPT, include_str!("app.js")),
    ("/account.js", SCRIPT, include_str!("account.js")),
    ("/api.js", SCRIPT, include_str!("api.js")),
    ("/composer.js", SCRIPT, include_str!("composer.js")),
    ("/log.js", SCRIPT, include_str!("log.js")),
    ("/names.js", SCRIPT, include_str!("names.js")),
    ("/outbox.js", SCRIPT, include_str!("outbox.js")),
    ("/rooms.js", SCRIPT, include_str!("rooms.js")),
    ("/session.js", SCRIPT, include_str!("session.js")),
];

/// The chat page, at `/`.
pub fn page() -> impl Endpoint<Output = Response> {
    FILES
        .into_iter()
        .fold(Route::new(), |route, (path, kind, text)| {
            route.at(path, file(kind, text))
        })
        .map_to_response()
}

/// The documentation page, made from the code.
pub fn docs<T: OpenApi + 'static, W: Webhook + 'static>(
    service: &OpenApiService<T, W>,
) -> impl Endpoint<Output = Response> + 'static {
    let html = service.swagger_ui_html();
    get(make_sync(move |_| content(HTML, DOCS_POLICY, html.clone()))).map_to_response()
}

fn file(kind: &'static str, text: &'static str) -> impl Endpoint<Output = Response> {
    get(make_sync(move |_| content(kind, PAGE_POLICY, text.to_owned()))).map_to_response()
}

fn content(kind: &str, policy: &str, body: String) -> Response {
    Response::builder()
        .content_type(kind)
        .header("content-security-policy", policy)
        .header("referrer-policy", "no-referrer")
        .header("cache-control", "no-cache")
        .body(body)
}
