//! Which pages may connect, and by which host: what a browser says of the page behind a request, against what the
//! request was for.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use poem::Request;

use super::error::ApiError;
use super::{Api, Connection, forwarded};
use crate::protocol::ErrorType;

/// How long a browser may remember what a page of another origin may do, in seconds: what Chromium takes at most.
const MAX_AGE: &str = "7200";

impl Api {
    /// Whether pages of this other origin may use the api.
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        self.allowed_origins
            .iter()
            .any(|allowed| allowed.as_bytes() == origin.as_bytes())
    }

    /// A page of another site must not act for its reader: the origin is the host's own or an allowed one.
    pub fn check_origin(&self, request: &Request) -> Result<(), ApiError> {
        let Some(origin) = request.headers().get(header::ORIGIN) else {
            return Ok(());
        };
        let mut hosts = self.forwarded_hosts(request);
        hosts.extend(host(request));
        let said = String::from_utf8_lossy(origin.as_bytes());
        if self.allows(origin) || hosts.iter().any(|host| is_own_origin(&said, host)) {
            return Ok(());
        }
        let message = format!(
            "pages of {said} may not connect to {}: list the origin in ALLOWED_ORIGINS, or let the proxy say by \
             X-Forwarded-Host which host it was asked for",
            hosts.join(", ")
        );
        Err(ApiError::new(ErrorType::BadOrigin, message))
    }

    /// A request says once which host it is for (RFC 9112 §3.2), and that is one of ours. A page whose name was made
    /// to point at this address has the same origin as the host it asks, and so passes every other check.
    pub fn check_host(&self, request: &Request) -> Result<(), ApiError> {
        let given = request.headers().get_all(header::HOST).iter().count();
        if given > 1 || (given == 0 && request.version() == Version::HTTP_11) {
            return Err(ApiError::new(
                ErrorType::BadBinding,
                "a request of HTTP/1.1 has one Host header",
            ));
        }
        if self.allowed_hosts.is_empty() {
            return Ok(());
        }
        let mut hosts = self.forwarded_hosts(request);
        if hosts.is_empty() {
            hosts.extend(host(request));
        }
        let fine = |host: &String| {
            is_unnamed(host) || self.allowed_hosts.iter().any(|allowed| is_host(host, allowed))
        };
        match hosts.iter().all(fine) {
            true => Ok(()),
            false => Err(ApiError::new(
                ErrorType::BadHost,
                format!(
                    "this server is not {}: ALLOWED_HOSTS lists its names",
                    hosts.join(", ")
                ),
            )),
        }
    }

    fn forwarded_hosts(&self, request: &Request) -> Vec<String> {
        let peer = request
            .data::<Connection>()
            .map_or(IpAddr::from([0, 0, 0, 0]), |connection| connection.peer.ip());
        forwarded::hosts(peer, request.headers(), &self.trusted_proxies)
    }
}

/// What the request itself says it is for.
fn host(request: &Request) -> Option<String> {
    let authority = request
        .original_uri()
        .authority()
        .map(|authority| authority.as_str());
    let header = || request.headers().get(header::HOST)?.to_str().ok();
    authority.or_else(header).map(str::to_owned)
}

/// The origin's authority is the host that was asked, whatever the scheme: TLS may end at a proxy.
fn is_own_origin(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default = if scheme.eq_ignore_ascii_case("https") {
        ":443"
    } else {
        ":80"
    };
    let plain = |name: &str| name.strip_suffix(default).unwrap_or(name).to_ascii_lowercase();
    !authority.is_empty() && plain(authority) == plain(host)
}

/// The name of a host, without port, and its port.
fn name_and_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => (name, port),
        _ => (host, ""),
    }
}

/// An address, or the machine's own name: no stranger's name can be made to be one of these.
fn is_unnamed(host: &str) -> bool {
    let (name, _) = name_and_port(host);
    let address = name.trim_start_matches('[').trim_end_matches(']');
    address.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

/// `allowed` is a name in lower case, with a port or for any, or `*.` and the end of one.
fn is_host(host: &str, allowed: &str) -> bool {
    let (name, port) = name_and_port(host);
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let (allowed, allowed_port) = name_and_port(allowed);
    let port_fits = allowed_port.is_empty() || port == allowed_port;
    port_fits
        && match allowed.strip_prefix('*') {
            Some(end) => name.len() > end.len() && name.ends_with(end),
            None => name == allowed,
        }
}

/// What a page of another origin needs, for which origin the answer is.
pub fn add_cors(headers: &mut HeaderMap, origin: HeaderValue) {
    let fixed = |headers: &mut HeaderMap, name: HeaderName, value| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    fixed(headers, header::VARY, "Origin");
    fixed(headers, header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST");
    fixed(
        headers,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "authorization, content-type, traceparent, tracestate",
    );
    // A script reads no other header than the plainest, and this one says when to come back.
    fixed(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, "Retry-After");
    fixed(headers, header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_by_authority() {
        assert!(is_own_origin("https://chat.example", "chat.example"));
        assert!(is_own_origin("https://Chat.example:443", "chat.example"));
        assert!(is_own_origin("http://localhost:8080", "localhost:8080"));
        assert!(!is_own_origin("https://evil.example", "chat.example"));
        assert!(!is_own_origin("null", "null"));
        assert!(!is_own_origin("http://localhost:8081", "localhost:8080"));
    }

    #[test]
    fn hosts_are_names_with_or_without_a_port() {
        for (host, allowed) in [
            ("Chat.example", "chat.example"),
            ("chat.example.:8443", "chat.example"),
            ("chat.example:8443", "chat.example:8443"),
            ("a.chat.example", "*.chat.example"),
        ] {
            assert!(is_host(host, allowed), "{host} {allowed}");
        }
        for (host, allowed) in [
            ("evil.example", "chat.example"),
            ("chat.example", "chat.example:8443"),
            ("chat.example.evil", "chat.example"),
            (".chat.example", "*.chat.example"),
            ("chat.example", "*.chat.example"),
        ] {
            assert!(!is_host(host, allowed), "{host} {allowed}");
        }
        for host in ["127.0.0.1", "127.0.0.1:8080", "[::1]:8080", "localhost:1"] {
            assert!(is_unnamed(host), "{host}");
        }
        assert!(!is_unnamed("127.0.0.1.evil.example"));
    }
}
