//! WebSocket frames (RFC 6455), written by us because one encoded server frame serves every session of a
//! room: frames from a server are not masked. Pure: bytes in, frames out.

use bytes::Bytes;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// A control frame's payload limit in bytes (RFC 6455 §5.5).
const MAX_CONTROL: usize = 125;

/// A whole text frame with `payload`.
pub fn text(payload: &[u8]) -> Bytes {
    encode(TEXT, payload)
}

/// A ping without payload.
pub const PING_FRAME: Bytes = Bytes::from_static(&[FIN | PING, 0]);

/// The answer to a ping.
pub fn pong(payload: &[u8]) -> Bytes {
    encode(PONG, &payload[..payload.len().min(MAX_CONTROL)])
}

/// A close frame; of the reason as much as a control frame takes. The peer's own code is echoed with `close_echo`.
pub fn close(code: u16, reason: &str) -> Bytes {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    encode(CLOSE, &payload[..payload.len().min(MAX_CONTROL)])
}

/// The answer to a client's close.
pub fn close_echo(code: Option<u16>) -> Bytes {
    code.map_or_else(|| encode(CLOSE, &[]), |code| encode(CLOSE, &code.to_be_bytes()))
}

fn encode(opcode: u8, payload: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(10 + payload.len());
    frame.push(FIN | opcode);
    match payload.len() {
        len @ 0..=125 => frame.push(len as u8),
        len @ 126..=0xFFFF => {
            frame.push(126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame.into()
}

/// What a client sent: a whole message or a control frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    Text(String),
    Binary,
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

/// What a client must not send: the connection has to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// Not a frame of RFC 6455, or not at this place.
    Protocol,
    /// A text that is not UTF-8.
    NotUtf8,
    /// A message over the limit.
    TooLarge,
}

/// Reads a client's frames. Holds only what is incomplete.
#[derive(Debug)]
pub struct Decoder {
    /// From `next` on, bytes that are not yet taken as frames. What lies before goes with the next push: to take a
    /// frame moves nothing.
    buffer: Vec<u8>,
    next: usize,
    /// No frame is whole, as far as was looked.
    starved: bool,
    /// Frames taken since somebody asked.
    taken: usize,
    /// The fragments so far of a message, and whether it is text.
    message: Option<(bool, Vec<u8>)>,
    limit: usize,
}

impl Decoder {
    /// `limit`: the longest message in bytes, over all of its fragments.
    pub const fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            next: 0,
            starved: true,
            taken: 0,
            message: None,
            limit,
        }
    }

    /// Takes bytes from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.next);
        self.next = 0;
        self.buffer.extend_from_slice(bytes);
        self.starved = self.buffer.is_empty();
    }

    /// Whether there may be something to take. If not, there is room for more bytes.
    pub const fn is_ready(&self) -> bool {
        !self.starved
    }

    /// How many frames have been taken since this was last asked, fragments and all.
    pub const fn frames_taken(&mut self) -> usize {
        std::mem::replace(&mut self.taken, 0)
    }

    /// The next message or control frame, if one is whole; else why the connection must be closed.
    pub fn take(&mut self) -> Result<Option<Incoming>, Violation> {
        loop {
            let Some((head, payload)) = self.take_frame()? else {
                self.starved = true;
                return Ok(None);
            };
            self.taken += 1;
            if self.next == self.buffer.len() {
                (self.buffer, self.next, self.starved) = (Vec::new(), 0, true);
            }
            let fin = head & FIN != 0;
            match head & 0x0F {
                PING => return Ok(Some(Incoming::Ping(payload))),
                PONG => return Ok(Some(Incoming::Pong)),
                CLOSE => return close_code(&payload).map(|code| Some(Incoming::Close(code))),
                CONTINUATION => {
                    let Some((_, message)) = &mut self.message else {
                        return Err(Violation::Protocol);
                    };
                    message.extend_from_slice(&payload);
                }
                opcode => {
                    if self.message.is_some() {
                        return Err(Violation::Protocol);
                    }
                    self.message = Some((opcode == TEXT, payload));
                }
            }
            if fin && let Some((is_text, message)) = self.message.take() {
                return match is_text {
                    true => String::from_utf8(message)
                        .map(|text| Some(Incoming::Text(text)))
                        .map_err(|_| Violation::NotUtf8),
                    false => Ok(Some(Incoming::Binary)),
                };
            }
        }
    }

    /// Cuts one frame off the buffer: its first byte and its unmasked payload.
    fn take_frame(&mut self) -> Result<Option<(u8, Vec<u8>)>, Violation> {
        let waiting = &self.buffer[self.next..];
        let &[head, second, ..] = waiting else {
            return Ok(None);
        };
        let opcode = head & 0x0F;
        let control = opcode >= CLOSE;
        // No extension is ever negotiated, so a reserved bit (a compressed frame, say) is an error.
        if head & RESERVED != 0
            || second & MASKED == 0
            || !matches!(opcode, CONTINUATION..=BINARY | CLOSE..=PONG)
        {
            return Err(Violation::Protocol);
        }
        let (length, start) = match second & 0x7F {
            126 => match waiting.get(2..4) {
                Some(bytes) => (bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)), 4),
                None => return Ok(None),
            },
            127 => match waiting.get(2..10) {
                Some(bytes) => (bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        if control && (length > MAX_CONTROL as u64 || head & FIN == 0) {
            return Err(Violation::Protocol);
        }
        let so_far = if control {
            0
        } else {
            self.message.as_ref().map_or(0, |(_, message)| message.len())
        };
        if length.saturating_add(so_far as u64) > self.limit.max(MAX_CONTROL) as u64 {
            return Err(Violation::TooLarge);
        }
        let payload_at = start + 4;
        let end = payload_at + length as usize;
        let (Some(mask), Some(masked)) = (waiting.get(start..payload_at), waiting.get(payload_at..end))
        else {
            return Ok(None);
        };
        let mut payload = masked.to_vec();
        for (i, byte) in payload.iter_mut().enumerate() {
            *byte ^= mask[i & 3];
        }
        self.next += end;
        Ok(Some((head, payload)))
    }
}

/// A close frame's code: none, or one that a peer may send (RFC 6455 §7.4), with a reason in UTF-8.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    match payload {
        [] => Ok(None),
        [_] => Err(Violation::Protocol),
        [high, low, reason @ ..] => {
            if std::str::from_utf8(reason).is_err() {
                return Err(Violation::NotUtf8);
            }
            match u16::from_be_bytes([*high, *low]) {
                code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => Ok(Some(code)),
                _ => Err(Violation::Protocol),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn masked(head: u8, payload: &[u8]) -> Vec<u8> {
        let plain = encode(head & 0x0F, payload);
        let header = plain.len() - payload.len();
        let mask = [0x11, 0x22, 0x33, 0x44];
        let mut frame = plain[..header].to_vec();
        frame[0] = head;
        frame[1] |= MASKED;
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().enumerate().map(|(i, b)| b ^ mask[i & 3]));
        frame
    }

    fn decode(bytes: &[u8]) -> Result<Option<Incoming>, Violation> {
        let mut decoder = Decoder::new(1000);
        decoder.push(bytes);
        decoder.take()
    }

    #[test]
    fn what_is_not_a_frame_is_refused() {
        assert_eq!(
            decode(&[0x81, 0x02, b'h', b'i']),
            Err(Violation::Protocol),
            "unmasked"
        );
        assert_eq!(
            decode(&masked(0xC1, b"hi")),
            Err(Violation::Protocol),
            "compressed without negotiation"
        );
        assert_eq!(
            decode(&masked(0x83, b"hi")),
            Err(Violation::Protocol),
            "reserved opcode"
        );
        assert_eq!(
            decode(&masked(0x09, b"hi")),
            Err(Violation::Protocol),
            "fragmented ping"
        );
        assert_eq!(
            decode(&masked(0x89, &[0; 126])),
            Err(Violation::Protocol),
            "long ping"
        );
        assert_eq!(
            decode(&masked(0x80, b"hi")),
            Err(Violation::Protocol),
            "continues nothing"
        );
        assert_eq!(decode(&masked(0x81, &[0xFF])), Err(Violation::NotUtf8));
        assert_eq!(decode(&masked(0x81, &[b'x'; 1001])), Err(Violation::TooLarge));
        assert_eq!(
            decode(&[0x81, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
            Err(Violation::TooLarge)
        );
        assert_eq!(
            decode(&masked(0x88, &[3])),
            Err(Violation::Protocol),
            "half a close code"
        );
        assert_eq!(
            decode(&masked(0x88, &1005u16.to_be_bytes())),
            Err(Violation::Protocol)
        );
        assert_eq!(
            decode(&masked(0x88, &[0x03, 0xE8, 0xFF])),
            Err(Violation::NotUtf8)
        );
        assert_eq!(decode(&masked(0x88, &[])), Ok(Some(Incoming::Close(None))));
        assert_eq!(decode(&masked(0x82, b"hi")), Ok(Some(Incoming::Binary)));
    }

    #[test]
    fn a_fragmented_message_may_have_a_ping_inside_and_is_limited_as_a_whole() {
        let mut decoder = Decoder::new(1000);
        decoder.push(&masked(0x01, b"he"));
        decoder.push(&masked(0x89, b"?"));
        decoder.push(&masked(0x80, b"llo"));
        assert_eq!(decoder.take(), Ok(Some(Incoming::Ping(b"?".to_vec()))));
        assert_eq!(decoder.take(), Ok(Some(Incoming::Text("hello".into()))));
        assert_eq!(decoder.frames_taken(), 3);
        assert_eq!(decoder.take(), Ok(None));
        decoder.push(&masked(0x01, &[b'x'; 600]));
        decoder.push(&masked(0x80, &[b'x'; 600]));
        assert_eq!(decoder.take(), Err(Violation::TooLarge));
    }

    proptest! {
        /// However the bytes arrive, the same messages come out, and nothing is held afterwards.
        #[test]
        fn cuts_do_not_matter(texts in prop::collection::vec(".{0,300}", 1..8), cut in 1usize..40) {
            let bytes: Vec<u8> = texts.iter().flat_map(|text| masked(0x81, text.as_bytes())).collect();
            let mut decoder = Decoder::new(2000);
            let mut seen = Vec::new();
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                while let Some(message) = decoder.take().unwrap() {
                    seen.push(message);
                }
            }
            prop_assert_eq!(seen, texts.into_iter().map(Incoming::Text).collect::<Vec<_>>());
            prop_assert_eq!(decoder.buffer.capacity(), 0);
        }

        /// Read as a session reads, it never holds more than a frame and a read, whatever the frames are.
        #[test]
        fn holds_a_frame_and_a_read(sizes in prop::collection::vec(0usize..1000, 1..200), cut in 1usize..700) {
            let small = masked(0x89, b"");
            let bytes: Vec<u8> = sizes.iter().flat_map(|size| match size % 3 {
                0 => masked(0x81, &vec![b'x'; *size]),
                _ => small.repeat(size / 20),
            }).collect();
            let mut decoder = Decoder::new(1000);
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                prop_assert!(decoder.buffer.len() <= 1000 + 14 + cut);
                while decoder.is_ready() {
                    decoder.take().unwrap();
                }
            }
            prop_assert_eq!(decoder.buffer.capacity(), 0);
        }

        /// Arbitrary bytes never panic and never make the decoder hold more than a frame.
        #[test]
        fn garbage_is_harmless(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut decoder = Decoder::new(500);
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.take() {}
        }
    }
}
