//! CPU time from the kernel's own books, in nanoseconds.

use std::collections::HashMap;
use std::fs;

use crate::Fallible;

fn ran(path: &str) -> Fallible<u64> {
    let text = fs::read_to_string(path)?;
    Ok(text.split(' ').next().unwrap_or_default().trim().parse()?)
}

/// What each thread of some processes has run so far.
///
/// Kept by thread, because a pool's thread that ends takes its time out of the books: a difference of sums would be too
/// small, or below nothing. What a thread runs between its last reading and its end is missing; a bench that waits
/// for every delivery before it reads has little of that.
pub struct Threads(HashMap<(u32, String), u64>);

impl Threads {
    pub fn of(pids: impl IntoIterator<Item = u32>) -> Fallible<Self> {
        let mut threads = HashMap::new();
        for pid in pids {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                let task = task?;
                // It may have ended since it was listed.
                if let Ok(time) = ran(&task.path().join("schedstat").to_string_lossy()) {
                    threads.insert((pid, task.file_name().to_string_lossy().into_owned()), time);
                }
            }
        }
        Ok(Self(threads))
    }

    pub fn since(&self, before: &Self) -> u64 {
        self.0
            .iter()
            .map(|(thread, time)| time.saturating_sub(before.0.get(thread).copied().unwrap_or(0)))
            .sum()
    }
}

/// The calling thread.
pub fn of_this_thread() -> Fallible<u64> {
    ran("/proc/thread-self/schedstat")
}

/// Resident memory of a process in KiB.
pub fn resident(pid: u32) -> Fallible<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no VmRSS")?.parse()?)
}
