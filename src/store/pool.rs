//! The connections to Postgres: at most so many, each wait bounded, none used again after it failed.
//!
//! sqlx' own pool asks a connection that comes back whether it is well, and waits for the answer as long as it takes:
//! a server that froze takes places for ever. It also tries a refused port until its time is up, and then says "timed
//! out" instead of what was wrong. Here a connection that was in use when something went wrong is dropped, with all
//! that are idle: they lead to the same server.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Cause, StoreError};

/// How long a query waits for a connection, with making one.
pub(super) const ACQUIRE: Duration = Duration::from_secs(3);
/// How old a connection gets: servers' memory of one grows.
const OLD: Duration = Duration::from_secs(30 * 60);
/// How long one is kept that nobody needs.
const IDLE: Duration = Duration::from_secs(10 * 60);
/// How long a server may take to answer to the end what nobody waits for any more.
const MENDED: Duration = Duration::from_secs(2);
/// How long saying goodbye may take, for all of them.
const GOODBYE: Duration = Duration::from_secs(1);

/// How many connections there are.
#[derive(Debug, Clone, Copy)]
pub struct Connections {
    pub idle: u32,
    pub used: u32,
    /// As many as there may be.
    pub most: u32,
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: PgConnectOptions,
    most: u32,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
    /// Those whose caller went away: no more than there are places.
    mending: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    made: Instant,
    since: Instant,
}

/// A connection in use. Dropped, it is closed, unless it was given [`back`](Self::back).
#[derive(Debug)]
pub(super) struct Lease {
    connection: PgConnection,
    made: Instant,
    _place: OwnedSemaphorePermit,
}

impl Deref for Lease {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Pool {
    pub fn new(options: PgConnectOptions, most: u32) -> Self {
        Self(Arc::new(Shared {
            options,
            most,
            places: Arc::new(Semaphore::new(most as usize)),
            idle: Mutex::default(),
            mending: Mutex::default(),
        }))
    }

    pub async fn acquire(&self) -> Result<Lease, StoreError> {
        let deadline = Instant::now() + ACQUIRE;
        let place = match timeout_at(deadline, self.0.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(StoreError::unavailable(Cause::Closed)),
            Err(_) => return Err(StoreError::unavailable(Cause::Busy)),
        };
        if let Some(Idle { connection, made, .. }) = self.pop() {
            return Ok(Lease {
                connection,
                made,
                _place: place,
            });
        }
        let connection = match timeout_at(deadline, self.0.options.connect()).await {
            Ok(connection) => connection?,
            Err(_) => return Err(StoreError::unavailable(Cause::TimedOut)),
        };
        Ok(Lease {
            connection,
            made: Instant::now(),
            _place: place,
        })
    }

    fn pop(&self) -> Option<Idle> {
        let mut idle = self.0.idle.lock();
        // The newest are at the end, and taken first: those at the beginning are those that nobody needs.
        let stale = idle.iter().take_while(|one| one.since.elapsed() > IDLE).count();
        idle.drain(..stale);
        idle.pop()
    }

    /// For a connection that has answered everything.
    pub fn back(&self, lease: Lease) {
        let Lease {
            connection,
            made,
            _place: place,
        } = lease;
        if made.elapsed() < OLD && !self.0.places.is_closed() {
            self.0.idle.lock().push(Idle {
                connection,
                made,
                since: Instant::now(),
            });
        }
        drop(place);
    }

    /// For a connection whose caller went away before the server had answered: a stranger who hangs up must not cost a new
    /// one each time. It keeps its place until it is well, or has had its time.
    pub fn mend(&self, mut lease: Lease) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let pool = self.clone();
        let mut mending = self.0.mending.lock();
        while mending.try_join_next().is_some() {}
        let mend = async move {
            let well = sqlx::raw_sql("ROLLBACK").execute(&mut *lease);
            if matches!(timeout(MENDED, well).await, Ok(Ok(_))) {
                pool.back(lease);
            }
        };
        mending.spawn_on(mend, &runtime);
    }

    /// Those that are idle now are not used again: one that led to the same server has failed.
    pub fn forget_idle(&self) {
        self.0.idle.lock().clear();
    }

    pub fn connections(&self) -> Connections {
        let idle = u32::try_from(self.0.idle.lock().len()).unwrap_or(u32::MAX);
        let free = u32::try_from(self.0.places.available_permits()).unwrap_or(u32::MAX);
        Connections {
            idle,
            used: self.0.most.saturating_sub(free),
            most: self.0.most,
        }
    }

    /// Nobody gets a connection any more, and those that are idle say goodbye.
    pub async fn close(&self) {
        self.0.places.close();
        let idle = std::mem::take(&mut *self.0.idle.lock());
        let goodbyes = async {
            for one in idle {
                let _ = sqlx::Connection::close(one.connection).await;
            }
        };
        let _ = timeout(GOODBYE, goodbyes).await;
    }
}
