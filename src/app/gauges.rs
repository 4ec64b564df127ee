//! Gauges that are looked up when somebody asks: what the parts of this replica hold, each beside its bound.

use std::sync::{Arc, Weak};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::auth::Hasher;
use crate::memory::Share;
use crate::replica::Replica;
use crate::room::EMPTY;

/// The callbacks outlive the replica and must not hold it. `connections`: as many as there may be.
pub fn observe(meter: &Meter, replica: &Arc<Replica>, hasher: &Hasher, connections: usize) {
    let replica = Arc::downgrade(replica);
    let gauge = Gauges { meter, replica };
    let (busy, limit) = (hasher.clone(), hasher.limit() as u64);
    gauge.add(
        "chat.password.busy",
        "Passwords that are hashed or wait for it.",
        move |_| busy.busy() as u64,
    );
    gauge.add(
        "chat.password.busy_limit",
        "The most of chat_password_busy.",
        move |_| limit,
    );
    gauge.add(
        "chat.connections_limit",
        "The most of chat_connections.",
        move |_| connections as u64,
    );
    gauge.add("chat.rooms", "Rooms that are live here.", |replica| {
        replica.rooms.len() as u64
    });
    gauge.add(
        "chat.rooms_empty",
        "Rooms that are live here without a session.",
        |replica| replica.rooms.empty() as u64,
    );
    gauge.add(
        "chat.rooms_empty_limit",
        "The most of chat_rooms_empty, but for half a second.",
        |_| EMPTY as u64,
    );
    gauge.add(
        "chat.slow_sessions",
        "Sessions whose socket takes nothing more just now.",
        |replica| replica.rooms.slow_sessions() as u64,
    );
    gauge.add(
        "chat.journal.depth",
        "Messages that wait for a commit.",
        |replica| replica.publishing.journal.depth() as u64,
    );
    gauge.add(
        "chat.journal.depth_limit",
        "The most of chat_journal_depth.",
        |replica| replica.publishing.journal.limit() as u64,
    );
    gauge.add("chat.draining", "1 while the replica is leaving.", |replica| {
        replica.drain.begun().into()
    });
    gauge.add(
        "chat.store.connections_limit",
        "The most of chat_store_connections.",
        |replica| replica.store.connections().most.into(),
    );
    gauge.add(
        "chat.store.up",
        "1 while the database answers and takes writes.",
        |replica| replica.store.outages().is_up().into(),
    );
    gauge.add_connections();
    gauge.add_store_failures();
    gauge.add_memory(
        "chat.memory.held",
        "Memory of each share of MEMORY_MAX in use.",
        Share::held,
    );
    gauge.add_memory(
        "chat.memory.limit",
        "The most of chat_memory_held_bytes.",
        Share::limit,
    );
    gauge.add_drain_left();
}

struct Gauges<'a> {
    meter: &'a Meter,
    replica: Weak<Replica>,
}

impl Gauges<'_> {
    fn add(
        &self,
        name: &'static str,
        text: &'static str,
        value: impl Fn(&Replica) -> u64 + Send + Sync + 'static,
    ) {
        let replica = self.replica.clone();
        self.meter
            .u64_observable_gauge(name)
            .with_description(text)
            .with_callback(move |observer| {
                if let Some(replica) = replica.upgrade() {
                    observer.observe(value(&replica), &[]);
                }
            })
            .build();
    }

    fn add_connections(&self) {
        let replica = self.replica.clone();
        self.meter
            .u64_observable_gauge("chat.store.connections")
            .with_description("Connections to the database.")
            .with_callback(move |observer| {
                let Some(replica) = replica.upgrade() else { return };
                let connections = replica.store.connections();
                for (state, count) in [("idle", connections.idle), ("used", connections.used)] {
                    observer.observe(count.into(), &[KeyValue::new("state", state)]);
                }
            })
            .build();
    }

    fn add_memory(&self, name: &'static str, text: &'static str, value: fn(&Share) -> usize) {
        let replica = self.replica.clone();
        self.meter
            .u64_observable_gauge(name)
            .with_unit("By")
            .with_description(text)
            .with_callback(move |observer| {
                let Some(replica) = replica.upgrade() else { return };
                for (name, share) in replica.memory.shares() {
                    observer.observe(value(share) as u64, &[KeyValue::new("share", name)]);
                }
            })
            .build();
    }

    fn add_store_failures(&self) {
        let replica = self.replica.clone();
        self.meter
            .u64_observable_counter("chat.store.failures")
            .with_description("Work that the database did not do, by cause.")
            .with_callback(move |observer| {
                let Some(replica) = replica.upgrade() else { return };
                for (cause, count) in replica.store.outages().counts() {
                    observer.observe(count, &[KeyValue::new("cause", cause.name())]);
                }
            })
            .build();
    }

    fn add_drain_left(&self) {
        let replica = self.replica.clone();
        self.meter
            .f64_observable_gauge("chat.drain.left")
            .with_unit("s")
            .with_description("What is left of the drain window; 0 where the replica is not leaving.")
            .with_callback(move |observer| {
                if let Some(replica) = replica.upgrade() {
                    observer.observe(replica.drain.left().as_secs_f64(), &[]);
                }
            })
            .build();
    }
}
