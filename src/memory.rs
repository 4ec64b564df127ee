//! The budget of this replica's memory (I7): what strangers can make it hold comes from shares of `MEMORY_MAX`, and a
//! share that is full is a named refusal instead of the kernel's kill.
//!
//! | part | for what |
//! | --- | --- |
//! | 2/8 rooms | warm logs: worth the most, as what is not there is read from the database; given back, oldest first |
//! | 1/8 pages | pages that sessions are fed from the store with |
//! | 1/8 answers | answers over HTTP until the kernel has taken them |
//! | 1/8 passwords | argon2's blocks of 19 MiB, one a worker; at least one |
//! | 3/8 the rest | code, threads, pools and journal (25 MiB idle), connections (4 to 10 KiB each, for 10 s a body of 64 KiB, and as much as the send buffer in the kernel where one does not read), and what the allocator cannot give back |
//!
//! What a part holds is counted by its payload, so a share is an order of magnitude, not an account to the byte; the
//! rest pays for the difference.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};

use crate::metrics::{Limit, Metrics};

/// The least budget that the smallest shares fit into, in bytes.
pub const LEAST: u64 = 128 * 1024 * 1024;
/// What hashing one password takes, in bytes: argon2's 19 MiB.
pub const PASSWORD_BLOCK: usize = argon2::Params::DEFAULT_M_COST as usize * argon2::Block::SIZE;

/// The shares. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Memory {
    pub rooms: Share,
    pub pages: Share,
    pub answers: Share,
    pub passwords: Share,
}

impl Memory {
    /// Splits `most` bytes; 0: what [`available`] says.
    pub fn new(most: u64, metrics: &Metrics) -> Self {
        let most = match most {
            0 => available(),
            most => most,
        };
        if most < LEAST {
            tracing::warn!(
                most,
                least = LEAST,
                "there is little memory: MEMORY_MAX or the cgroup's limit"
            );
        }
        let eighth = usize::try_from(most.max(LEAST) / 8).unwrap_or(usize::MAX / 8);
        let share = |bytes, limit| Share::new(bytes, limit, metrics.clone());
        let this = Self {
            rooms: share(2 * eighth, Limit::MemoryRooms),
            pages: share(eighth, Limit::MemoryPages),
            answers: share(eighth, Limit::MemoryAnswers),
            passwords: share(eighth.max(PASSWORD_BLOCK), Limit::MemoryPasswords),
        };
        tracing::info!(
            most,
            rooms = this.rooms.limit(),
            each_other = eighth,
            "room for memory, in bytes"
        );
        this
    }

    /// Each share by the name of its metric.
    pub fn shares(&self) -> [(&'static str, &Share); 4] {
        [
            ("rooms", &self.rooms),
            ("pages", &self.pages),
            ("answers", &self.answers),
            ("passwords", &self.passwords),
        ]
    }
}

/// The share has no room for it now: `OVERLOADED` over HTTP, 1013 at a WebSocket. It has been counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's memory for this is full, try again")]
pub struct Full;

/// A part of the budget. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Share(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    held: AtomicUsize,
    /// Who waits first is served first.
    turn: Mutex<()>,
    given_back: Notify,
    refusals: (Limit, Metrics),
}

impl Share {
    fn new(limit: usize, name: Limit, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            limit,
            held: AtomicUsize::new(0),
            turn: Mutex::new(()),
            given_back: Notify::new(),
            refusals: (name, metrics),
        }))
    }

    /// In bytes.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// In bytes. With [`add`](Self::add) it may pass the limit.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    /// Bytes that the caller gives back by dropping what it got; for who cannot wait.
    pub fn try_take(&self, bytes: usize) -> Result<Held, Full> {
        self.held_if_free(bytes).ok_or_else(|| self.refuse())
    }

    /// The same for who can wait, in the order of asking, and gives up after `within`.
    pub async fn take(&self, bytes: usize, within: Duration) -> Result<Held, Full> {
        let waiting = async {
            let _turn = self.0.turn.lock().await;
            loop {
                if let Some(held) = self.held_if_free(bytes) {
                    return held;
                }
                // One that was told in between finds its notice kept.
                self.0.given_back.notified().await;
            }
        };
        if bytes > self.0.limit {
            return Err(self.refuse());
        }
        tokio::time::timeout(within, waiting)
            .await
            .map_err(|_| self.refuse())
    }

    /// Counts bytes that are there already, over the limit too: who adds looks at [`is_over`](Self::is_over) and lets go of
    /// the oldest. Each has to be taken off again by [`sub`](Self::sub).
    pub fn add(&self, bytes: usize) {
        self.0.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn sub(&self, bytes: usize) {
        self.0.held.fetch_sub(bytes, Ordering::Relaxed);
        self.0.given_back.notify_one();
    }

    pub fn is_over(&self) -> bool {
        self.held() > self.0.limit
    }

    /// Counts a refusal for want of memory.
    pub fn refuse(&self) -> Full {
        let (name, metrics) = &self.0.refusals;
        metrics.limit_hit(*name);
        Full
    }

    fn held_if_free(&self, bytes: usize) -> Option<Held> {
        let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.0.limit);
        let taken = self
            .0
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then(|| Held {
            share: self.clone(),
            bytes,
        })
    }
}

/// Bytes of a share, given back when dropped.
#[derive(Debug)]
pub struct Held {
    share: Share,
    bytes: usize,
}

impl Held {
    /// Gives back what turned out not to be needed.
    pub fn shrink_to(&mut self, bytes: usize) {
        let spare = self.bytes.saturating_sub(bytes);
        self.bytes -= spare;
        self.share.sub(spare);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.share.sub(self.bytes);
    }
}

/// Gives the kernel back what is free. glibc keeps whatever lies below something that is still in use: of 300 full rooms all
/// 54 MiB stayed when they were gone, and what one kind of load has left another cannot always use.
#[derive(Debug)]
pub struct Trim {
    least: AtomicUsize,
}

impl Trim {
    /// With so many bytes more than the least it is worth the work: some milliseconds, on a thread that may block.
    const GROWN: usize = 16 * 1024 * 1024;

    pub fn if_grown(&self) {
        let Some(before) = resident() else { return };
        let least = self.least.load(Ordering::Relaxed).saturating_add(Self::GROWN);
        if before < least {
            self.least.fetch_min(before, Ordering::Relaxed);
            return;
        }
        trim();
        tracing::debug!(before, after = resident(), "free memory was given back, in bytes");
    }
}

impl Default for Trim {
    fn default() -> Self {
        Self {
            least: AtomicUsize::new(usize::MAX),
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "there is no safe way to ask glibc for it")]
fn trim() {
    // SAFETY: it takes the allocator's own locks, and touches nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
const fn trim() {}

/// What of this process is in memory, in bytes.
fn resident() -> Option<usize> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? * 1024)
}

/// How much memory this process may use, in bytes: the lowest limit of its cgroup and those above it, else half of the
/// machine's, as others live there too.
pub fn available() -> u64 {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let machine = in_meminfo(&read("/proc/meminfo")).unwrap_or(LEAST);
    let cgroups = read("/proc/self/cgroup");
    match of_cgroups(Path::new("/sys/fs/cgroup"), &cgroups) {
        Some(limit) if limit < machine => limit,
        _ => machine / 2,
    }
}

fn in_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The lowest limit, as `/proc/self/cgroup` names the groups. In a container the path may be the host's, and only the root
/// be there: what is missing is passed over.
fn of_cgroups(root: &Path, cgroups: &str) -> Option<u64> {
    let group = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let path = Path::new(path.trim_start_matches('/'));
        let limit = |mount: &str, file: &str| {
            let lowest = path.ancestors().filter_map(|group| {
                let text = fs::read_to_string(root.join(mount).join(group).join(file)).ok()?;
                text.trim().parse::<u64>().ok()
            });
            lowest.min()
        };
        match controllers {
            "" => limit("", "memory.max").or_else(|| limit("unified", "memory.max")),
            controllers if controllers.split(',').any(|name| name == "memory") => {
                limit("memory", "memory.limit_in_bytes")
            }
            _ => None,
        }
    };
    cgroups.lines().filter_map(group).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(limit: usize) -> Share {
        Share::new(limit, Limit::MemoryPages, Metrics::default())
    }

    #[test]
    fn what_is_held_stays_within_the_limit_and_comes_back() {
        let share = share(100);
        let (a, mut b) = (share.try_take(60).unwrap(), share.try_take(40).unwrap());
        assert_eq!(share.try_take(1).unwrap_err(), Full);
        b.shrink_to(30);
        assert_eq!(share.held(), 90);
        drop(share.try_take(10).unwrap());
        drop((a, b));
        assert_eq!(share.held(), 0);
        share.add(150);
        assert!(share.is_over() && share.try_take(0).is_err());
        share.sub(150);
        assert!(!share.is_over() && share.try_take(100).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_served_in_order_and_within_a_time() {
        const LIMIT: Duration = Duration::from_secs(5);
        let share = share(100);
        let all = share.try_take(100).unwrap();
        // The first wants more than the second, which must not pass it.
        let order = parking_lot::Mutex::new(Vec::new());
        let wait = async |bytes| {
            let held = share.take(bytes, LIMIT).await;
            order.lock().push(bytes);
            held
        };
        let give_back = async {
            let mut all = all;
            tokio::time::sleep(Duration::from_secs(1)).await;
            all.shrink_to(90);
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(all);
        };
        let (first, second, ()) = tokio::join!(wait(90), wait(10), give_back);
        assert_eq!(*order.lock(), [90, 10]);
        assert_eq!(share.take(1, LIMIT).await.unwrap_err(), Full);
        assert_eq!(share.take(101, LIMIT).await.unwrap_err(), Full);
        drop((first, second));
        assert_eq!(share.held(), 0);
    }

    #[test]
    fn the_shares_leave_enough_for_the_process() {
        for most in [LEAST, 512 << 20, 8 << 30] {
            let memory = Memory::new(most, &Metrics::default());
            let shared: usize = memory.shares().iter().map(|(_, share)| share.limit()).sum();
            assert!(shared as u64 + (40 << 20) <= most, "{most}");
            assert!(memory.passwords.limit() >= PASSWORD_BLOCK);
        }
        assert_eq!(PASSWORD_BLOCK, 19 << 20);
    }

    #[test]
    fn the_lowest_limit_of_the_groups_counts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let limit = |cgroups: &str| of_cgroups(folder.path(), cgroups);
        assert_eq!(limit("0::/\n"), None);
        write("a/b/memory.max", "max\n");
        assert_eq!(limit("0::/a/b\n"), None);
        write("a/memory.max", "5000\n");
        assert_eq!(limit("0::/a/b\n"), Some(5000));
        // The first version, among other controllers; the path is the host's and is not to be seen here.
        write("memory/memory.limit_in_bytes", "4000\n");
        assert_eq!(limit("9:cpu:/x\n4:cpu,memory:/not/here\n0::/a\n"), Some(4000));
        assert_eq!(in_meminfo("MemFree: 1 kB\n"), None);
        assert_eq!(
            in_meminfo("MemTotal:       24683520 kB\nMemFree: 1 kB\n"),
            Some(24683520 * 1024)
        );
    }
}
