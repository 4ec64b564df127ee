//! The servers that the kit starts, without the binary that the kit is for.

use std::path::Path;

use testkit::{Cluster, Options};

#[tokio::test]
async fn each_cluster_has_a_database_and_a_redis_of_its_own() {
    let options = || Options {
        replicas: 0,
        migrate: false,
        ..Options::default()
    };
    let (one, other) = tokio::join!(
        Cluster::start_with(Path::new("true"), options()),
        Cluster::start_with(Path::new("true"), options()),
    );
    one.sql("CREATE TABLE here (n int); INSERT INTO here VALUES (1), (2)")
        .await;
    assert_eq!(one.sql("SELECT n, n + 1 FROM here ORDER BY n").await, "1|2\n2|3");
    assert_eq!(
        other
            .sql("SELECT count(*) FROM pg_tables WHERE tablename = 'here'")
            .await,
        "0"
    );

    let mut session = one.sql_session();
    session.run("BEGIN; INSERT INTO here VALUES (3)");
    assert_eq!(one.sql("SELECT count(*) FROM here").await, "2");
    assert_eq!(session.run("COMMIT; SELECT count(*) FROM here"), "3");

    assert_eq!(one.redis().cli(&["SET", "key", "value"]).await, "OK");
    assert_eq!(other.redis().cli(&["EXISTS", "key"]).await, "0");
    one.redis().stop();
    one.redis().start_again().await;
    assert_eq!(one.redis().cli(&["EXISTS", "key"]).await, "0");
}
