//! What several replicas promise together (I1 to I6), shown on real Postgres, real Redis and real sockets, while
//! the network loses messages, Redis goes away and replicas are killed.
#![cfg(test)]

use std::path::Path;
use std::time::Duration;

mod cluster {
    mod backup;
    mod batches;
    mod beginning;
    mod chaos;
    mod counters;
    mod crowd;
    mod database_away;
    mod drain;
    mod durable;
    mod failover;
    mod faulty_redis;
    mod forged;
    mod linger;
    mod memory;
    mod migrate;
    mod nonce;
    mod older_copy;
    mod pooler;
    mod prefix;
    mod ready;
    mod redis_away;
    mod release_before;
    mod resume;
    mod rights;
    mod sizing;
    mod slow;
    mod upgrade;
    mod warmth;
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_chat-gateway"))
}

/// How long what must happen may take on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
