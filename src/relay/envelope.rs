//! What travels on a room's channel, read without parsing JSON.
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | version, 1 |
//! | 1 | flags; bit 0: a trace context is present |
//! | 8 | `seq`, big endian |
//! | 16 | the message's id |
//! | 25 | the W3C trace context: trace id 16, span id 8, trace flags 1; zero without |
//! | rest | the WebSocket frame that every session writes |

use bytes::{BufMut, Bytes};
use uuid::Uuid;

use crate::room::Entry;

const VERSION: u8 = 1;
const TRACE: usize = 26;
const HEADER: usize = TRACE + 25;

/// An encoded message of one room.
#[derive(Debug)]
pub struct Envelope(pub Vec<u8>);

impl Envelope {
    pub fn of(entry: &Entry) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + entry.frame.len());
        bytes.put_u8(VERSION);
        bytes.put_u8(0);
        bytes.put_u64(entry.seq);
        bytes.put_slice(entry.id.as_bytes());
        bytes.put_bytes(0, HEADER - TRACE);
        bytes.put_slice(&entry.frame);
        Self(bytes)
    }

    /// Reads what came from Redis; `None` for what no replica of this version sends. Copies nothing.
    pub fn open(bytes: Vec<u8>) -> Option<Entry> {
        let bytes = Bytes::from(bytes);
        let seq = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
        let id = Uuid::from_slice(bytes.get(10..TRACE)?).ok()?;
        let frame = bytes
            .get(HEADER..)
            .filter(|frame| frame.len() > 2)
            .map(|frame| bytes.slice_ref(frame))?;
        (bytes[0] == VERSION && seq > 0).then_some(Entry { seq, id, frame })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::frame;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_sent_is_what_is_read(seq in 1u64.., id in any::<u128>(), text in ".{1,300}") {
            let entry = Entry { seq, id: Uuid::from_u128(id), frame: frame::text(text.as_bytes()) };
            prop_assert_eq!(Envelope::open(Envelope::of(&entry).0), Some(entry));
        }

        #[test]
        fn garbage_is_harmless(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Envelope::open(bytes);
        }
    }
}
