//! The WebSocket handshake (RFC 6455 §4.2): from a request to a session that owns the socket.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use poem::{IntoResponse, Request, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaResponse, MetaResponses, Registry};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::caller::bearer;
use super::error::ApiError;
use super::patience::Watched;
use super::trace::traceparent;
use super::{Api, ClientAddress, Connection};
use crate::auth::Identity;
use crate::ids::{RoomName, UserId};
use crate::limits::{Place, network};
use crate::protocol::{Close, ErrorType, TraceContext};
use crate::session::{Position, Session, Writer, turn_away};
use crate::ws::handshake::{self, NoHandshake};

/// The subprotocol that a client offers beside its token, so that the answer does not repeat the token.
const SUBPROTOCOL: &str = "chat.v1";

/// 101 Switching Protocols.
#[derive(Debug)]
pub struct Upgrade(Response);

impl IntoResponse for Upgrade {
    fn into_response(self) -> Response {
        self.0
    }
}

impl ApiResponse for Upgrade {
    fn meta() -> MetaResponses {
        let switching = MetaResponse {
            description: "Switching protocols: frames follow as API.md says",
            status: Some(101),
            status_range: None,
            content: vec![],
            headers: vec![],
        };
        MetaResponses {
            responses: vec![switching],
        }
    }

    fn register(_: &mut Registry) {}
}

impl Api {
    /// Checks a handshake, cheapest first, takes the seat, and leaves the rest to a task of its own.
    pub async fn upgrade(
        self: &Arc<Self>,
        request: &Request,
        room: &RoomName,
        position: Position,
    ) -> Result<Upgrade, ApiError> {
        let accept = handshake::accept(request.version(), request.headers())?;
        self.check_origin(request)?;
        let offered = Subprotocols::of(request.headers())?;
        let token = match offered.token {
            Some(token) => Some(token),
            None => bearer(request)?,
        };
        let identity = match token {
            Some(token) => Some(self.identify(token).await?),
            None => None,
        };
        let (Some(connection), Some(upgrade), Some(ClientAddress(address))) = (
            request.data::<Connection>(),
            request.data::<OnUpgrade>(),
            request.data::<ClientAddress>(),
        ) else {
            return Err(ApiError::new(
                ErrorType::BadBinding,
                "this connection cannot be upgraded",
            ));
        };
        let (connection, upgrade) = (connection.clone(), upgrade.clone());
        if let Some(places) = self.places(*address, identity.as_ref()) {
            let joined = self.replica.join(room, position).await?;
            connection.is_session();
            let (replica, address, writer) = (
                self.replica.clone(),
                *address,
                identity.map(|identity| self.writer(identity, traceparent(request))),
            );
            self.clients.spawn(async move {
                if let Some((stream, early)) = take_over(upgrade).await {
                    Session::new(replica, joined, writer, (stream, &early), address)
                        .run()
                        .await;
                }
                drop((places, connection));
            });
        } else {
            self.clients.spawn(async move {
                if let Some((stream, _)) = take_over(upgrade).await {
                    turn_away(stream, Close::NoRoom).await;
                }
                drop(connection);
            });
        }
        let mut response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, accept)
            .finish();
        if let Some(protocol) = offered.answer {
            response
                .headers_mut()
                .insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        Ok(Upgrade(response))
    }

    /// A place of the address and one of the user; `None`: either has none left.
    fn places(
        &self,
        address: IpAddr,
        identity: Option<&Identity>,
    ) -> Option<(Place<IpAddr>, Option<Place<UserId>>)> {
        let address = self.replica.limits.sessions_per_address.take(network(address))?;
        let user = match identity {
            Some(identity) => Some(self.replica.limits.sessions_per_user.take(identity.user.id)?),
            None => None,
        };
        Some((address, user))
    }

    fn writer(&self, identity: Identity, trace: Option<TraceContext>) -> Box<Writer> {
        let (now, remaining) = (Instant::now(), identity.remaining());
        // A token's longest life fits; a clock that says otherwise ends the session rather than the process.
        let until = now.checked_add(remaining).unwrap_or(now);
        Box::new(Writer {
            user: identity.user,
            until,
            rate: self.replica.limits.messages,
            trace,
        })
    }
}

impl From<NoHandshake> for ApiError {
    fn from(e: NoHandshake) -> Self {
        let error = Self::new(ErrorType::BadBinding, e.to_string());
        match e {
            // Which it is stands in a header, too (RFC 6455 §4.4).
            NoHandshake::Version => error.with(header::SEC_WEBSOCKET_VERSION, "13"),
            _ => error,
        }
    }
}

/// The subprotocols that a client offers: which of them is the token, and what is answered.
struct Subprotocols<'a> {
    token: Option<&'a str>,
    answer: Option<HeaderValue>,
}

impl<'a> Subprotocols<'a> {
    fn of(headers: &'a HeaderMap) -> Result<Self, ApiError> {
        let all = headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let (mut token, mut versioned, mut unknown) = (None, false, false);
        for protocol in all
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            match protocol {
                SUBPROTOCOL => versioned = true,
                other if is_name(other) => unknown = true,
                other => token = token.or(Some(other)),
            }
        }
        if unknown && token.is_none() && !versioned {
            return Err(ApiError::new(
                ErrorType::BadBinding,
                format!("of the subprotocols offered none is known here: {SUBPROTOCOL}, or a token"),
            ));
        }
        let answer = if versioned { Some(SUBPROTOCOL) } else { token };
        Ok(Self {
            token,
            answer: answer.and_then(|answer| HeaderValue::from_str(answer).ok()),
        })
    }
}

/// The name of a subprotocol and its version, `chat.v2`, which a later client may offer beside ours. No token has this
/// form: a JWT has three parts, and whatever else is offered is taken for a token, so that a broken one is no guest.
fn is_name(protocol: &str) -> bool {
    let word = |part: &str| {
        part.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    protocol.split_once(".v").is_some_and(|(name, version)| {
        !name.is_empty()
            && word(name)
            && (1..=3).contains(&version.len())
            && version.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// The socket, and what the client sent right behind its handshake. hyper's buffer is let go.
async fn take_over(upgrade: OnUpgrade) -> Option<(TcpStream, Vec<u8>)> {
    let upgraded = upgrade
        .await
        .inspect_err(|e| tracing::debug!(error = %e, "an upgrade broke"))
        .ok()?;
    match upgraded.downcast::<TokioIo<Watched>>() {
        Ok(parts) => Some((parts.io.into_inner().stream, parts.read_buf.to_vec())),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_answered_where_the_version_can_be() {
        let offered = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(value));
            let offered = Subprotocols::of(&headers).unwrap();
            (
                offered.token.map(str::to_owned),
                offered.answer.map(|answer| answer.to_str().unwrap().to_owned()),
            )
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(offered("tok"), (some("tok"), some("tok")));
        assert_eq!(offered("tok, chat.v1"), (some("tok"), some("chat.v1")));
        assert_eq!(offered("chat.v1"), (None, some("chat.v1")));
        assert_eq!(offered("chat.v2, chat.v1"), (None, some("chat.v1")));
        assert_eq!(offered("chat.v2, tok, chat.v1"), (some("tok"), some("chat.v1")));
        assert_eq!(offered("chat.v2, tok"), (some("tok"), some("tok")));
    }

    #[test]
    fn a_name_with_a_version_is_no_token() {
        for name in ["chat.v2", "chat.v10", "some-thing.v1"] {
            assert!(is_name(name), "{name}");
        }
        for token in [
            "tok",
            "chat.v",
            ".v1",
            "chat.v1234",
            "Chat.v1",
            "a.b.v1",
            "eyJh.eyJz.v1",
            "chat.vx",
        ] {
            assert!(!is_name(token), "{token}");
        }
    }
}
