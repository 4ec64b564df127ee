//! What a replica does again and again beside its clients.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::auth::Hasher;
use crate::config::Settings;
use crate::memory::Trim;
use crate::replica::Replica;

/// How often empty rooms are looked for.
const SWEEP: Duration = Duration::from_millis(500);
/// How often the log's size is asked for.
const MEASURE: Duration = Duration::from_secs(60);
/// How often addresses and people that have been quiet are forgotten.
const FORGET: Duration = Duration::from_secs(10);
/// How often it is looked whether the allocator keeps much.
const TRIM: Duration = Duration::from_secs(20);

/// Begins all of it, until the workers are stopped.
pub fn start(replica: &Arc<Replica>, hasher: &Hasher, settings: &Settings, stop: &CancellationToken) {
    let workers = &replica.tools.workers;
    let rooms = replica.rooms.clone();
    workers.spawn(repeat(SWEEP, stop.clone(), move || rooms.retire()));
    let (trim, blocking) = (Arc::new(Trim::default()), workers.clone());
    workers.spawn(repeat(TRIM, stop.clone(), move || {
        let trim = trim.clone();
        blocking.spawn_blocking(move || trim.if_grown());
    }));
    // The limits' books are as long as there are people who are busy (I7).
    let (books, pieces) = (replica.clone(), hasher.clone());
    workers.spawn(repeat(FORGET, stop.clone(), move || {
        books.limits.forget_the_quiet();
        pieces.forget_the_idle();
    }));
    let measured = replica.clone();
    workers.spawn(repeat_waiting(MEASURE, stop.clone(), move || {
        measure(measured.clone())
    }));
    let checked = replica.clone();
    let period = Duration::from_millis(settings.head_check_ms);
    workers.spawn(repeat_waiting(period, stop.clone(), move || {
        check_heads(checked.clone())
    }));
}

/// Does the same again and again until told to stop.
async fn repeat(period: Duration, stop: CancellationToken, act: impl Fn()) {
    repeat_waiting(period, stop, || {
        act();
        std::future::ready(())
    })
    .await;
}

/// The same for what may take longer than the period.
async fn repeat_waiting<F: Future<Output = ()>>(
    period: Duration,
    stop: CancellationToken,
    act: impl Fn() -> F,
) {
    let mut every = interval(period);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = stop.cancelled() => return,
        }
        act().await;
    }
}

/// Finds what was published while nobody was listening (I5).
async fn check_heads(replica: Arc<Replica>) {
    let rooms = replica.rooms.ids();
    let (wait, checked) = tokio::join!(
        replica.store.wait_for_connection(),
        replica.rooms.check_heads(&rooms)
    );
    replica.metrics().store_waited(wait);
    if let Err(e) = checked {
        tracing::debug!(error = %e, "the rooms' heads cannot be read");
    }
}

/// Looks how much the log has grown.
async fn measure(replica: Arc<Replica>) {
    match replica.store.size().await {
        Ok(size) => replica.metrics().store_size(size.bytes, size.messages),
        Err(e) => tracing::debug!(error = %e, "the log's size cannot be read"),
    }
}
