//! chat-gateway: a room is a log, a session is a cursor over it.
//!
//! The way of a message, and of a reader through this crate:
//!
//! 1. [`http`] accepts a connection, checks the handshake ([`auth`], [`limits`]) and hands the socket over;
//! 2. a [`session`] reads a command from it and gives a draft to the journal;
//! 3. the [`journal`] stores drafts in groups: the [`store`] gives each its room's next `seq`. Now it is durable,
//!    and only now anybody sees it;
//! 4. the [`relay`] tells the other replicas, through Redis;
//! 5. the [`room`] appends it strictly by `seq`, repairs what is missing from the store, and rings;
//! 6. what lies between a session's cursor and the head is written to its socket: by the room's row, for all
//!    sessions at once that stand at the head and have nothing left over, else by the session's own task, from the
//!    room's warm log or from the store.
//!
//! Around it: [`config`] says what can be set, [`app`] builds the parts and runs them until told to stop,
//! [`memory`] says what its parts may hold, [`drain`] lets the sessions leave, [`protocol`] is the wire, [`ws`] is
//! WebSocket, [`ids`] are the names, [`web`] is the page; [`telemetry`], [`metrics`], [`health`] and [`busiest`] are
//! what operators see. Each module knows only those below it: `layers` is the list, and a test.
//!
//! Invariants, named I1–I8 in comments and tests: I1 durable before visible · I2 one order without holes · I3
//! resume is exact or says that it is not · I4 a retry is stored once · I5 Redis holds nothing that matters ·
//! I6 replicas hold nothing that matters · I7 everything is bounded · I8 a stranger's cost is small.

pub mod app;
pub mod auth;
pub mod busiest;
pub mod clock;
pub mod config;
pub mod data_dir;
pub mod drain;
pub mod health;
pub mod http;
pub mod ids;
pub mod journal;
#[cfg(test)]
mod layers;
pub mod limits;
pub mod memory;
pub mod metrics;
pub mod protocol;
pub mod publish;
pub mod relay;
pub mod replica;
pub mod room;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod tools;
pub mod web;
pub mod ws;
