//! The servers that the kit starts, without the binary that the kit is for.

use std::{io, path::Path, time::Duration};

use testkit::{Cluster, Options, PostgresServer, Proxy};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, timeout},
};

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

/// A server that answers each byte with its own mark.
async fn marking(mark: u8, tasks: &mut JoinSet<()>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                while stream.read_u8().await.is_ok() && stream.write_u8(mark).await.is_ok() {}
            });
        }
    });
    port
}

async fn ask(stream: &mut TcpStream) -> io::Result<u8> {
    stream.write_u8(b'?').await?;
    stream.read_u8().await
}

async fn silent(stream: &mut TcpStream) -> bool {
    timeout(Duration::from_millis(200), stream.read_u8())
        .await
        .is_err()
}

#[tokio::test]
async fn a_proxy_has_the_faults_of_a_network() {
    let mut servers = JoinSet::new();
    let (a, b) = (
        marking(b'a', &mut servers).await,
        marking(b'b', &mut servers).await,
    );
    let proxy = Proxy::start(a).await;
    let connect = || TcpStream::connect(("127.0.0.1", proxy.port()));
    let mut first = connect().await.unwrap();
    assert_eq!(ask(&mut first).await.unwrap(), b'a');

    // Frozen: accepted, kept, silent; what was asked is answered afterwards.
    proxy.freeze();
    let mut second = connect().await.unwrap();
    for stream in [&mut first, &mut second] {
        stream.write_u8(b'?').await.unwrap();
        assert!(silent(stream).await);
    }
    proxy.thaw();
    assert_eq!(first.read_u8().await.unwrap(), b'a');
    assert_eq!(second.read_u8().await.unwrap(), b'a');

    // Elsewhere from now on; what is open stays where it is until it is cut.
    proxy.redirect(b);
    assert_eq!(ask(&mut first).await.unwrap(), b'a');
    proxy.cut();
    let ended = timeout(Duration::from_secs(10), first.read_u8()).await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let mut third = connect().await.unwrap();
    assert_eq!(ask(&mut third).await.unwrap(), b'b');

    proxy.refuse().await;
    let refused = connect().await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(ask(&mut third).await.unwrap(), b'b');
    proxy.accept().await;

    proxy.swallow();
    third.write_u8(b'?').await.unwrap();
    assert!(silent(&mut third).await);
    let mut fourth = connect().await.unwrap();
    let begun = Instant::now();
    proxy.delay(Duration::from_millis(100));
    assert_eq!(ask(&mut fourth).await.unwrap(), b'b');
    assert!(begun.elapsed() >= Duration::from_millis(200), "there and back");
    assert_eq!(proxy.accepted(), 4);
}
