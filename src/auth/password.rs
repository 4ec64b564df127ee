//! argon2id on a bounded pool of blocking threads and of memory, in turns, so that a flood of logins stalls no message and
//! nobody else's login (I8).

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::blocks::FreeBlocks;
use super::turns::Turns;
use crate::memory::Share;
use crate::metrics::Metrics;

/// Why a password was neither hashed nor checked.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The queue is full, or its memory.
    #[error("too many passwords wait to be hashed")]
    Overloaded,
    #[error("hashing failed: {0}")]
    Failed(String),
}

impl HashError {
    fn failed(e: impl std::fmt::Display) -> Self {
        Self::Failed(e.to_string())
    }
}

/// For whom a password is hashed: who waits takes turns by it.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    pub address: IpAddr,
    /// The account, however it is spelled.
    pub account: &'a str,
}

/// Hashes and checks passwords at the OWASP parameters, which are argon2's default: argon2id, 19 MiB, two passes. Cheap to
/// clone.
#[derive(Debug, Clone)]
pub struct Hasher(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    workers: usize,
    queue: usize,
    pool: FreeBlocks,
    metrics: Metrics,
    /// Checked against where there is no account, so that the answer takes as long as with one.
    dummy: String,
}

#[derive(Debug)]
struct State {
    turns: Turns<Job>,
    /// Threads at work; each goes on until nobody waits.
    running: usize,
}

/// Gets the memory to work in, or why there is none.
type Work = dyn FnOnce(Result<&mut [Block], HashError>) + Send;

struct Job(Box<Work>);

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Hasher {
    /// At most `workers` hashes at a time, 19 MiB each, as far as `memory` has room for them, and `queue` that wait.
    pub fn new(workers: usize, queue: usize, memory: Share, metrics: Metrics) -> Result<Self, HashError> {
        let pool = FreeBlocks::new(memory);
        let workers = workers.min(pool.room()).max(1);
        let mut piece = pool.take().map_err(|_| HashError::Overloaded)?;
        let dummy = piece.work(|blocks| hash_in(blocks, uuid::Uuid::new_v4().as_bytes()))?;
        pool.give_back(piece);
        Ok(Self(Arc::new(Shared {
            state: Mutex::new(State {
                turns: Turns::new(queue),
                running: 0,
            }),
            workers,
            queue,
            pool,
            metrics,
            dummy,
        })))
    }

    /// A PHC string.
    pub async fn hash(&self, asker: Asker<'_>, secret: String) -> Result<String, HashError> {
        self.work(asker, move |blocks| hash_in(blocks, secret.as_bytes()))
            .await
    }

    /// Whether the secret is the one that was hashed; `None` is never, and takes as long.
    pub async fn verify(
        &self,
        asker: Asker<'_>,
        secret: String,
        hash: Option<String>,
    ) -> Result<bool, HashError> {
        let known = hash.is_some();
        let phc = hash.unwrap_or_else(|| self.0.dummy.clone());
        self.work(asker, move |blocks| {
            Ok(verify_in(blocks, secret.as_bytes(), &phc)? && known)
        })
        .await
    }

    /// How many passwords may be hashed or wait for it.
    pub fn limit(&self) -> usize {
        self.0.workers + self.0.queue
    }

    /// How many passwords are hashed or wait.
    pub fn busy(&self) -> usize {
        let state = self.0.state.lock();
        state.running + state.turns.len()
    }

    /// Gives back memory that nobody has needed for a while.
    pub fn forget_the_idle(&self) {
        self.0.pool.forget_the_idle();
    }

    async fn work<T: Send + 'static>(
        &self,
        asker: Asker<'_>,
        job: impl FnOnce(&mut [Block]) -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let begun = Instant::now();
        let (reply, result) = oneshot::channel();
        self.submit(
            asker,
            Job(Box::new(move |blocks| {
                // Whoever has hung up by now needs no answer.
                if !reply.is_closed() {
                    let _ = reply.send(blocks.and_then(job));
                }
            })),
        );
        let result = result.await.map_err(HashError::failed).flatten();
        self.0.metrics.password_done(begun.elapsed());
        result
    }

    fn submit(&self, asker: Asker<'_>, job: Job) {
        let mut state = self.0.state.lock();
        if state.running < self.0.workers {
            state.running += 1;
            let shared = self.0.clone();
            drop(tokio::task::spawn_blocking(move || shared.run(job)));
            return;
        }
        let refused = state.turns.push(asker.address, asker.account, job);
        drop(state);
        if let Some(Job(refuse)) = refused {
            refuse(Err(HashError::Overloaded));
        }
    }
}

impl Shared {
    /// One thread: this job, and then whosever turn it is.
    fn run(&self, first: Job) {
        let mut piece = self.pool.take();
        let mut next = Some(first);
        while let Some(Job(job)) = next {
            // A job that panics has been logged by the hook that every panic runs; its asker sees that no answer comes.
            let done = match &mut piece {
                Ok(piece) => piece.work(|blocks| catch_unwind(AssertUnwindSafe(|| job(Ok(blocks))))),
                Err(_) => catch_unwind(AssertUnwindSafe(|| job(Err(HashError::Overloaded)))),
            };
            drop(done);
            let mut state = self.state.lock();
            next = state.turns.pop();
            if next.is_none() {
                state.running -= 1;
            }
        }
        if let Ok(piece) = piece {
            self.pool.give_back(piece);
        }
    }
}

fn hash_in(blocks: &mut [Block], secret: &[u8]) -> Result<String, HashError> {
    let salt = Salt::generate();
    let argon2 = Argon2::default();
    let mut out = [0; Params::DEFAULT_OUTPUT_LEN];
    argon2
        .hash_password_into_with_memory(secret, &salt, &mut out, blocks)
        .map_err(HashError::failed)?;
    let hash = PasswordHash {
        algorithm: Algorithm::default().ident(),
        version: Some(Version::default().into()),
        params: argon2.params().try_into().map_err(HashError::failed)?,
        salt: Some(salt),
        hash: Some(Output::new(&out).map_err(HashError::failed)?),
    };
    Ok(hash.to_string())
}

fn verify_in(blocks: &mut [Block], secret: &[u8], phc: &str) -> Result<bool, HashError> {
    let known = PasswordHash::new(phc).map_err(HashError::failed)?;
    let (Some(salt), Some(expected)) = (&known.salt, &known.hash) else {
        return Err(HashError::failed("the stored hash is not whole"));
    };
    let algorithm = Algorithm::try_from(known.algorithm.as_str()).map_err(HashError::failed)?;
    let version = known.version.map_or(Ok(Version::default()), Version::try_from);
    let params = Params::try_from(&known).map_err(HashError::failed)?;
    let argon2 = Argon2::new(algorithm, version.map_err(HashError::failed)?, params);
    let mut out = [0; Output::MAX_LENGTH];
    let out = &mut out[..expected.len()];
    argon2
        .hash_password_into_with_memory(secret, salt, out, blocks)
        .map_err(HashError::failed)?;
    // Compared in constant time.
    Ok(Output::new(out).map_err(HashError::failed)? == *expected)
}

#[cfg(test)]
mod tests {
    use argon2::PasswordHasher;

    use super::*;
    use crate::memory::Memory;

    fn hasher(workers: usize, queue: usize) -> Hasher {
        let metrics = Metrics::default();
        let memory = Memory::new(512 << 20, &metrics);
        Hasher::new(workers, queue, memory.passwords, metrics).unwrap()
    }

    const ANN: Asker<'_> = Asker {
        address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        account: "ann",
    };

    #[tokio::test]
    async fn verifies_what_it_hashed_and_nothing_else() {
        let hasher = hasher(1, 4);
        let hash = hasher.hash(ANN, "geheim".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(
            hasher
                .verify(ANN, "geheim".into(), Some(hash.clone()))
                .await
                .unwrap()
        );
        assert!(!hasher.verify(ANN, "Geheim".into(), Some(hash)).await.unwrap());
        assert!(!hasher.verify(ANN, "geheim".into(), None).await.unwrap());
        assert!(
            hasher
                .verify(ANN, "geheim".into(), Some("nonsense".into()))
                .await
                .is_err()
        );
    }

    /// Accounts that were made before hashing had memory of its own.
    #[tokio::test]
    async fn verifies_what_argon2_itself_has_hashed() {
        let phc: PasswordHash = Argon2::default().hash_password(b"geheim").unwrap();
        let hasher = hasher(1, 4);
        for (secret, right) in [("geheim", true), ("geheim ", false)] {
            let verified = hasher.verify(ANN, secret.into(), Some(phc.to_string())).await;
            assert_eq!(verified.unwrap(), right);
        }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let hasher = hasher(1, 1);
        let jobs: Vec<_> = (0..4).map(|_| hasher.hash(ANN, "x".into())).collect();
        let results = futures_util::future::join_all(jobs).await;
        assert_eq!(
            results
                .iter()
                .filter(|r| matches!(r, Err(HashError::Overloaded)))
                .count(),
            2
        );
        // The last worker has answered, and is about to end.
        let ended = async {
            while hasher.busy() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let limit = std::time::Duration::from_secs(10);
        assert!(tokio::time::timeout(limit, ended).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_flood_of_one_address_keeps_nobody_else_out() {
        let hasher = hasher(1, 8);
        let mut flood = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let hasher = hasher.clone();
            flood.spawn(async move { hasher.hash(ANN, "guess".into()).await });
        }
        while hasher.busy() < hasher.limit() {
            tokio::task::yield_now().await;
        }
        let honest = (1..=4).map(|n| {
            let asker = Asker {
                address: [10, 0, 0, n].into(),
                account: "ben",
            };
            hasher.hash(asker, "secret".into())
        });
        for result in futures_util::future::join_all(honest).await {
            assert!(result.is_ok(), "{result:?}");
        }
        while let Some(job) = flood.join_next().await {
            drop(job.unwrap());
        }
    }
}
