//! A rolling upgrade from the release before, and back: nothing is lost, and nobody notices but for reconnects.
//!
//! `tests/run upgrade` builds that release and says in CHAT_GATEWAY_BEFORE where it is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::{Backend, Cluster};

use super::crowd::Crowd;
use crate::binary;

const REPLICAS: usize = 3;

/// The binary that replicas are started from, one or the other.
struct Installed(PathBuf);

impl Installed {
    fn be(&self, bin: &Path) {
        let _ = fs::remove_file(&self.0);
        symlink(bin, &self.0).unwrap();
    }
}

async fn roll(cluster: &Cluster) {
    for replica in cluster.replicas() {
        replica.terminate().await;
        let status = replica.wait().await;
        assert_eq!(status.code(), Some(0), "{status}\n{}", replica.log_tail());
        replica.start_again().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_release_before_and_back_nothing_is_lost() {
    let Some(before) = std::env::var_os("CHAT_GATEWAY_BEFORE").map(PathBuf::from) else {
        println!("skipped: CHAT_GATEWAY_BEFORE names no release before: tests/run upgrade");
        return;
    };
    let folder = std::env::temp_dir().join(format!("chat-gateway-upgrade-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let installed = Installed(folder.join("chat-gateway"));
    installed.be(&before);
    let settings = [("DRAIN_SECONDS", "1")];
    let cluster = Cluster::start(&installed.0, Backend::Clustered, REPLICAS, &settings).await;
    let mut crowd = Crowd::join(&cluster, 9, 6).await;
    for bin in [binary(), before.as_path()] {
        installed.be(bin);
        if bin == binary() {
            cluster.migrate().await;
        }
        let ((), ()) = tokio::join!(roll(&cluster), crowd.talk(2_000, 5, Duration::from_millis(10)));
    }
    crowd.settle(&cluster).await;
    fs::remove_dir_all(folder).unwrap();
}
