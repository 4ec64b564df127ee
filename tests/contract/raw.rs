//! A WebSocket client that can do what no library lets one do: it writes bytes.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use testkit::Replica;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::http::Answer;

pub const PATIENCE: Duration = Duration::from_secs(10);

pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;

pub struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
    events: VecDeque<Value>,
}

/// The head of an HTTP answer.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    pub headers: HeaderMap,
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A handshake as a correct client sends it, with more headers.
pub fn handshake(replica: &Replica, room: &str, query: &str, more: &[(&str, &str)]) -> String {
    let host = replica.base_url().replace("http://", "");
    let query = if query.is_empty() {
        String::new()
    } else {
        format!("?{query}")
    };
    let more: String = more
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!(
        "GET /api/v1/rooms/{room}/messages/ws{query} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// A client's frame; `first` is its first byte (FIN, RSV, opcode).
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![first];
    length(&mut frame, payload.len(), 0x80);
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// A frame without a mask, which a client must not send.
pub fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    length(&mut frame, payload.len(), 0);
    frame.extend(payload);
    frame
}

/// The start of a client's frame that announces `len` bytes.
pub fn announce(first: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![first];
    length(&mut frame, len, 0x80);
    frame.extend([1, 2, 3, 4]);
    frame
}

fn length(frame: &mut Vec<u8>, len: usize, mask: u8) {
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ 0..126), _) => frame.push(mask | len),
        (_, Ok(len)) => {
            frame.push(mask | 126);
            frame.extend(len.to_be_bytes());
        }
        _ => {
            frame.push(mask | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
}

impl Raw {
    pub async fn connect(replica: &Replica) -> Self {
        let address = replica.base_url().replace("http://", "");
        let stream = timeout(PATIENCE, TcpStream::connect(address))
            .await
            .expect("in time")
            .expect("connected");
        Self::on(stream)
    }

    /// From an address of the loopback's to this port of it.
    pub async fn connect_from(local: Ipv4Addr, port: u16) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind((local, 0).into())
            .expect("an address of the loopback");
        let connecting = socket.connect((Ipv4Addr::LOCALHOST, port).into());
        Self::on(
            timeout(PATIENCE, connecting)
                .await
                .expect("in time")
                .expect("connected"),
        )
    }

    fn on(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("no delay");
        Self {
            stream,
            read: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// A session that has read `joined`.
    pub async fn join(replica: &Replica, room: &str, token: Option<&str>, query: &str) -> (Self, Value) {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let more: Vec<_> = bearer
            .iter()
            .map(|bearer| ("Authorization", bearer.as_str()))
            .collect();
        let mut raw = Self::open(replica, room, query, &more).await;
        let joined = raw.event().await;
        assert_eq!(joined["type"], "joined", "{joined}");
        (raw, joined)
    }

    /// An upgraded connection.
    pub async fn open(replica: &Replica, room: &str, query: &str, more: &[(&str, &str)]) -> Self {
        let mut raw = Self::connect(replica).await;
        raw.write(handshake(replica, room, query, more).as_bytes()).await;
        let head = raw.head().await;
        assert_eq!(head.status, 101, "{head:?}");
        raw
    }

    /// The head of the answer to a handshake and, if it is a refusal, the answer.
    pub async fn ask(replica: &Replica, request: &str) -> (Head, Option<Answer>) {
        let mut raw = Self::connect(replica).await;
        raw.write(request.as_bytes()).await;
        let head = raw.head().await;
        let answer = if head.status == 101 {
            None
        } else {
            Some(raw.body(&head).await)
        };
        (head, answer)
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("written");
    }

    /// Writes as far as the server takes it.
    pub async fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    pub async fn send(&mut self, first: u8, payload: &[u8]) {
        self.write(&frame(first, payload)).await;
    }

    pub async fn say(&mut self, command: &Value) {
        self.send(TEXT, command.to_string().as_bytes()).await;
    }

    pub async fn head(&mut self) -> Head {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(
                self.more().await,
                "an answer before the end: {:?}",
                String::from_utf8_lossy(&self.read)
            );
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).expect("a head");
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .expect("a status");
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((
                HeaderName::from_bytes(name.as_bytes()).ok()?,
                HeaderValue::from_str(value.trim()).ok()?,
            ))
        };
        Head {
            status,
            headers: lines.filter_map(header).collect(),
        }
    }

    pub async fn body(&mut self, head: &Head) -> Answer {
        let length: usize = head
            .header("content-length")
            .and_then(|len| len.parse().ok())
            .expect("a length");
        while self.read.len() < length {
            assert!(self.more().await, "the whole body");
        }
        let body: Vec<u8> = self.read.drain(..length).collect();
        Answer::new(head.status, head.headers.clone(), &body)
    }

    /// Reads more; false at the end of the stream.
    async fn more(&mut self) -> bool {
        self.read.reserve(4096);
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
        read.expect("something within 10 s").is_ok_and(|read| read > 0)
    }

    /// The next frame: its first byte and its payload; none at the end of the stream.
    pub async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(frame) = self.take_frame() {
                return Some(frame);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    fn take_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (&first, &second) = (self.read.first()?, self.read.get(1)?);
        assert_eq!(second & 0x80, 0, "a server does not mask");
        let big_endian = |bytes: &[u8]| bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
        let (start, length) = match second {
            126 => (4, big_endian(self.read.get(2..4)?)),
            127 => (10, big_endian(self.read.get(2..10)?)),
            length => (2, usize::from(length)),
        };
        let payload = self.read.get(start..start + length)?.to_vec();
        self.read.drain(..start + length);
        Some((first, payload))
    }

    /// The next event; pings of the server are not answered.
    pub async fn event(&mut self) -> Value {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            match self.frame().await {
                Some((TEXT, payload)) => {
                    let events: Vec<Value> = serde_json::from_slice(&payload).expect("an array of events");
                    assert!(!events.is_empty(), "a frame has at least one event");
                    self.events.extend(events);
                }
                Some((PING | PONG, _)) => {}
                other => panic!("an event expected, not {other:?}"),
            }
        }
    }

    /// The next event of this type; others are passed over.
    pub async fn event_of(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event().await;
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// Reads on to the close frame, and gives its code (1005 for none, 1006 for no frame at all).
    pub async fn closed(&mut self) -> u16 {
        loop {
            match self.frame().await {
                Some((CLOSE, payload)) => {
                    let code = payload
                        .first_chunk()
                        .map_or(1005, |code| u16::from_be_bytes(*code));
                    let reason = std::str::from_utf8(payload.get(2..).unwrap_or_default());
                    assert!(reason.is_ok(), "a reason is UTF-8");
                    // Answered as a peer does, so that the server need not wait for it.
                    let _ = self.try_write(&frame(CLOSE, &payload)).await;
                    return code;
                }
                Some(_) => {}
                None => return 1006,
            }
        }
    }

    /// The `joined` event, or the code with which the session is closed instead.
    pub async fn joined_or_closed(&mut self) -> Result<Value, u16> {
        match self.frame().await {
            Some((TEXT, payload)) => {
                self.events
                    .extend(serde_json::from_slice::<Vec<Value>>(&payload).expect("an array of events"));
                let joined = self.event().await;
                assert_eq!(joined["type"], "joined", "{joined}");
                Ok(joined)
            }
            Some((CLOSE, payload)) => Err(payload
                .first_chunk()
                .map_or(1005, |code| u16::from_be_bytes(*code))),
            Some(other) => panic!("joined or a close expected, not {other:?}"),
            None => Err(1006),
        }
    }

    /// Waits for the end of the stream.
    pub async fn ended(&mut self) {
        self.ended_within(PATIENCE).await;
    }

    pub async fn ended_within(&mut self, limit: Duration) {
        assert!(
            self.is_ended_within(limit).await,
            "the connection is closed within {limit:?}"
        );
    }

    /// Reads for that long; true at the end of the stream.
    pub async fn is_ended_within(&mut self, limit: Duration) -> bool {
        let end = async {
            let mut buffer = vec![0; 16 * 1024];
            while self.stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        };
        timeout(limit, end).await.is_ok()
    }

    /// Sees that the session is alive: a ping comes back.
    pub async fn alive(&mut self) {
        self.send(PING, b"still here?").await;
        loop {
            match self.frame().await {
                Some((PONG, payload)) if payload == b"still here?" => return,
                Some((TEXT, payload)) => {
                    self.events
                        .extend(serde_json::from_slice::<Vec<Value>>(&payload).expect("events"));
                }
                Some((PING | PONG, _)) => {}
                other => panic!("a pong expected, not {other:?}"),
            }
        }
    }
}
