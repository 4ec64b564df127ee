//! Settings that are lists: each item is checked, and brought into the one form that it is compared in. An item without
//! anything in it, as behind a trailing comma, is none.

use std::net::IpAddr;

use ipnet::IpNet;
use url::Url;

pub fn network(text: &str) -> Result<Option<IpNet>, String> {
    let parse = |text: &str| {
        text.parse::<IpAddr>()
            .map(IpNet::from)
            .or_else(|_| text.parse::<IpNet>())
            .map_err(|_| "expected an address or a network, as 10.0.0.1 or 10.0.0.0/8".to_owned())
    };
    item(text).map(parse).transpose()
}

/// As browsers write it: lower case, without the scheme's own port.
pub fn origin(text: &str) -> Result<Option<String>, String> {
    item(text).map(parse_origin).transpose()
}

fn parse_origin(text: &str) -> Result<String, String> {
    let expected = "expected an origin as browsers send it, https://chat.example or http://localhost:3000: \
                    a scheme, a host, perhaps a port, and nothing else; `*` is none";
    // Pages in files and sandboxes.
    if matches!(text, "null" | "file://") {
        return Ok(text.to_owned());
    }
    let Ok(url) = Url::parse(text) else {
        return Err(expected.to_owned());
    };
    let host = url
        .host_str()
        .filter(|host| !host.is_empty() && !host.contains('*'));
    let bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    match (host, bare) {
        (Some(host), true) => {
            let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
            Ok(format!("{}://{}{port}", url.scheme(), host.to_ascii_lowercase()))
        }
        _ => Err(expected.to_owned()),
    }
}

/// A name in lower case, or `*.` and the end of one, with a port or without.
pub fn host(text: &str) -> Result<Option<String>, String> {
    item(text).map(parse_host).transpose()
}

fn parse_host(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("*.").unwrap_or(text).to_ascii_lowercase();
    let as_url = Url::parse(&format!("http://{name}"));
    let is_host = as_url.is_ok_and(|url| {
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        url.host_str()
            .is_some_and(|host| format!("{host}{port}") == name.strip_suffix(":80").unwrap_or(&name))
    });
    match is_host && !name.contains('*') {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(
            "expected the name of a host, as chat.example, *.chat.example or chat.example:8443".to_owned(),
        ),
    }
}

fn item(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_as_browsers_send_them() {
        for (given, taken) in [
            ("https://chat.example", "https://chat.example"),
            (" HTTPS://Chat.Example:443/ ", "https://chat.example"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("http://[::1]:80", "http://[::1]"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("chrome-extension://AbC", "chrome-extension://abc"),
            ("null", "null"),
        ] {
            assert_eq!(origin(given), Ok(Some(taken.to_owned())));
        }
        for bad in [
            "*",
            "chat.example",
            "localhost:3000",
            "https://",
            "https://*.example",
            "https://chat.example/path",
            "https://chat.example?x",
            "https://u@chat.example",
            "//chat.example",
            "https:",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
        assert_eq!(
            (origin(" "), network(""), host("")),
            (Ok(None), Ok(None), Ok(None))
        );
    }

    #[test]
    fn hosts_are_names() {
        for (given, taken) in [
            ("Chat.Example", "chat.example"),
            ("chat.example:8443", "chat.example:8443"),
            ("*.chat.example", "*.chat.example"),
            ("chat.example:80", "chat.example:80"),
            ("chat-chat-gateway.default.svc", "chat-chat-gateway.default.svc"),
        ] {
            assert_eq!(host(given), Ok(Some(taken.to_owned())));
        }
        for bad in [
            "https://chat.example",
            "chat.example/x",
            "*",
            "a*b.example",
            "chat example",
            "u@chat.example",
        ] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
