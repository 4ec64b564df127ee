//! The folder of an embedded gateway: whose it is, and the key in it. What is made in it is its owner's alone.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::RngCore;

use crate::auth::SigningKey;

/// Nobody but the owner reads or writes.
const PRIVATE: u32 = 0o600;
/// How long a start waits for the process before it to leave, which takes less than a second.
const HANDOVER: Duration = Duration::from_secs(10);
/// Between two looks whether it has left.
const LOOK: Duration = Duration::from_millis(50);

/// Two processes on one folder would each believe to be alone. A restart waits for the one that leaves.
pub async fn lock(folder: &Path) -> io::Result<File> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(PRIVATE)
        .open(folder.join("lock"))?;
    let deadline = Instant::now() + HANDOVER;
    let mut waiting = false;
    while let Err(e) = lock.try_lock() {
        match e {
            TryLockError::WouldBlock if Instant::now() < deadline => {}
            TryLockError::WouldBlock => return Err(io::Error::other("another chat-gateway uses it")),
            TryLockError::Error(e) => return Err(e),
        }
        if !std::mem::replace(&mut waiting, true) {
            tracing::info!("another chat-gateway uses the data folder, waiting for it to leave");
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(lock)
}

/// Makes the folder, for its owner alone, and in it the database's file, whose mode SQLite gives to the files that it puts
/// beside it. Those of a release that left them open to others are closed.
pub fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let file = database(folder);
    let made = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(PRIVATE)
        .open(&file)?;
    made.set_permissions(Permissions::from_mode(PRIVATE))?;
    for beside in ["-wal", "-shm"] {
        let mut path = file.clone().into_os_string();
        path.push(beside);
        match std::fs::set_permissions(&path, Permissions::from_mode(PRIVATE)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Where the database is.
pub fn database(folder: &Path) -> PathBuf {
    folder.join("chat.sqlite")
}

/// The key of an embedded gateway: made on the first start, readable by its owner alone.
pub fn signing_key(folder: &Path) -> io::Result<SigningKey> {
    let path = &folder.join("signing.key");
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => drop(file.read_to_end(&mut bytes)?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            bytes = vec![0; SigningKey::MIN_BYTES];
            rand::rng().fill_bytes(&mut bytes);
            let mut file = OpenOptions::new()
                .create_new(true)
                .write(true)
                .mode(PRIVATE)
                .open(path)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
        }
        Err(e) => return Err(e),
    }
    SigningKey::new(bytes)
        .map_err(|e| io::Error::other(format!("signing.key {e}; delete it to have a new one made")))
}
