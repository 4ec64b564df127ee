//! One WebSocket to a room, as a client developer would write it: no reconnecting, nothing hidden.

use std::{collections::VecDeque, fmt, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        http::HeaderValue,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::replica::Target;

/// A JSON object with `type`.
pub type Event = Value;

/// How long a client waits for what must come.
const LIMIT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// The upgrade was answered with another status than 101; `body` is null when it was not JSON.
    Refused { status: u16, body: Value },
    /// No connection, or one that broke off.
    Broken(String),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for ConnectError {}

/// Why there is no next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The server closed with this code; 1005 for a close without one.
    Closed(u16),
    /// The connection broke off without a close frame.
    Broken,
    /// Nothing came in time.
    Silence,
}

pub struct Client {
    /// The first event.
    pub joined: Event,
    /// The subprotocol that the server chose.
    pub protocol: Option<String>,
    socket: WebSocketStream<TcpStream>,
    events: VecDeque<Event>,
}

impl Client {
    /// Joins a room and waits for `joined`. The token goes as the first of two subprotocols; `query` is for example
    /// "after=3", or empty.
    pub async fn connect(
        to: impl AsRef<Target>,
        room: &str,
        token: Option<&str>,
        query: &str,
    ) -> Result<Self, ConnectError> {
        let protocols: &[&str] = match &token {
            Some(token) => &[token, "chat.v1"],
            None => &[],
        };
        Self::connect_offering(to, room, protocols, query).await
    }

    /// Joins with these subprotocols.
    pub async fn connect_offering(
        to: impl AsRef<Target>,
        room: &str,
        protocols: &[&str],
        query: &str,
    ) -> Result<Self, ConnectError> {
        timeout(LIMIT, Self::handshake(to.as_ref(), room, protocols, query))
            .await
            .map_err(|_| ConnectError::Broken("no answer in time".into()))?
    }

    async fn handshake(
        to: &Target,
        room: &str,
        protocols: &[&str],
        query: &str,
    ) -> Result<Self, ConnectError> {
        let broken = |e: &dyn fmt::Display| ConnectError::Broken(e.to_string());
        let mut request = to
            .ws_url(room, query)
            .into_client_request()
            .map_err(|e| broken(&e))?;
        if !protocols.is_empty() {
            let offer = HeaderValue::from_str(&protocols.join(", ")).map_err(|e| broken(&e))?;
            request.headers_mut().insert("sec-websocket-protocol", offer);
        }
        let stream = TcpStream::connect(("127.0.0.1", to.port))
            .await
            .map_err(|e| broken(&e))?;
        stream.set_nodelay(true).map_err(|e| broken(&e))?;
        let (socket, response) = client_async(request, stream).await.map_err(|e| match e {
            tungstenite::Error::Http(response) => ConnectError::Refused {
                status: response.status().as_u16(),
                body: response
                    .body()
                    .as_ref()
                    .and_then(|b| serde_json::from_slice(b).ok())
                    .unwrap_or(Value::Null),
            },
            e => broken(&e),
        })?;
        let protocol = response.headers().get("sec-websocket-protocol");
        let protocol = protocol.and_then(|p| p.to_str().ok()).map(str::to_owned);
        let mut this = Self {
            joined: Value::Null,
            protocol,
            socket,
            events: VecDeque::new(),
        };
        this.joined = this
            .try_next_event(LIMIT)
            .await
            .map_err(|e| ConnectError::Broken(format!("no joined: {e:?}")))?;
        if this.joined["type"] != "joined" {
            return Err(ConnectError::Broken(format!("not joined first: {}", this.joined)));
        }
        Ok(this)
    }

    /// Sends one JSON object in a text frame.
    pub async fn send(&mut self, command: Value) {
        self.try_send(command).await.expect("an open connection");
    }

    pub async fn try_send(&mut self, command: Value) -> Result<(), Ended> {
        self.send_frame(Message::text(command.to_string())).await
    }

    /// Sends a frame as it is: binary, a ping, text that is not JSON.
    pub async fn send_frame(&mut self, frame: Message) -> Result<(), Ended> {
        match timeout(LIMIT, self.socket.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::Broken),
            Err(_) => Err(Ended::Silence),
        }
    }

    /// Sends a text with a nonce and waits for its ack, leaving other events for later; the ack, or the error event
    /// when it is refused.
    pub async fn say(&mut self, text: &str, nonce: &str) -> Event {
        self.send(json!({"text": text, "nonce": nonce})).await;
        self.next_where(|event| event["nonce"] == nonce && event["type"] != "message")
            .await
    }

    /// The next event, whatever it is. Panics when there is none within 10 seconds.
    pub async fn next_event(&mut self) -> Event {
        self.try_next_event(LIMIT)
            .await
            .unwrap_or_else(|e| panic!("no next event: {e:?}"))
    }

    /// The next event of this type; events of other types stay for later.
    pub async fn next(&mut self, kind: &str) -> Event {
        self.next_where(|event| event["type"] == kind).await
    }

    /// The next event that fits; the others stay for later, in their order.
    pub async fn next_where(&mut self, fits: impl Fn(&Event) -> bool) -> Event {
        let mut others = VecDeque::new();
        let found = loop {
            match self.try_next_event(LIMIT).await {
                Ok(event) if fits(&event) => break event,
                Ok(event) => others.push_back(event),
                Err(e) => panic!("no such event: {e:?}; others: {others:?}"),
            }
        };
        others.append(&mut self.events);
        self.events = others;
        found
    }

    /// The next event, waiting for `limit` at most.
    pub async fn try_next_event(&mut self, limit: Duration) -> Result<Event, Ended> {
        while self.events.is_empty() {
            let frame = match timeout(limit, self.socket.next()).await {
                Err(_) => return Err(Ended::Silence),
                Ok(None | Some(Err(_))) => return Err(Ended::Broken),
                Ok(Some(Ok(frame))) => frame,
            };
            match frame {
                Message::Text(text) => {
                    let array: Value = serde_json::from_str(&text).expect("a frame is JSON");
                    let Value::Array(events) = array else {
                        panic!("a frame is an array: {array}")
                    };
                    self.events.extend(events);
                }
                Message::Close(frame) => return Err(Ended::Closed(code_of(frame))),
                Message::Binary(_) => panic!("the server sends no binary frames"),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        Ok(self.events.pop_front().expect("not empty"))
    }

    /// Waits until the server closes and returns the code, ignoring events; 1006 when the connection just breaks.
    pub async fn closed(&mut self) -> u16 {
        loop {
            match self.try_next_event(LIMIT).await {
                Ok(_) => {}
                Err(Ended::Closed(code)) => return code,
                Err(Ended::Broken) => return 1006,
                Err(Ended::Silence) => panic!("not closed within {LIMIT:?}"),
            }
        }
    }

    /// Closes with 1000 and waits for the answer.
    pub async fn leave(mut self) {
        let _ = timeout(LIMIT, async {
            let frame = CloseFrame {
                code: CloseCode::Normal,
                reason: "".into(),
            };
            let _ = self.socket.close(Some(frame)).await;
            while let Some(Ok(_)) = self.socket.next().await {}
        })
        .await;
    }
}

fn code_of(frame: Option<CloseFrame>) -> u16 {
    frame.map_or(1005, |frame| frame.code.into())
}
