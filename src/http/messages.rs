//! A room's messages: history, publishing, and the WebSocket.

use std::sync::Arc;

use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;

use super::caller::Caller;
use super::error::{ApiError, Envelope};
use super::payload::Strict;
use super::upgrade::Upgrade;
use super::{Api, Tag};
use crate::ids::{Nonce, RoomName, Seq};
use crate::limits::REPEAT;
use crate::protocol::{self, ErrorType, TraceContext, check_text};
use crate::session::Position;

/// How many messages a page of the history has without `limit`.
pub const DEFAULT_PAGE: u64 = 50;
/// The most that it may ask for (wire contract).
pub const MAX_PAGE: u64 = 200;
/// The most bytes that the texts of a page have as JSON; one message is a page, however long it is.
const PAGE_BYTES: usize = 1024 * 1024;
/// The most messages that `last` may ask for (wire contract).
pub const MAX_LAST: u64 = 200;

#[derive(Debug, Object)]
pub struct Sender {
    id: i64,
    username: String,
}

#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct Message {
    /// `message`.
    r#type: String,
    room: String,
    /// Its place in the room: 1, 2, 3 …
    seq: u64,
    /// A UUIDv7.
    id: String,
    sender: Sender,
    text: String,
    /// Milliseconds since the Unix epoch.
    create_time: i64,
}

impl From<protocol::Message> for Message {
    fn from(message: protocol::Message) -> Self {
        Self {
            r#type: "message".to_owned(),
            room: message.room,
            seq: message.seq.0,
            id: message.id.to_string(),
            sender: Sender {
                id: message.sender.id.0,
                username: message.sender.username,
            },
            text: message.text,
            create_time: message.create_time,
        }
    }
}

#[derive(Debug, Object)]
pub struct History {
    /// Oldest first.
    messages: Vec<Message>,
    /// The room's last `seq`; 0 where nothing was said yet.
    seq: u64,
    /// Whether there is more in the direction that was asked for.
    more: bool,
}

#[derive(Debug, Object, Deserialize)]
#[oai(rename = "MessageDraft")] // `NewMessage` is what Go calls the maker of a `Message`
pub struct NewMessage {
    /// Not only white space, no U+0000. Its length is counted in bytes of UTF-8.
    text: String,
    /// Your own name for it: the same one again gets the first message back.
    #[serde(default, deserialize_with = "crate::protocol::present")]
    nonce: Option<String>,
}

#[derive(ApiResponse)]
pub enum Published {
    /// The message is durable.
    #[oai(status = 201)]
    New(Json<Envelope<Message>>),
    /// The nonce was used before: this is the first message.
    #[oai(status = 200)]
    Before(Json<Envelope<Message>>),
}

/// A page of the history in the making, nearest first in the direction of reading.
struct Page {
    limit: u64,
    after: Option<Seq>,
    before: Option<Seq>,
    messages: Vec<protocol::Message>,
    bytes: usize,
    more: bool,
    done: bool,
}

impl Page {
    const fn of(limit: u64, after: Option<Seq>, before: Option<Seq>) -> Self {
        Self {
            limit,
            after,
            before,
            messages: Vec::new(),
            bytes: 0,
            more: false,
            done: false,
        }
    }

    /// After and before what, and how many, to read next: one more than the limit, which says whether there is more.
    fn lacks(&self, at_once: u64) -> Option<(Option<Seq>, Option<Seq>, u64)> {
        let farthest = self.messages.last().map(|message| message.seq);
        let (after, before) = match self.after {
            Some(after) => (farthest.or(Some(after)), self.before),
            None => (None, farthest.or(self.before)),
        };
        let lacking = self.limit + 1 - self.messages.len() as u64;
        (!self.done).then_some((after, before, lacking.min(at_once)))
    }

    /// What was read, oldest first, where `wanted` were asked for.
    fn add(&mut self, mut messages: Vec<protocol::Message>, wanted: u64) {
        self.done = (messages.len() as u64) < wanted;
        if self.after.is_none() {
            messages.reverse();
        }
        for message in messages {
            self.bytes += escaped(&message.text);
            let full = self.messages.len() as u64 == self.limit || self.bytes > PAGE_BYTES;
            if full && !self.messages.is_empty() {
                (self.more, self.done) = (true, true);
                return;
            }
            self.messages.push(message);
        }
    }

    /// Oldest first, and whether there is more.
    fn in_order(mut self) -> (Vec<protocol::Message>, bool) {
        if self.after.is_none() {
            self.messages.reverse();
        }
        (self.messages, self.more)
    }
}

/// How many bytes a text has as a string of JSON.
fn escaped(text: &str) -> usize {
    let byte = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0x00..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(byte).sum()
}

#[derive(Debug)]
pub struct Messages;

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Rooms")]
impl Messages {
    /// Read a room's history. Without `before` and `after`: the newest messages.
    #[oai(path = "/rooms/:room/messages", method = "get", operation_id = "readHistory")]
    async fn history(
        &self,
        api: Data<&Arc<Api>>,
        room: Path<String>,
        /// Only messages with a smaller `seq`.
        before: Query<Option<u64>>,
        /// Only messages with a greater `seq`, and those next to it.
        after: Query<Option<u64>>,
        /// How many at most.
        limit: Query<Option<u64>>,
    ) -> Result<Json<Envelope<History>>, ApiError> {
        let room = room_name(&room)?;
        let (before, after) = (seq_in_range(before.0)?, seq_in_range(after.0)?);
        let limit = limit.0.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            let message = format!("`limit` is 1 to {MAX_PAGE}");
            return Err(ApiError::new(ErrorType::BadBinding, message));
        }
        let store = &api.replica.store;
        // The head first, so that it is never behind the messages by more than what came in between.
        let head = api.replica.rooms.stored_head(room.id()).await?;
        // As many at a time as can be had without holding many times a page.
        let longest = api.replica.rules.message_max_bytes.max(1);
        let at_once = (PAGE_BYTES / longest).max(1) as u64;
        let mut page = Page::of(limit, after, before);
        while let Some((after, before, wanted)) = page.lacks(at_once) {
            let messages = store.messages(&room, after, before, wanted).await?;
            page.add(messages, wanted);
        }
        let (messages, more) = page.in_order();
        let seq = messages.last().map_or(head, |newest| head.max(newest.seq));
        let messages = messages.into_iter().map(Message::from).collect();
        Ok(Json(Envelope::of(History {
            messages,
            seq: seq.0,
            more,
        })))
    }

    /// Publish a message. Answered when it is durable.
    #[oai(path = "/rooms/:room/messages", method = "post", operation_id = "sendMessage")]
    async fn publish(
        &self,
        api: Data<&Arc<Api>>,
        caller: Caller,
        room: Path<String>,
        message: Strict<NewMessage>,
    ) -> Result<Published, ApiError> {
        let room = room_name(&room)?;
        let NewMessage { text, nonce } = message.0;
        let nonce = nonce.map(Nonce::parse).transpose()?;
        check_text(&text, api.replica.rules.message_max_bytes).map_err(|(kind, message)| match kind {
            ErrorType::TextTooLong => ApiError::new(ErrorType::TooLarge, message),
            kind => ApiError::new(kind, message),
        })?;
        let sender = caller.user().clone();
        api.replica.limits.publishes.take(sender.id, 1.0)?;
        let message = protocol::NewMessage {
            text: text.clone(),
            nonce,
            trace: None,
        };
        let place = (&room, room.id());
        let publishing = &api.replica.publishing;
        let in_flight = publishing.submit(&sender, place, message, TraceContext::current())?;
        let committed = in_flight.await?;
        let appended = committed.appended;
        if appended.repeated {
            api.replica.limits.publishes.give_back(&sender.id, 1.0 - REPEAT);
            let first = api.replica.store.message_at(&room, appended.seq).await?;
            let first = first.ok_or_else(|| ApiError::internal(&"a stored message is gone"))?;
            return Ok(Published::Before(Json(Envelope::of(first.into()))));
        }
        let (at, created_at) = (appended.point(), committed.created_at);
        let message = protocol::Message::new(&room, at, &sender, text, created_at);
        Ok(Published::New(Json(Envelope::of(message.into()))))
    }

    /// Follow a room: a WebSocket, for a library of its own. The token is the first subprotocol, or a bearer; without one the
    /// session is read only. API.md describes the frames.
    #[oai(
        path = "/rooms/:room/messages/ws",
        method = "get",
        operation_id = "followRoom"
    )]
    async fn join(
        &self,
        request: &Request,
        api: Data<&Arc<Api>>,
        room: Path<String>,
        /// Resume after this `seq`.
        after: Query<Option<u64>>,
        /// The id of the message at `after`: resumes only if it is still the same one.
        id: Query<Option<String>>,
        /// Begin so many messages back.
        last: Query<Option<u64>>,
    ) -> Result<Upgrade, ApiError> {
        let room = room_name(&room)?;
        let position = position(seq_in_range(after.0)?, id.0, last.0)?;
        api.upgrade(request, &room, position).await
    }
}

fn room_name(raw: &str) -> Result<RoomName, ApiError> {
    RoomName::parse(raw).map_err(|e| ApiError::new(ErrorType::BadRoom, e.to_string()))
}

fn seq_in_range(seq: Option<u64>) -> Result<Option<Seq>, ApiError> {
    match seq {
        Some(seq) if seq > Seq::MAX.0 => Err(ApiError::new(
            ErrorType::BadBinding,
            format!("a seq is at most {}", Seq::MAX),
        )),
        seq => Ok(seq.map(Seq)),
    }
}

fn position(after: Option<Seq>, id: Option<String>, last: Option<u64>) -> Result<Position, ApiError> {
    let bad = |message: &str| Err(ApiError::new(ErrorType::BadBinding, message));
    let Ok(id) = id.map(|id| id.parse()).transpose() else {
        return bad("`id` is the UUID of the message at `after`");
    };
    match (after, id, last) {
        (None, None, None) => Ok(Position::Head),
        (None, None, Some(count)) if count <= MAX_LAST => Ok(Position::Last(count)),
        (None, None, Some(_)) => bad("`last` is at most 200"),
        (Some(seq), id, None) => Ok(Position::After { seq, id }),
        (Some(_), _, Some(_)) => bad("`after` and `last` exclude each other"),
        (None, Some(_), _) => bad("`id` goes with `after`"),
    }
}
