//! What travels on a room's channel, read without parsing JSON.
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | version, 1 |
//! | 1 | flags; bit 0: a trace context is present |
//! | 8 | `seq`, big endian |
//! | 16 | the message's id |
//! | 8 | when it was committed: microseconds since the Unix epoch |
//! | 25 | the W3C trace context: trace id 16, span id 8, trace flags 1; zero without |
//! | rest | the WebSocket frame that every session writes |

use bytes::{BufMut, Bytes};
use uuid::Uuid;

use crate::ids::Seq;
use crate::protocol::TraceContext;
use crate::room::Entry;
use crate::telemetry::Origin;

const VERSION: u8 = 1;
const TRACED: u8 = 1;
const COMMITTED: usize = 26;
const TRACE: usize = COMMITTED + 8;
const HEADER: usize = TRACE + TraceContext::BYTES;

/// An encoded message of one room.
#[derive(Debug)]
pub struct Envelope(pub Vec<u8>);

impl Envelope {
    pub fn of(entry: &Entry, origin: Origin) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + entry.frame.len());
        bytes.put_u8(VERSION);
        bytes.put_u8(if origin.trace.is_some() { TRACED } else { 0 });
        bytes.put_u64(entry.seq.0);
        bytes.put_slice(entry.id.as_bytes());
        bytes.put_i64(origin.committed_at);
        match origin.trace {
            Some(trace) => trace.encode(&mut bytes),
            None => bytes.put_bytes(0, TraceContext::BYTES),
        }
        bytes.put_slice(&entry.frame);
        Self(bytes)
    }

    /// Reads what came from Redis; `None` for what no replica of this version sends. Copies nothing.
    pub fn open(bytes: Vec<u8>) -> Option<(Entry, Origin)> {
        let bytes = Bytes::from(bytes);
        let seq = Seq(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?));
        let id = Uuid::from_slice(bytes.get(10..COMMITTED)?).ok()?;
        let committed_at = i64::from_be_bytes(bytes.get(COMMITTED..TRACE)?.try_into().ok()?);
        let frame = bytes
            .get(HEADER..)
            .filter(|frame| frame.len() > 2)
            .map(|frame| bytes.slice_ref(frame))?;
        let trace = match bytes[1] & TRACED {
            0 => None,
            _ => TraceContext::decode(bytes.get(TRACE..HEADER)?),
        };
        let origin = Origin { committed_at, trace };
        (bytes[0] == VERSION && seq > Seq::NONE).then_some((Entry { seq, id, frame }, origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::frame;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_sent_is_what_is_read(
            seq in 1u64.., id in any::<u128>(), committed_at in any::<i64>(), text in ".{1,300}",
            trace in prop::option::of((any::<[u8; 16]>(), any::<[u8; 8]>(), any::<u8>())),
        ) {
            let trace = trace.map(|(trace_id, span_id, flags)| TraceContext { trace_id, span_id, flags });
            let origin = Origin { committed_at, trace };
            let entry = Entry { seq: Seq(seq), id: Uuid::from_u128(id), frame: frame::text(text.as_bytes()) };
            prop_assert_eq!(Envelope::open(Envelope::of(&entry, origin).0), Some((entry, origin)));
        }

        #[test]
        fn garbage_is_harmless(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Envelope::open(bytes);
        }
    }
}
