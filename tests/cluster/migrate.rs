//! Replicas of a new deployment all migrate at once.

use std::process::Stdio;

use testkit::{Cluster, Options};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
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

/// `migrate --wait`, as what starts beside a migration does.
fn wait(cluster: &Cluster, seconds: &str) -> Child {
    testkit::command(binary())
        .args(["migrate", "--wait", seconds])
        .env_clear()
        .envs(cluster.environment())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_migration_goes_on_when_another_has_migrated_and_changes_nothing() {
    let options = Options {
        replicas: 0,
        migrate: false,
        ..Options::default()
    };
    let cluster = Cluster::start_with(binary(), options).await;
    let gave_up = timeout(PATIENCE, wait(&cluster, "1").wait_with_output()).await;
    let gave_up = gave_up.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&gave_up.stderr);
    assert_eq!(gave_up.status.code(), Some(1), "{said}");
    assert!(said.contains("the database lacks the migrations"), "{said}");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(cluster.sql(tables).await, "0");

    let mut waits = wait(&cluster, "600");
    let mut lines = BufReader::new(waits.stdout.take().expect("piped")).lines();
    let why = timeout(PATIENCE, lines.next_line()).await.expect("it says so");
    assert!(
        why.unwrap()
            .is_some_and(|why| why.contains("waiting for another to migrate"))
    );
    assert!(waits.try_wait().unwrap().is_none(), "the schema is not there yet");
    cluster.migrate().await;
    let went_on = timeout(PATIENCE, waits.wait()).await.expect("it ends").unwrap();
    assert!(went_on.success());
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
    let mut migrate = testkit::command(binary());
    migrate.arg("migrate").env_clear().envs(cluster.environment());
    let output = testkit::ended("migrate", PATIENCE, migrate).await;
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
