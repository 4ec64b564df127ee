//! The folder of an embedded gateway: whose it is, and the key in it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rand::RngCore;

use crate::auth::SigningKey;

/// Two processes on one folder would each believe to be alone.
pub fn lock(folder: &Path) -> io::Result<File> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))?;
    lock.try_lock()
        .map_err(|_| io::Error::other("another chat-gateway uses it"))?;
    Ok(lock)
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
                .mode(0o600)
                .open(path)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
        }
        Err(e) => return Err(e),
    }
    SigningKey::new(bytes)
        .ok_or_else(|| io::Error::other("signing.key is too short; delete it to have a new one made"))
}
