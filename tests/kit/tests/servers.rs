//! The servers that the kit starts, without the binary that the kit is for.

use std::path::Path;

use testkit::{Cluster, Options, PostgresServer};

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

#[tokio::test]
async fn an_older_copy_lacks_what_came_later_and_what_is_committed_outlives_a_stop() {
    let server = PostgresServer::start().await;
    server
        .sql("CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
        .await;
    let copy = server.copy().await;
    server.sql("INSERT INTO t VALUES (2)").await;
    server.stop().await;
    assert!(std::net::TcpStream::connect(("127.0.0.1", server.port())).is_err());
    server.start_again().await;
    assert_eq!(server.sql("SELECT count(*) FROM t").await, "2");
    for _ in 0..2 {
        server.put_back(&copy).await;
        assert_eq!(server.sql("SELECT count(*) FROM t").await, "1");
    }
}

#[tokio::test]
async fn a_standby_follows_refuses_writes_and_is_promoted() {
    let server = PostgresServer::start().await;
    let standby = server.standby().await;
    server.sql("CREATE TABLE t (n int)").await;
    server.followed_by(&standby).await;
    let write = "DO $$ BEGIN INSERT INTO t VALUES (1); EXCEPTION WHEN SQLSTATE '25006' THEN RETURN; END $$";
    standby.sql(write).await;
    assert_eq!(standby.sql("SELECT count(*) FROM t").await, "0");
    server.stop().await;
    standby.promote().await;
    standby.sql(write).await;
    assert_eq!(standby.sql("SELECT count(*) FROM t").await, "1");
}
