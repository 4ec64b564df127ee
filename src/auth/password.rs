//! argon2id on a bounded pool of blocking threads, so that a flood of logins never stalls a message (I8).

use std::sync::Arc;
use std::time::Instant;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use tokio::sync::Semaphore;

use crate::metrics::Metrics;

/// Why a password was neither hashed nor checked.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The queue is full.
    #[error("too many passwords wait to be hashed")]
    Overloaded,
    #[error("hashing failed: {0}")]
    Failed(String),
}

/// Hashes and checks passwords at the OWASP parameters, which are argon2's default: argon2id, 19 MiB, two passes.
#[derive(Debug, Clone)]
pub struct Hasher {
    places: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    most: usize,
    metrics: Metrics,
    /// Checked against where there is no account, so that the answer takes as long as with one.
    dummy: Arc<str>,
}

impl Hasher {
    /// `workers` hashes at a time (19 MiB each), and `queue` that wait.
    pub fn new(workers: usize, queue: usize, metrics: Metrics) -> Result<Self, HashError> {
        Ok(Self {
            most: workers + queue,
            metrics,
            places: Arc::new(Semaphore::new(workers + queue)),
            workers: Arc::new(Semaphore::new(workers)),
            dummy: hash_now(uuid::Uuid::new_v4().as_bytes())?.into(),
        })
    }

    /// A PHC string.
    pub async fn hash(&self, secret: String) -> Result<String, HashError> {
        self.work(move || hash_now(secret.as_bytes())).await?
    }

    /// Whether the secret is the one that was hashed; `None` is never, and takes as long.
    pub async fn verify(&self, secret: String, hash: Option<String>) -> Result<bool, HashError> {
        let dummy = self.dummy.clone();
        self.work(move || {
            let known = hash.is_some();
            let phc = hash.as_deref().unwrap_or(&dummy);
            let parsed = PasswordHash::new(phc).map_err(|e| HashError::Failed(e.to_string()))?;
            Ok(Argon2::default()
                .verify_password(secret.as_bytes(), &parsed)
                .is_ok()
                && known)
        })
        .await?
    }

    /// How many passwords are hashed or wait.
    /// How many passwords may be hashed or wait for it.
    pub fn limit(&self) -> usize {
        self.most
    }

    pub fn busy(&self) -> usize {
        self.most.saturating_sub(self.places.available_permits())
    }

    async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let begun = Instant::now();
        let place = self
            .places
            .clone()
            .try_acquire_owned()
            .map_err(|_| HashError::Overloaded)?;
        let worker = self
            .workers
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| HashError::Overloaded)?;
        // The permits go with the job: a client that hangs up does not make room for a second one beside it.
        let job = tokio::task::spawn_blocking(move || {
            let result = job();
            drop((worker, place));
            result
        });
        let result = job.await.map_err(|e| HashError::Failed(e.to_string()));
        self.metrics.password_done(begun.elapsed());
        result
    }
}

fn hash_now(secret: &[u8]) -> Result<String, HashError> {
    let hash: PasswordHash = Argon2::default()
        .hash_password(secret)
        .map_err(|e| HashError::Failed(e.to_string()))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn verifies_what_it_hashed_and_nothing_else() {
        let hasher = Hasher::new(1, 4, Metrics::default()).unwrap();
        let hash = hasher.hash("geheim".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(hasher.verify("geheim".into(), Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify("Geheim".into(), Some(hash)).await.unwrap());
        assert!(!hasher.verify("geheim".into(), None).await.unwrap());
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let hasher = Hasher::new(1, 1, Metrics::default()).unwrap();
        let jobs: Vec<_> = (0..4).map(|_| hasher.hash("x".into())).collect();
        let results = futures_util::future::join_all(jobs).await;
        assert_eq!(
            results
                .iter()
                .filter(|r| matches!(r, Err(HashError::Overloaded)))
                .count(),
            2
        );
    }
}
