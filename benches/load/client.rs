//! A WebSocket client as cheap as can be: no JSON is parsed, frames are scanned for what is needed.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Fallible;

/// One session.
pub struct Session {
    pub stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of the last frame, with its header.
    pub frame_bytes: usize,
}

/// What a frame was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A message: its `seq`, and the time that its text carries.
    Message {
        seq: u64,
        sent: u64,
    },
    /// Of the message that was sent with this nonce.
    Ack {
        nonce: u64,
    },
    Joined,
    /// An `error` event: limits are off, so there is none that belongs here.
    Refused,
    Other,
}

impl Session {
    /// Joins `room` (of plain letters and digits).
    pub async fn join(address: SocketAddr, room: &str, token: Option<&str>) -> Fallible<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let authorization = token
            .map(|token| format!("Authorization: Bearer {token}\r\n"))
            .unwrap_or_default();
        let request = format!(
            "GET /api/v1/rooms/{room}/messages/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {authorization}\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        let end = loop {
            if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut answer).await? == 0 {
                return Err("the connection was closed in the handshake".into());
            }
        };
        if !answer.starts_with(b"HTTP/1.1 101") {
            return Err(String::from_utf8_lossy(&answer).into_owned().into());
        }
        let mut this = Self {
            stream,
            buffer: answer.split_off(end),
            frame_bytes: 0,
        };
        // Until it has joined, what it sends is not counted.
        let mut first = None;
        while first.is_none() {
            this.scan(|heard| first = first.or(Some(heard)))?;
            if first.is_none() {
                this.fill().await?;
            }
        }
        match first {
            Some(Heard::Joined) => Ok(this),
            _ => Err("the first event is not `joined`".into()),
        }
    }

    async fn fill(&mut self) -> Fallible<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("the server closed a session".into()),
            _ => Ok(()),
        }
    }

    /// Waits for something and hands every event of every whole frame to `each`.
    pub async fn hear(&mut self, each: impl FnMut(Heard)) -> Fallible<()> {
        self.fill().await?;
        if self.scan(each)? {
            self.stream.write_all(&[0x8A, 0x80, 0, 0, 0, 0]).await?;
        }
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// Sends a message whose text is the time `sent`; a nonce makes the server ack it.
    pub async fn say(&mut self, sent: u64, nonce: Option<u64>) -> Fallible<()> {
        self.stream.write_all(&command(sent, nonce)).await?;
        Ok(())
    }

    /// Reads and forgets what has come; a publisher that never reads would be closed as too far behind.
    pub fn skim(&mut self) -> Fallible<()> {
        let mut scratch = [0; 4096];
        loop {
            match self.stream.try_read(&mut scratch) {
                Ok(0) => return Err("the server closed a publisher".into()),
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Goes through the whole frames in place; says whether there was a ping to answer.
    fn scan(&mut self, mut each: impl FnMut(Heard)) -> Fallible<bool> {
        let (mut pinged, mut at) = (false, 0);
        loop {
            let rest = &self.buffer[at..];
            let (length, start) = match rest {
                [_, 126, a, b, ..] => (usize::from(u16::from_be_bytes([*a, *b])), 4),
                [_, 127, ..] => return Err("a frame of more than 64 KiB".into()),
                [_, length, ..] if *length < 126 => (usize::from(*length), 2),
                _ => break,
            };
            if rest.len() < start + length {
                break;
            }
            let payload = &rest[start..start + length];
            match rest[0] & 0x0F {
                1 => events(payload, &mut each)?,
                8 => {
                    let reason = String::from_utf8_lossy(payload);
                    return Err(format!("the server closed a session: {reason}").into());
                }
                9 => pinged = true,
                _ => {}
            }
            self.frame_bytes = start + length;
            at += start + length;
        }
        self.buffer.drain(..at);
        Ok(pinged)
    }
}

/// A masked text frame (mask 0) of about 60 bytes.
pub fn command(sent: u64, nonce: Option<u64>) -> Vec<u8> {
    let nonce = nonce
        .map(|nonce| format!(",\"nonce\":\"{nonce}\""))
        .unwrap_or_default();
    let json = format!("{{\"text\":\"t{sent:020} hello, world\"{nonce}}}");
    let mut frame = vec![0x81, 0x80 | json.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(json.as_bytes());
    frame
}

/// A frame is an array of events, whose keys come in any order.
fn events(json: &[u8], each: &mut impl FnMut(Heard)) -> Fallible<()> {
    let (mut depth, mut begin, mut quoted, mut escaped) = (0u32, 0, false, false);
    for (at, byte) in json.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' => {
                if depth == 0 {
                    begin = at;
                }
                depth += 1;
            }
            b'}' => {
                depth = depth.checked_sub(1).ok_or("a frame that is not JSON")?;
                if depth == 0 {
                    each(classify(&json[begin..=at])?);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A quote inside of a text is escaped, so that no text looks like a key.
fn classify(event: &[u8]) -> Fallible<Heard> {
    let is = |kind: &[u8]| find(event, kind).is_some();
    Ok(if is(b"\"type\":\"message\"") {
        Heard::Message {
            seq: number(event, b"\"seq\":")?,
            sent: number(event, b"\"text\":\"t")?,
        }
    } else if is(b"\"type\":\"ack\"") {
        Heard::Ack {
            nonce: number(event, b"\"nonce\":\"")?,
        }
    } else if is(b"\"type\":\"joined\"") {
        Heard::Joined
    } else if is(b"\"type\":\"error\"") {
        Heard::Refused
    } else {
        Heard::Other
    })
}

fn number(json: &[u8], behind: &[u8]) -> Fallible<u64> {
    let start = find(json, behind).ok_or("an event lacks a number")? + behind.len();
    Ok(json[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |n, d| n * 10 + u64::from(d - b'0')))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Nanoseconds since the benchmark began.
pub fn now(begun: Instant) -> u64 {
    begun.elapsed().as_nanos() as u64
}
