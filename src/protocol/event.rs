//! What the server sends: arrays of events, one array a frame.
//!
//! Each function gives the JSON of an array with one event. A message's array is encoded once and shared by
//! every session of its room.

use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::ErrorType;
use crate::ids::{Nonce, Point, RoomName, Seq, User, UserId};

/// How fast something may go on: so much a second, and so much at once.
#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Pace {
    pub per_second: u32,
    pub burst: u32,
}

impl Pace {
    /// With bursts of two seconds' worth.
    pub const fn of(per_second: u32) -> Self {
        let burst = per_second.saturating_mul(2);
        Self { per_second, burst }
    }
}

/// Who sent a message.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Sender {
    pub id: UserId,
    pub username: String,
}

/// A message as every client sees it: the `message` event, an entry of the history, the answer to a publish.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(tag = "type", rename = "message", rename_all = "camelCase")]
pub struct Message {
    pub room: String,
    pub seq: Seq,
    pub id: Uuid,
    pub sender: Sender,
    pub text: String,
    /// Milliseconds since the Unix epoch.
    pub create_time: i64,
}

impl Message {
    pub fn new(room: &RoomName, at: Point, sender: &User, text: String, create_time: i64) -> Self {
        Self {
            room: room.as_str().to_owned(),
            seq: at.seq,
            id: at.id,
            sender: Sender {
                id: sender.id,
                username: sender.username.to_string(),
            },
            text,
            create_time,
        }
    }

    /// The event's array.
    pub fn to_event(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(192 + self.text.len() + self.room.len());
        json.push(b'[');
        // Writing plain data into a Vec has no way to fail; an empty array is still a valid frame.
        if serde_json::to_writer(&mut json, self).is_err() {
            json.truncate(1);
        }
        json.push(b']');
        json
    }
}

/// The first event of a session. `seq` is the position from which events follow, `rate` how fast the client may send;
/// `None`: as fast as it likes, or not at all.
pub fn joined(
    room: &RoomName,
    seq: Seq,
    user: Option<&User>,
    recovered: bool,
    rate: Option<Pace>,
) -> Vec<u8> {
    array(&json!({
        "type": "joined", "room": room, "seq": seq, "user": user, "canWrite": user.is_some(), "recovered": recovered,
        "rate": rate,
    }))
}

/// The answer to a ping: the way there and back is open.
pub fn pong(nonce: Option<&Nonce>) -> Vec<u8> {
    let mut event = json!({ "type": "pong" });
    if let Some(nonce) = nonce {
        event["nonce"] = nonce.as_str().into();
    }
    array(&event)
}

/// To the sender alone: the message is durable.
pub fn ack(room: &RoomName, nonce: &Nonce, id: Uuid, seq: Seq) -> Vec<u8> {
    array(&json!({ "type": "ack", "room": room, "nonce": nonce.as_str(), "id": id, "seq": seq }))
}

/// This command was refused; the connection stays. `retry_after` is milliseconds.
pub fn error(error: ErrorType, message: &str, nonce: Option<&Nonce>, retry_after: Option<u64>) -> Vec<u8> {
    let mut event = json!({ "type": "error", "error": { "type": error.name(), "message": message } });
    if let Some(nonce) = nonce {
        event["nonce"] = nonce.as_str().into();
    }
    if let Some(millis) = retry_after {
        event["retryAfter"] = millis.into();
    }
    array(&event)
}

/// This replica is leaving; wait `after` milliseconds, then resume.
pub fn reconnect(after: u64) -> Vec<u8> {
    array(&json!({ "type": "reconnect", "after": after }))
}

fn array(event: &serde_json::Value) -> Vec<u8> {
    format!("[{event}]").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_event_is_what_the_contract_says() {
        let message = Message {
            room: "café".into(),
            seq: Seq(7),
            id: Uuid::nil(),
            sender: Sender {
                id: UserId(1),
                username: "ann".into(),
            },
            text: "\"hi\"\u{1F600}".into(),
            create_time: 1_700_000_000_000,
        };
        let event: serde_json::Value = serde_json::from_slice(&message.to_event()).unwrap();
        assert_eq!(
            event,
            json!([{ "type": "message", "room": "café", "seq": 7, "id": "00000000-0000-0000-0000-000000000000",
                "sender": { "id": 1, "username": "ann" }, "text": "\"hi\"😀", "createTime": 1_700_000_000_000_i64 }])
        );
    }
}
