//! Replicas of a new deployment all migrate at once.

use std::process::Stdio;

use testkit::{Cluster, Options};
use tokio::process::Command;
use tokio::time::timeout;

use crate::{PATIENCE, binary};

#[tokio::test(flavor = "multi_thread")]
async fn migrations_at_once_on_an_empty_database_all_succeed() {
    for _ in 0..3 {
        let options = Options {
            replicas: 0,
            migrate: false,
            ..Options::default()
        };
        let mut cluster = Cluster::start_with(binary(), options).await;
        tokio::join!(
            cluster.migrate(),
            cluster.migrate(),
            cluster.migrate(),
            cluster.migrate()
        );
        // On one that is already as it should be, too.
        cluster.migrate().await;
        let replica = cluster.add_replica(&[]).await;
        cluster.replica(replica).account("ann").await;
    }
}

/// A dump, say, or a transaction that somebody forgot. Who waits for a table makes everybody wait who comes after.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_does_not_wait_for_a_table_for_ever() {
    let cluster = Cluster::start_with(
        binary(),
        Options {
            replicas: 0,
            ..Options::default()
        },
    )
    .await;
    let mut forgotten = cluster.sql_session();
    forgotten.run("BEGIN; LOCK TABLE seaql_migrations IN ACCESS EXCLUSIVE MODE");
    let migrate = Command::new(binary())
        .arg("migrate")
        .env_clear()
        .envs(cluster.environment())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, migrate).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("a table was in use"), "{said}");
    // Nothing is left behind: no lock, and no connection that holds one.
    let locks = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database \
                 WHERE datname = current_database() AND locktype = 'advisory'";
    assert_eq!(forgotten.run(locks), "0");
    forgotten.run("ROLLBACK");
    cluster.migrate().await;
}
