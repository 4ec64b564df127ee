//! Replicas of a new deployment all migrate at once.

use testkit::{Cluster, Options};

use crate::binary;

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
