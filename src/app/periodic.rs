//! What a replica does again and again beside its clients.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::session::Context;

/// How often empty rooms are looked for.
pub const SWEEP: Duration = Duration::from_millis(500);
/// How often the log's size is asked for.
pub const MEASURE: Duration = Duration::from_secs(60);
/// How often addresses and people that have been quiet are forgotten.
pub const FORGET: Duration = Duration::from_secs(10);
/// How often it is looked whether the allocator keeps much.
pub const TRIM: Duration = Duration::from_secs(20);

/// Does the same again and again until told to stop.
pub async fn repeat(period: Duration, stop: CancellationToken, act: impl Fn()) {
    repeat_waiting(period, stop, || {
        act();
        std::future::ready(())
    })
    .await;
}

/// The same for what may take longer than the period.
pub async fn repeat_waiting<F: Future<Output = ()>>(
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
pub async fn check_heads(context: Arc<Context>) {
    let rooms = context.rooms.ids();
    let (wait, checked) = tokio::join!(
        context.store.wait_for_connection(),
        context.rooms.check_heads(&rooms)
    );
    context.metrics.store_waited(wait);
    if let Err(e) = checked {
        tracing::debug!(error = %e, "the rooms' heads cannot be read");
    }
}

/// Looks how much the log has grown.
pub async fn measure(context: Arc<Context>) {
    match context.store.size().await {
        Ok(size) => context.metrics.store_size(size.bytes, size.messages),
        Err(e) => tracing::debug!(error = %e, "the log's size cannot be read"),
    }
}
