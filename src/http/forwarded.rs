//! What proxies say of a request: whose it is, and which host it was for. `X-Forwarded-For` and `-Host`, or `Forwarded`
//! (RFC 7239); where both are there the former count, since a proxy that writes the one may pass the other on.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::HeaderMap;
use ipnet::IpNet;

/// The client's address: walks back from the peer as long as proxies are trusted.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut address = peer;
    if !is_trusted(address, trusted) {
        return address.to_canonical();
    }
    let hops: Vec<Option<IpAddr>> = match list(headers, "x-forwarded-for") {
        hops if hops.is_empty() => parameters(headers, "for").map(|hop| node(&hop)).collect(),
        hops => hops.into_iter().map(node).collect(),
    };
    for hop in hops.into_iter().rev() {
        match hop {
            Some(hop) if is_trusted(address, trusted) => address = hop,
            // Beyond an `unknown` or a name that hides an address nothing can be known.
            _ => break,
        }
    }
    address.to_canonical()
}

/// The hosts that trusted proxies say a request was for, as clients wrote them; none: they say nothing.
pub fn hosts(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Vec<String> {
    if !is_trusted(peer, trusted) {
        return Vec::new();
    }
    match list(headers, "x-forwarded-host") {
        hosts if hosts.is_empty() => parameters(headers, "host").collect(),
        hosts => hosts.into_iter().map(str::to_owned).collect(),
    }
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted
        .iter()
        .any(|network| network.contains(&address.to_canonical()))
}

/// All of a header's items; a list may have empty ones (RFC 9110 §5.6.1).
fn list<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    values(headers, name)
        .flat_map(|value| outside_quotes(value, ','))
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect()
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
}

/// The values of this parameter of `Forwarded`, a proxy each.
fn parameters(headers: &HeaderMap, name: &str) -> impl Iterator<Item = String> {
    list(headers, "forwarded").into_iter().filter_map(move |element| {
        outside_quotes(element, ';')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| unquoted(value.trim()).into_owned())
    })
}

fn outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        match c {
            _ if std::mem::take(&mut escaped) => {}
            '"' => quoted = !quoted,
            '\\' => escaped = quoted,
            _ => {}
        }
        c == separator && !quoted
    })
}

fn unquoted(value: &str) -> Cow<'_, str> {
    match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\\\\", "\\").replace("\\\"", "\"").into(),
        None => value.into(),
    }
}

/// An address, with or without a port; IPv6 with a port stands in brackets.
fn node(text: &str) -> Option<IpAddr> {
    let text = unquoted(text);
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address = address.parse::<Ipv6Addr>().ok()?;
        return (port.is_empty() || port.starts_with(':')).then_some(address.into());
    }
    let with_port = || {
        let (address, _port) = text.split_once(':')?;
        address.parse::<Ipv4Addr>().ok().map(IpAddr::from)
    };
    text.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(given: &[(&'static str, &'static str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        given.iter().map(header).collect()
    }

    fn address(peer: &str, given: &[(&'static str, &'static str)]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "2001:db8:1::/48".parse().unwrap()];
        client_address(peer.parse().unwrap(), &headers(given), &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let of = |peer: &str, value| address(peer, &[("x-forwarded-for", value)]);
        assert_eq!(of("1.2.3.4", "6.6.6.6"), "1.2.3.4");
        assert_eq!(of("10.0.0.1", "6.6.6.6, 1.2.3.4"), "1.2.3.4");
        assert_eq!(of("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2"), "1.2.3.4");
        assert_eq!(of("10.0.0.1", ""), "10.0.0.1");
        assert_eq!(of("10.0.0.1", "nonsense"), "10.0.0.1");
        assert_eq!(of("::ffff:10.0.0.1", "1.2.3.4"), "1.2.3.4");
        assert_eq!(
            address("1.2.3.4", &[("forwarded", "for=6.6.6.6;host=chat.example")]),
            "1.2.3.4"
        );
    }

    #[test]
    fn a_port_belongs_to_no_address() {
        let of = |value| address("10.0.0.1", &[("x-forwarded-for", value)]);
        for (value, client) in [
            ("198.51.100.7:51234", "198.51.100.7"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("\"[2001:db8::1]:443\"", "2001:db8::1"),
            ("198.51.100.7:1, 10.0.0.9:2", "198.51.100.7"),
            ("198.51.100.7, ,", "198.51.100.7"),
            (",198.51.100.7", "198.51.100.7"),
            ("198.51.100.7, [2001:db8:1::5]:9", "198.51.100.7"),
            ("unknown", "10.0.0.1"),
            ("198.51.100.7, unknown, 10.0.0.2", "10.0.0.2"),
            ("[2001:db8::1", "10.0.0.1"),
            ("198.51.100.7.8:1", "10.0.0.1"),
        ] {
            assert_eq!(of(value), client, "{value}");
        }
    }

    #[test]
    fn forwarded_is_read() {
        let of = |value| address("10.0.0.1", &[("forwarded", value)]);
        for (value, client) in [
            ("for=198.51.100.7", "198.51.100.7"),
            ("For=\"[2001:db8::1]:47011\";proto=https", "2001:db8::1"),
            (
                "for=6.6.6.6, for=\"198.51.100.7:80\";by=10.0.0.1, for=10.0.0.3",
                "198.51.100.7",
            ),
            ("proto=https; host=\"a,b\\\"c\"; for=198.51.100.7", "198.51.100.7"),
            ("for=_hidden", "10.0.0.1"),
            ("for=198.51.100.7, for=_hidden", "10.0.0.1"),
            ("for=", "10.0.0.1"),
            ("nonsense", "10.0.0.1"),
        ] {
            assert_eq!(of(value), client, "{value}");
        }
        let both = [("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "198.51.100.7")];
        assert_eq!(address("10.0.0.1", &both), "198.51.100.7");
    }

    #[test]
    fn the_host_is_what_a_trusted_proxy_says() {
        let of = |peer: &str, given: &[(&'static str, &'static str)]| {
            let trusted = ["10.0.0.0/8".parse().unwrap()];
            hosts(peer.parse().unwrap(), &headers(given), &trusted).join(" ")
        };
        let host = [("x-forwarded-host", "chat.example:8443, inner")];
        assert_eq!(of("10.0.0.1", &host), "chat.example:8443 inner");
        assert_eq!(of("1.2.3.4", &host), "");
        let forwarded = [("forwarded", "for=1.1.1.1;host=\"chat.example:8443\"")];
        assert_eq!(of("10.0.0.1", &forwarded), "chat.example:8443");
    }
}
