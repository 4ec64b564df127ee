//! How much one address, one person and one session may do; 0 in the configuration is no limit.
//!
//! Rates are held per replica in memory. Sign-ups and logins are counted in Redis too, so that a guesser
//! gains nothing from more replicas; where Redis does not answer, this replica's own count decides.

mod bucket;
mod buckets;
mod newcomers;
mod shared;

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;

use crate::ids::{UserId, Username};
use crate::metrics::{Limit, Metrics};
use crate::protocol::Pace;
pub use bucket::Bucket;
pub use buckets::{Buckets, Reservation};
use newcomers::Newcomers;
use shared::Count;
pub use shared::SharedCounts;

/// What is left to pay for a message that was stored before: it cost a read, not a commit.
pub const REPEAT: f64 = 0.1;

/// Too much; come back later.
#[derive(Debug, Clone, Copy)]
pub struct Exceeded {
    pub retry_after: Duration,
}

/// The limits of this replica, from the configuration (wire contract: `LIMIT_*`).
#[derive(Debug)]
pub struct Limits {
    pub signups: Rate<IpAddr>,
    pub logins: Rate<IpAddr>,
    pub requests: Rate<IpAddr>,
    pub publishes: Buckets<UserId>,
    /// Connections that are no sessions.
    pub connections_per_address: Places<IpAddr>,
    /// Bytes that sessions are fed from the store with.
    pub catch_up: Buckets<IpAddr>,
    pub sessions_per_address: Places<IpAddr>,
    pub sessions_per_user: Places<UserId>,
    /// Of a session's messages, and of a user's over HTTP; `None`: no limit.
    pub messages: Option<Pace>,
    newcomers: Newcomers,
    shared: Option<SharedCounts>,
}

/// What the limits are set to.
#[derive(Debug, Clone, Copy)]
pub struct Allowances {
    pub messages_per_second: u32,
    pub signups_per_minute: u32,
    pub logins_per_minute: u32,
    pub requests_per_second: u32,
    pub connections_per_address: u32,
    pub catch_up_bytes_per_second: u32,
    pub sessions_per_address: u32,
    pub sessions_per_user: u32,
}

impl Limits {
    pub fn new(settings: Allowances, shared: Option<SharedCounts>, metrics: &Metrics) -> Self {
        let second = |n| NonZeroU32::new(n).map(request_quota);
        let pace = |n: u32| (n > 0).then(|| Pace::of(n));
        let (messages, catch_up) = (
            pace(settings.messages_per_second),
            pace(settings.catch_up_bytes_per_second),
        );
        let minute = |n| NonZeroU32::new(n).map(Quota::per_minute);
        Self {
            signups: Rate::new(
                settings.signups_per_minute,
                minute(settings.signups_per_minute),
                Hits::of(Limit::Signups, metrics),
            ),
            logins: Rate::new(
                settings.logins_per_minute,
                minute(settings.logins_per_minute),
                Hits::of(Limit::Logins, metrics),
            ),
            requests: Rate::new(
                settings.requests_per_second,
                second(settings.requests_per_second),
                Hits::of(Limit::Requests, metrics),
            ),
            publishes: Buckets::new(messages, Hits::of(Limit::Messages, metrics)),
            connections_per_address: Places::new(
                settings.connections_per_address,
                Hits::of(Limit::ConnectionsPerAddress, metrics),
            ),
            catch_up: Buckets::new(catch_up, Hits::of(Limit::CatchUp, metrics)),
            sessions_per_address: Places::new(
                settings.sessions_per_address,
                Hits::of(Limit::SessionsPerAddress, metrics),
            ),
            sessions_per_user: Places::new(
                settings.sessions_per_user,
                Hits::of(Limit::SessionsPerUser, metrics),
            ),
            messages,
            newcomers: Newcomers::default(),
            shared,
        }
    }

    /// Somebody has signed up: the login that follows is not counted, on whatever replica.
    pub async fn welcome(&self, address: IpAddr, name: &Username) {
        if self.logins.limit == 0 {
            return;
        }
        self.newcomers.add(network(address), name.key());
        if let Some(shared) = &self.shared {
            shared
                .welcome(network(address), name.key(), &self.logins.hits.metrics)
                .await;
        }
    }

    /// Counts one login, unless it is the first of somebody who has just signed up.
    pub async fn check_login(&self, address: IpAddr, name: Option<&Username>) -> Result<(), Exceeded> {
        if let Some(name) = name.filter(|_| self.logins.limit > 0) {
            let (from, account) = (network(address), name.key());
            let mut newcomer = self.newcomers.take(from, account);
            if let Some(shared) = &self.shared {
                newcomer = shared.take_newcomer(from, account).await.unwrap_or(newcomer);
            }
            if newcomer {
                return Ok(());
            }
        }
        self.check_everywhere(&self.logins, address).await
    }

    /// Counts one try, here and, if it is allowed here, among all replicas.
    pub async fn check_everywhere(&self, rate: &Rate<IpAddr>, address: IpAddr) -> Result<(), Exceeded> {
        rate.check(address)?;
        let (Some(shared), true) = (&self.shared, rate.limit > 0) else {
            return Ok(());
        };
        let Hits { limit, metrics } = &rate.hits;
        match shared.count(limit.name(), network(address), metrics).await {
            Some(Count { tries, left }) if tries > u64::from(rate.limit) => {
                rate.hits.count();
                Err(Exceeded {
                    retry_after: Duration::from_secs(left.max(1)),
                })
            }
            _ => Ok(()),
        }
    }

    /// Forgets addresses and people that have been quiet for long enough to start anew.
    pub fn forget_the_quiet(&self) {
        self.signups.forget_the_quiet();
        self.logins.forget_the_quiet();
        self.requests.forget_the_quiet();
        self.publishes.forget_the_quiet();
        self.catch_up.forget_the_quiet();
        self.newcomers.forget_the_quiet();
    }
}

/// A burst of two seconds.
fn request_quota(per_second: NonZeroU32) -> Quota {
    Quota::per_second(per_second).allow_burst(per_second.saturating_mul(NonZeroU32::MIN.saturating_add(1)))
}

/// A rate for each key.
#[derive(Debug)]
pub struct Rate<K: Hash + Eq + Clone> {
    limit: u32,
    limiter: Option<DefaultKeyedRateLimiter<K>>,
    hits: Hits,
}

/// Counts who runs into a limit.
#[derive(Debug, Clone)]
struct Hits {
    limit: Limit,
    metrics: Metrics,
}

impl Hits {
    fn of(limit: Limit, metrics: &Metrics) -> Self {
        Self {
            limit,
            metrics: metrics.clone(),
        }
    }

    fn count(&self) {
        self.metrics.limit_hit(self.limit);
    }
}

impl<K: Hash + Eq + Clone> Rate<K> {
    fn new(limit: u32, quota: Option<Quota>, hits: Hits) -> Self {
        Self {
            limit,
            limiter: quota.map(RateLimiter::keyed),
            hits,
        }
    }

    fn check_key(&self, key: &K) -> Result<(), Exceeded> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        limiter.check_key(key).map_err(|e| {
            self.hits.count();
            Exceeded {
                retry_after: e.wait_time_from(DefaultClock::default().now()),
            }
        })
    }

    fn forget_the_quiet(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

impl Rate<IpAddr> {
    pub fn check(&self, address: IpAddr) -> Result<(), Exceeded> {
        self.check_key(&network(address))
    }
}

/// Whom an address belongs to: one IPv4 address, or the /64 that an IPv6 customer gets.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// How many sessions each key has, up to a limit. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Places<K> {
    taken: Arc<Mutex<HashMap<K, u32>>>,
    limit: u32,
    hits: Hits,
}

/// A taken place, free again when dropped.
#[derive(Debug)]
pub struct Place<K: Hash + Eq>(Option<(Places<K>, K)>);

impl<K: Hash + Eq + Copy> Places<K> {
    fn new(limit: u32, hits: Hits) -> Self {
        Self {
            taken: Arc::default(),
            limit,
            hits,
        }
    }

    /// `None`: all are taken.
    pub fn take(&self, key: K) -> Option<Place<K>> {
        if self.limit == 0 {
            return Some(Place(None));
        }
        let mut taken = self.taken.lock();
        let count = taken.entry(key).or_insert(0);
        if *count >= self.limit {
            self.hits.count();
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Place(Some((self.clone(), key))))
    }
}

impl<K: Hash + Eq> Drop for Place<K> {
    fn drop(&mut self) {
        let Some((places, key)) = self.0.take() else {
            return;
        };
        let mut taken = places.taken.lock();
        if let Some(count) = taken.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_been_quiet_is_forgotten() {
        let second = NonZeroU32::new(50).map(Quota::per_second);
        let rate = Rate::new(50, second, Hits::of(Limit::Requests, &Metrics::default()));
        let held = || rate.limiter.as_ref().unwrap().len();
        for n in 0..1000u32 {
            rate.check(IpAddr::from(n.to_be_bytes())).unwrap();
        }
        assert_eq!(held(), 1000);
        // A key is quiet when its rate has made up for what it used: here after a fiftieth of a second.
        let forgetting = async {
            while held() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                rate.forget_the_quiet();
            }
        };
        let limit = Duration::from_secs(10);
        let forgotten = tokio::time::timeout(limit, forgetting).await;
        assert!(forgotten.is_ok(), "{} keys are held", held());
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let places = Places::new(2, Hits::of(Limit::SessionsPerUser, &Metrics::default()));
        let (a, _b) = (places.take(1).unwrap(), places.take(1).unwrap());
        assert!(places.take(1).is_none());
        let _other = places.take(2).unwrap();
        drop(a);
        let again = places.take(1);
        assert!(again.is_some());
        drop((_b, again, _other));
        assert!(places.taken.lock().is_empty());
    }

    #[test]
    fn an_ipv6_customer_is_one_key() {
        let parse = |a: &str| network(a.parse().unwrap());
        assert_eq!(parse("2001:db8::1"), parse("2001:db8::2"));
        assert_ne!(parse("2001:db8:0:1::1"), parse("2001:db8::1"));
        assert_eq!(parse("::ffff:10.0.0.1"), parse("10.0.0.1"));
    }
}
