//! Counting in Redis, for all replicas together; and who hears of it where that does not work.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{ErrorKind, FromRedisValue, RedisError, ServerErrorKind};

use crate::metrics::{Metrics, Unshared};

/// How long Redis may take to count.
const LIMIT: Duration = Duration::from_millis(250);
/// Between two lines about a Redis that goes on not counting.
const SELDOM: Duration = Duration::from_secs(60);

/// Counting in Redis, for all replicas together.
#[derive(Debug)]
pub struct SharedCounts {
    pool: deadpool_redis::Pool,
    prefix: String,
    /// When the log was told last that it does not work.
    told: Mutex<Option<Instant>>,
}

/// A try, as all replicas have counted it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count {
    pub tries: u64,
    /// Seconds that are left of the minute.
    pub left: u64,
}

#[derive(Debug, thiserror::Error)]
enum NotCounted {
    #[error("Redis did not answer within {LIMIT:?}")]
    Slow,
    #[error(transparent)]
    Pool(#[from] deadpool_redis::PoolError),
    #[error(transparent)]
    Redis(#[from] RedisError),
}

impl SharedCounts {
    pub fn new(pool: deadpool_redis::Pool, prefix: String) -> Self {
        Self {
            pool,
            prefix,
            told: Mutex::default(),
        }
    }

    /// Counts in the current minute. `None`: Redis does not count, this replica's own count decides, and guessing gets
    /// cheaper by the number of replicas. That is counted, and told once a minute.
    pub(super) async fn count(&self, what: &str, who: IpAddr, metrics: &Metrics) -> Option<Count> {
        let counted = tokio::time::timeout(LIMIT, self.ask(what, who)).await;
        counted
            .unwrap_or(Err(NotCounted::Slow))
            .inspect_err(|e| self.note(e, metrics))
            .ok()
    }

    /// Tells the other replicas of somebody who has signed up here.
    pub(super) async fn welcome(&self, from: IpAddr, account: &str, metrics: &Metrics) {
        let mut set = redis::cmd("SET");
        set.arg(self.newcomer(from, account)).arg(1);
        set.arg("EX").arg(super::newcomers::KEPT.as_secs());
        if let Err(e) = self.run::<()>(&set).await {
            self.note(&e, metrics);
        }
    }

    /// True once for who has signed up, at whatever replica. `None`: Redis does not say, as the count that follows tells.
    pub(super) async fn take_newcomer(&self, from: IpAddr, account: &str) -> Option<bool> {
        let mut del = redis::cmd("DEL");
        del.arg(self.newcomer(from, account));
        self.run::<u64>(&del).await.ok().map(|gone| gone > 0)
    }

    fn newcomer(&self, from: IpAddr, account: &str) -> String {
        format!("{}:limit:newcomer:{from}:{account}", self.prefix)
    }

    async fn run<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, NotCounted> {
        let answered = async { Ok(command.query_async(&mut self.pool.get().await?).await?) };
        tokio::time::timeout(LIMIT, answered)
            .await
            .unwrap_or(Err(NotCounted::Slow))
    }

    fn note(&self, error: &NotCounted, metrics: &Metrics) {
        let cause = error.cause();
        metrics.limit_unshared(cause);
        let mut told = self.told.lock();
        if told.is_none_or(|told| told.elapsed() >= SELDOM) {
            *told = Some(Instant::now());
            tracing::warn!(cause = cause.name(), error = %error, "limits are not shared: Redis does not count, each replica's own count decides");
        }
    }

    async fn ask(&self, what: &str, who: IpAddr) -> Result<Count, NotCounted> {
        let now = crate::clock::now_millis() / 1000;
        let key = format!("{}:limit:{what}:{who}:{}", self.prefix, now / 60);
        let mut connection = self.pool.get().await?;
        let (tries,): (u64,) = redis::pipe()
            .atomic()
            .cmd("INCR")
            .arg(&key)
            .cmd("EXPIRE")
            .arg(&key)
            .arg(60)
            .ignore()
            .query_async(&mut connection)
            .await?;
        let left = (60 - now % 60) as u64;
        Ok(Count { tries, left })
    }
}

impl NotCounted {
    fn cause(&self) -> Unshared {
        match self {
            Self::Slow | Self::Pool(deadpool_redis::PoolError::Timeout(_)) => Unshared::Slow,
            Self::Redis(e) | Self::Pool(deadpool_redis::PoolError::Backend(e)) => cause(e),
            Self::Pool(_) => Unshared::Other,
        }
    }
}

fn cause(error: &RedisError) -> Unshared {
    // A transaction says only that it was aborted; why is what its first command was answered.
    let inner = error.clone().into_server_errors();
    let first = inner.as_ref().and_then(|errors| errors.first()?.1.kind());
    match first.map_or(error.kind(), ErrorKind::Server) {
        ErrorKind::Io => Unshared::Away,
        ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => Unshared::Forbidden,
        ErrorKind::Server(
            ServerErrorKind::Moved
            | ServerErrorKind::Ask
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::CrossSlot
            | ServerErrorKind::TryAgain,
        ) => Unshared::Cluster,
        _ => Unshared::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_answers_is_told_apart() {
        let said = |line: &str| {
            let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
            cause(&value.extract_error().unwrap_err())
        };
        assert_eq!(said("MOVED 3999 127.0.0.1:6381"), Unshared::Cluster);
        assert_eq!(said("CLUSTERDOWN Hash slot not served"), Unshared::Cluster);
        assert_eq!(said("NOPERM this user has no permissions"), Unshared::Forbidden);
        assert_eq!(
            said("READONLY You can't write against a read only replica."),
            Unshared::Other
        );
        let gone = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(cause(&gone.into()), Unshared::Away);
    }
}
