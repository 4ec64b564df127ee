//! The login that follows a sign-up. Whoever was let in by the one limit is not kept out by the other: it is not counted,
//! once, for that account from that address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long after the sign-up.
pub(super) const KEPT: Duration = Duration::from_secs(60);

/// Who has signed up at this replica and not logged in yet. As many as can sign up in the meantime.
#[derive(Debug, Default)]
pub(super) struct Newcomers(Mutex<HashMap<(IpAddr, String), Instant>>);

impl Newcomers {
    pub fn add(&self, from: IpAddr, account: &str) {
        self.0.lock().insert((from, account.to_owned()), Instant::now());
    }

    /// True once.
    pub fn take(&self, from: IpAddr, account: &str) -> bool {
        let added = self.0.lock().remove(&(from, account.to_owned()));
        added.is_some_and(|added| added.elapsed() < KEPT)
    }

    pub fn forget_the_quiet(&self) {
        let mut newcomers = self.0.lock();
        newcomers.retain(|_, added| added.elapsed() < KEPT);
        newcomers.shrink_to_fit();
    }
}
