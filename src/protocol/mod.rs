//! The wire, as types: what `API.md` says. Nothing here knows a socket or a database.

mod command;
mod error;
mod event;
mod trace_context;

pub use command::{BadCommand, Command, NewMessage, check_text, parse_command};
pub(crate) use command::{present, read_object};
pub use error::{Close, ErrorType};
pub use event::{Message, Pace, Sender, ack, error, joined, pong, reconnect};
pub use trace_context::TraceContext;
