//! Who gets one of a listener's places. Nobody waits for one: who is not let in is cut off at once, so that a balancer can
//! try another replica, and the backlog holds nobody whose turn never comes.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::patience::Patience;
use crate::limits::{Place, Places, network};
use crate::metrics::{Limit, Metrics};

/// How long somebody who was cut off for another may take to go.
const LEAVE: Duration = Duration::from_secs(1);

/// A TCP connection, counted for as long as a clone of this lives.
#[derive(Debug, Clone)]
pub struct Connection {
    pub peer: SocketAddr,
    guest: Arc<Guest>,
}

#[derive(Debug)]
struct Guest {
    _permit: OwnedSemaphorePermit,
    address: Mutex<Option<Place<IpAddr>>>,
    patience: Patience,
    cut: Notify,
    metrics: Metrics,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.metrics.connection_closed();
    }
}

impl Connection {
    pub fn patience(&self) -> Patience {
        self.guest.patience.clone()
    }

    /// Waits until the place is needed for somebody else.
    pub async fn cut(&self) {
        self.guest.cut.notified().await;
    }

    /// It is a session now, which has limits of its own: another may come from this address.
    pub fn is_session(&self) {
        drop(self.guest.address.lock().take());
    }
}

/// The places of one listener.
#[derive(Debug)]
pub struct Admission {
    places: Arc<Semaphore>,
    metrics: Metrics,
    /// How long a connection may be without a request.
    keep_alive: Duration,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    /// One address has so many connections that are no sessions. A proxy's clients are not known yet.
    PerAddress(Places<IpAddr>, Vec<IpNet>),
    /// Who asks nothing makes room, the oldest first: a probe has to be answered whatever else hangs here.
    OldestLeaves(Mutex<Vec<Weak<Guest>>>),
}

impl Admission {
    pub fn of_clients(
        places: Arc<Semaphore>,
        keep_alive: Duration,
        per_address: Places<IpAddr>,
        proxies: Vec<IpNet>,
        metrics: Metrics,
    ) -> Self {
        Self {
            places,
            metrics,
            keep_alive,
            rule: Rule::PerAddress(per_address, proxies),
        }
    }

    pub fn of_operators(places: usize, keep_alive: Duration, metrics: Metrics) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            metrics,
            keep_alive,
            rule: Rule::OldestLeaves(Mutex::default()),
        }
    }

    /// `None`: there is no place for it, which has been counted.
    pub async fn admit(&self, peer: SocketAddr) -> Option<Connection> {
        let address = match &self.rule {
            Rule::PerAddress(places, proxies) => {
                let ip = peer.ip().to_canonical();
                match proxies.iter().any(|network| network.contains(&ip)) {
                    true => None,
                    false => Some(places.take(network(ip))?),
                }
            }
            Rule::OldestLeaves(_) => None,
        };
        let Some(permit) = self.permit().await else {
            self.metrics.limit_hit(Limit::Connections);
            return None;
        };
        self.metrics.connection_opened();
        let guest = Arc::new(Guest {
            _permit: permit,
            address: Mutex::new(address),
            patience: Patience::new(self.keep_alive),
            cut: Notify::new(),
            metrics: self.metrics.clone(),
        });
        if let Rule::OldestLeaves(guests) = &self.rule {
            guests.lock().push(Arc::downgrade(&guest));
        }
        Some(Connection { peer, guest })
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        let free = self.places.clone().try_acquire_owned().ok();
        let Rule::OldestLeaves(guests) = &self.rule else {
            return free;
        };
        if free.is_some() {
            return free;
        }
        {
            let mut guests = guests.lock();
            guests.retain(|guest| guest.strong_count() > 0);
            let idle = |guest: &Weak<Guest>| guest.upgrade().is_some_and(|guest| !guest.patience.is_busy());
            let oldest = guests.iter().position(idle)?;
            if let Some(oldest) = guests.remove(oldest).upgrade() {
                oldest.cut.notify_one();
            }
        }
        let left = tokio::time::timeout(LEAVE, self.places.clone().acquire_owned());
        left.await.ok()?.ok()
    }
}
