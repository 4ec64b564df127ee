//! CPU time from the kernel's own books, in nanoseconds.

use std::fs;

use crate::Fallible;

fn ran(path: &str) -> Fallible<u64> {
    let text = fs::read_to_string(path)?;
    Ok(text.split(' ').next().unwrap_or_default().trim().parse()?)
}

/// All threads of a process.
pub fn of_process(pid: u32) -> Fallible<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path().join("schedstat");
        // A thread may end between the listing and the reading; what it used is small then.
        sum += ran(&path.to_string_lossy()).unwrap_or(0);
    }
    Ok(sum)
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
