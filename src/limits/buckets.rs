//! A bucket for each person or address: of messages over HTTP, and of bytes that sessions are fed with.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Bucket, Exceeded, Hits, network};
use crate::protocol::Pace;

/// A bucket for each key, which can be given back to.
#[derive(Debug)]
pub struct Buckets<K> {
    pace: Option<Pace>,
    used: Mutex<HashMap<K, Bucket>>,
    hits: Hits,
}

impl<K: Hash + Eq> Buckets<K> {
    pub(super) fn new(pace: Option<Pace>, hits: Hits) -> Self {
        let used = Mutex::default();
        Self { pace, used, hits }
    }

    pub fn take(&self, key: K, cost: f64) -> Result<(), Exceeded> {
        let Some(pace) = self.pace else { return Ok(()) };
        let now = Instant::now();
        let mut used = self.used.lock();
        let bucket = used.entry(key).or_insert_with(|| Bucket::full(pace, now));
        bucket.take(cost, now).map_err(|retry_after| {
            self.hits.count();
            Exceeded { retry_after }
        })
    }

    pub fn give_back(&self, key: &K, tokens: f64) {
        if let Some(bucket) = self.used.lock().get_mut(key) {
            bucket.give_back(tokens);
        }
    }

    /// Takes `tokens` on credit: who asked first is served first, each after its own wait.
    fn reserve_for(&self, key: K, tokens: usize) -> Reservation<'_, K>
    where
        K: Copy,
    {
        let mut wait = Duration::ZERO;
        if let Some(pace) = self.pace {
            let now = Instant::now();
            let mut used = self.used.lock();
            let bucket = used.entry(key).or_insert_with(|| Bucket::full(pace, now));
            wait = bucket.wait(tokens as f64, now);
            bucket.spend(tokens as f64, now);
        }
        if !wait.is_zero() {
            self.hits.count();
        }
        Reservation {
            buckets: self,
            key,
            tokens,
            wait,
        }
    }

    pub(super) fn forget_the_quiet(&self) {
        let now = Instant::now();
        let mut used = self.used.lock();
        used.retain(|_, bucket| !bucket.is_full(now));
        used.shrink_to_fit();
    }
}

impl Buckets<IpAddr> {
    pub fn reserve(&self, address: IpAddr, tokens: usize) -> Reservation<'_, IpAddr> {
        self.reserve_for(network(address), tokens)
    }
}

/// Tokens that were taken on credit; what is not used is given back.
#[derive(Debug)]
pub struct Reservation<'a, K: Hash + Eq> {
    buckets: &'a Buckets<K>,
    key: K,
    tokens: usize,
    wait: Duration,
}

impl<K: Hash + Eq> Reservation<'_, K> {
    /// How long until they are there.
    pub const fn wait(&self) -> Duration {
        self.wait
    }

    /// So many of them were needed.
    pub fn used(mut self, tokens: usize) {
        self.tokens = self.tokens.saturating_sub(tokens);
    }
}

impl<K: Hash + Eq> Drop for Reservation<'_, K> {
    fn drop(&mut self) {
        self.buckets.give_back(&self.key, self.tokens as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Limit, Metrics};

    #[test]
    fn what_is_reserved_is_waited_for_and_what_is_not_used_comes_back() {
        let hits = Hits::of(Limit::CatchUp, &Metrics::default());
        let buckets = Buckets::new(Some(Pace::of(1000)), hits);
        let address = IpAddr::from([192, 0, 2, 1]);
        let first = buckets.reserve(address, 2000);
        assert_eq!(first.wait(), Duration::ZERO, "the burst");
        let second = buckets.reserve(address, 1000);
        let wait = second.wait();
        assert!(wait > Duration::from_millis(900), "{wait:?}");
        let other = buckets.reserve(IpAddr::from([192, 0, 2, 2]), 1000);
        assert_eq!(other.wait(), Duration::ZERO, "somebody else");
        // One was hardly needed, the other is given up.
        first.used(500);
        drop(second);
        assert_eq!(buckets.reserve(address, 1500).wait(), Duration::ZERO);
    }
}
