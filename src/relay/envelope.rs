//! What travels on a room's channel, read without parsing JSON.
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | version, 2 |
//! | 1 | kind, 1: a message that was committed |
//! | 16 | the tag of the room's id and of all that follows |
//! | 1 | flags; bit 0: a trace context is present |
//! | 8 | `seq`, big endian |
//! | 16 | the message's id |
//! | 8 | when it was committed: microseconds since the Unix epoch |
//! | 25 | the W3C trace context: trace id 16, span id 8, trace flags 1; zero without |
//! | rest | the WebSocket frame that every session writes |
//!
//! Whoever may PUBLISH in Redis could speak as anybody otherwise, and write any bytes into sockets. Version 1 had no tag:
//! of an envelope of it nothing is believed but that there may be something to read in the database.

use bytes::{BufMut, Bytes};
use uuid::Uuid;

use super::tag::{TAG, TagKey};
use crate::ids::{RoomId, Seq};
use crate::protocol::TraceContext;
use crate::room::Entry;
use crate::telemetry::Origin;

const VERSION: u8 = 2;
const UNTAGGED: u8 = 1;
const MESSAGE: u8 = 1;
const TRACED: u8 = 1;
const TAGGED: usize = 2 + TAG;
const SEQ: usize = TAGGED + 1;
const ID: usize = SEQ + 8;
const COMMITTED: usize = ID + 16;
const TRACE: usize = COMMITTED + 8;
const HEADER: usize = TRACE + TraceContext::BYTES;

/// What an envelope turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened {
    Message(Entry, Origin),
    /// A replica of the release before says that it committed something.
    Hint,
    /// Its tag is not of our key, or of another room.
    Forged,
    /// Of another version or kind, or cut off.
    Unreadable,
}

/// Encodes a message of a room.
pub fn seal(room: RoomId, entry: &Entry, origin: Origin, key: &TagKey) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + entry.frame.len());
    bytes.extend_from_slice(&[VERSION, MESSAGE]);
    bytes.put_bytes(0, TAG);
    bytes.put_u8(if origin.trace.is_some() { TRACED } else { 0 });
    bytes.put_u64(entry.seq.0);
    bytes.put_slice(entry.id.as_bytes());
    bytes.put_i64(origin.committed_at);
    match origin.trace {
        Some(trace) => trace.encode(&mut bytes),
        None => bytes.put_bytes(0, TraceContext::BYTES),
    }
    bytes.put_slice(&entry.frame);
    let tag = key.tag(room, &bytes[TAGGED..]);
    bytes[2..TAGGED].copy_from_slice(&tag);
    bytes
}

/// Reads what came from Redis. Copies nothing.
pub fn open(room: RoomId, bytes: Vec<u8>, key: &TagKey) -> Opened {
    match bytes.as_slice() {
        [VERSION, MESSAGE, rest @ ..] => {
            let Some((tag, tagged)) = rest.split_first_chunk::<TAG>() else {
                return Opened::Unreadable;
            };
            if !key.is_tag(tag, room, tagged) {
                return Opened::Forged;
            }
            message(bytes).map_or(Opened::Unreadable, |(entry, origin)| {
                Opened::Message(entry, origin)
            })
        }
        [UNTAGGED, ..] => Opened::Hint,
        _ => Opened::Unreadable,
    }
}

fn message(bytes: Vec<u8>) -> Option<(Entry, Origin)> {
    let bytes = Bytes::from(bytes);
    let seq = Seq(u64::from_be_bytes(bytes.get(SEQ..ID)?.try_into().ok()?));
    let id = Uuid::from_slice(bytes.get(ID..COMMITTED)?).ok()?;
    let committed_at = i64::from_be_bytes(bytes.get(COMMITTED..TRACE)?.try_into().ok()?);
    let frame = bytes
        .get(HEADER..)
        .filter(|frame| frame.len() > 2)
        .map(|frame| bytes.slice_ref(frame))?;
    let trace = match bytes[TAGGED] & TRACED {
        0 => None,
        _ => TraceContext::decode(bytes.get(TRACE..HEADER)?),
    };
    let origin = Origin { committed_at, trace };
    (seq > Seq::NONE).then_some((Entry { seq, id, frame }, origin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::frame;
    use proptest::prelude::*;

    fn key() -> TagKey {
        TagKey::of(b"0123456789abcdef0123456789abcdef")
    }

    fn room(n: u128) -> RoomId {
        RoomId(Uuid::from_u128(n))
    }

    fn some() -> (Entry, Origin) {
        let (seq, id, frame) = (Seq(7), Uuid::from_u128(8), frame::text(b"[1]"));
        let origin = Origin {
            committed_at: 9,
            trace: None,
        };
        (Entry { seq, id, frame }, origin)
    }

    #[test]
    fn what_has_no_tag_of_ours_is_not_read() {
        let (entry, origin) = some();
        let bytes = seal(room(1), &entry, origin, &key());
        let opened = |bytes: &[u8]| open(room(1), bytes.to_vec(), &key());
        assert_eq!(opened(&bytes), Opened::Message(entry, origin));
        // Each bit of it counts.
        for at in 2..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            assert_eq!(opened(&forged), Opened::Forged, "byte {at}");
        }
        assert_eq!(
            open(room(2), bytes.clone(), &key()),
            Opened::Forged,
            "of another room"
        );
        let other = TagKey::of(b"another key of thirty-two bytes!");
        assert_eq!(open(room(1), bytes.clone(), &other), Opened::Forged);
        assert_eq!(opened(&bytes[..TAGGED - 1]), Opened::Unreadable);
        assert_eq!(opened(&[1, 0, 0]), Opened::Hint);
        assert_eq!(opened(&[VERSION, 2, 0]), Opened::Unreadable);
        assert_eq!(opened(&[]), Opened::Unreadable);
    }

    proptest! {
        #[test]
        fn what_is_sent_is_what_is_read(
            seq in 1u64.., id in any::<u128>(), committed_at in any::<i64>(), text in ".{1,300}",
            trace in prop::option::of((any::<[u8; 16]>(), any::<[u8; 8]>(), any::<u8>())), at in any::<u128>(),
        ) {
            let trace = trace.map(|(trace_id, span_id, flags)| TraceContext { trace_id, span_id, flags });
            let origin = Origin { committed_at, trace };
            let entry = Entry { seq: Seq(seq), id: Uuid::from_u128(id), frame: frame::text(text.as_bytes()) };
            let sent = seal(room(at), &entry, origin, &key());
            prop_assert_eq!(open(room(at), sent, &key()), Opened::Message(entry, origin));
        }

        #[test]
        fn garbage_is_harmless(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let opened = open(room(1), bytes, &key());
            prop_assert!(!matches!(opened, Opened::Message(..)));
        }
    }
}
