//! The server's side of the opening handshake (RFC 6455 §4.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, Version, header};
use sha1::{Digest, Sha1};

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request opens no WebSocket, in a sentence for the developer who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoHandshake {
    #[error("this route is a WebSocket: HTTP/1.1 with `Connection: Upgrade` and `Upgrade: websocket`")]
    NoUpgrade,
    #[error("the version of the WebSocket protocol is 13")]
    Version,
    #[error("a handshake has one Sec-WebSocket-Key")]
    Keys,
    #[error("Sec-WebSocket-Key is 16 bytes in base64")]
    Key,
}

/// What a request's `Sec-WebSocket-Key` is answered with, if the request is a handshake.
pub fn accept(version: Version, headers: &HeaderMap) -> Result<String, NoHandshake> {
    if version != Version::HTTP_11
        || !lists(headers, header::CONNECTION, "upgrade")
        || !lists(headers, header::UPGRADE, "websocket")
    {
        return Err(NoHandshake::NoUpgrade);
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        return Err(NoHandshake::Version);
    }
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(NoHandshake::Keys);
    };
    if STANDARD.decode(key).map_or(0, |nonce| nonce.len()) != 16 {
        return Err(NoHandshake::Key);
    }
    Ok(STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize()))
}

/// Whether one of these headers has the word in its list, in whatever case.
fn lists(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_answer_is_that_of_the_rfc() {
        let answer = |key: &'static str| {
            let headers = [
                (header::CONNECTION, "keep-alive, Upgrade"),
                (header::UPGRADE, "WebSocket"),
                (header::SEC_WEBSOCKET_VERSION, "13"),
                (header::SEC_WEBSOCKET_KEY, key),
            ];
            let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
            accept(Version::HTTP_11, &HeaderMap::from_iter(headers))
        };
        assert_eq!(
            answer("dGhlIHNhbXBsZSBub25jZQ==").as_deref(),
            Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        assert_eq!(answer("short"), Err(NoHandshake::Key));
    }
}
