//! What deploy/failover.md says: a synchronous standby has all that was acked, and what distance costs.

use std::time::{Duration, Instant};

use testkit::{Client, Cluster, Options, PostgresServer, Proxy, Replica, block, until};

use crate::{PATIENCE, binary};

const PAGE: &str = "deploy/failover.md";
/// What a way adds: far more than anything else takes.
const WAY: Duration = Duration::from_millis(100);

async fn proxied(database: Option<String>, replicas: usize, settings: &[(&str, &str)]) -> Cluster {
    let options = Options {
        replicas,
        proxied: true,
        database,
        settings,
        ..Options::default()
    };
    Cluster::start_with(binary(), options).await
}

async fn somebody(replica: &Replica) -> Client {
    let account = replica.account("ann").await;
    Client::connect(replica, "hall", Some(&account.token), "")
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_standby_has_all_that_was_acked() {
    let primary = PostgresServer::start().await;
    let cluster = proxied(Some(primary.database().await), 1, &[("HEAD_CHECK_MS", "100")]).await;
    let standby = primary.standby().await;
    let setting = block(PAGE, "synchronous");
    primary.sql(&format!("ALTER SYSTEM SET {}", setting.trim())).await;
    primary.sql("SELECT pg_reload_conf()").await;
    let waits = "SELECT sync_state FROM pg_stat_replication";
    until("commits wait for it", PATIENCE, async || {
        primary.sql(waits).await == "quorum"
    })
    .await;
    let mut client = somebody(cluster.replica(0)).await;
    // It is always behind: what nobody waits for is lost.
    let far = Proxy::start(primary.port()).await;
    far.delay(WAY);
    let conninfo = format!("host=127.0.0.1 port={} user=postgres", far.port());
    standby
        .sql(&format!("ALTER SYSTEM SET primary_conninfo = '{conninfo}'"))
        .await;
    standby.sql("SELECT pg_reload_conf()").await;
    let by_the_proxy =
        "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming' AND conninfo LIKE";
    until("it is far away", PATIENCE, async || {
        standby
            .sql(&format!("{by_the_proxy} '%port={}%'", far.port()))
            .await
            == "1"
    })
    .await;
    for n in 0..10 {
        let ack = client.say("must not be lost", &n.to_string()).await;
        assert_eq!(ack["type"], "ack", "{ack}");
    }
    primary.stop().await;
    standby.promote().await;
    cluster.database_proxy().redirect(standby.port());
    cluster.database_proxy().cut();
    until("it answers", PATIENCE, async || {
        let page = cluster.replica(0).get("/api/v1/rooms/hall/messages", None).await;
        page.status == 200
    })
    .await;
    let history = cluster.replica(0).history("hall").await;
    assert_eq!(history.len(), 10);
    let metrics = cluster.replica(0).metrics().await;
    assert!(metrics.contains("chat_rooms_went_back_total 0\n"), "{metrics}");
}

/// How long an ack takes, the least of some: what other work there is on the machine is not in it.
async fn ack(client: &mut Client) -> Duration {
    let mut least = Duration::MAX;
    for _ in 0..4 {
        let said = Instant::now();
        let ack = client.say("hello", &format!("{said:?}")).await;
        assert_eq!(ack["type"], "ack", "{ack}");
        least = least.min(said.elapsed());
    }
    least
}

fn ways(took: Duration) -> u128 {
    took.as_millis() / WAY.as_millis()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_costs_one_way_to_postgres_and_back() {
    for (pooler, there_and_back) in [("false", 1), ("true", 4)] {
        let cluster = proxied(None, 1, &[("DATABASE_POOLER", pooler)]).await;
        let mut client = somebody(cluster.replica(0)).await;
        ack(&mut client).await;
        cluster.database_proxy().delay(WAY);
        let took = ack(&mut client).await;
        assert_eq!(
            ways(took) / 2,
            there_and_back,
            "DATABASE_POOLER={pooler}: {took:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_another_replica_costs_one_way_to_redis_and_back() {
    let cluster = proxied(None, 2, &[("HEAD_CHECK_MS", "60000")]).await;
    let mut writer = somebody(cluster.replica(0)).await;
    let mut reader = Client::connect(cluster.replica(1), "hall", None, "")
        .await
        .unwrap();
    super::crowd::subscribed(&cluster, 1).await;
    writer.say("hello", "0").await;
    reader.next("message").await;
    cluster.redis_proxy().delay(WAY);
    let (mut least, mut acked) = (Duration::MAX, Duration::MAX);
    for n in 1..=4 {
        let said = Instant::now();
        writer.say("hello", &n.to_string()).await;
        acked = acked.min(said.elapsed());
        reader.next("message").await;
        least = least.min(said.elapsed());
    }
    assert_eq!(ways(least), 2, "{least:?}");
    assert_eq!(ways(acked), 0, "Redis is in no ack: {acked:?}");
}

/// The least ways there and back of some tries.
async fn least(times: usize, mut work: impl AsyncFnMut()) -> u128 {
    let mut least = Duration::MAX;
    for _ in 0..times {
        let began = Instant::now();
        work().await;
        least = least.min(began.elapsed());
    }
    ways(least) / 2
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_join_and_a_page_of_history_cost() {
    let cluster = proxied(None, 1, &[("ROOM_LINGER_SECONDS", "0")]).await;
    let replica = cluster.replica(0);
    let ann = replica.account("ann").await;
    let mut client = Client::connect(replica, "hall", Some(&ann.token), "")
        .await
        .unwrap();
    client.say("hello", "0").await;
    let rooms = std::cell::Cell::new(0);
    let new_room = || {
        rooms.set(rooms.get() + 1);
        format!("room {}", rooms.get())
    };
    let join = async |room: &str, token: Option<&str>, query: &str| {
        Client::connect(replica, room, token, query)
            .await
            .unwrap()
            .leave()
            .await;
    };
    for token in [None, Some(ann.token.as_str())] {
        join("hall", token, "last=1").await;
        join(&new_room(), token, "last=1").await;
    }
    let history = async || {
        let page = replica.get("/api/v1/rooms/hall/messages?limit=1", None).await;
        assert_eq!(page.status, 200);
    };
    history().await;
    cluster.database_proxy().delay(WAY);
    assert_eq!(least(3, history).await, 2, "the history");
    for (token, more) in [(None, 0), (Some(ann.token.as_str()), 1)] {
        let live = least(3, async || join("hall", token, "last=1").await).await;
        let quiet = least(3, async || join(&new_room(), token, "last=1").await).await;
        assert_eq!((live, quiet), (more, more + 1), "{more} for the token");
    }
}

/// Which of several is the primary nobody here would ask. Where none answers, the next start may find one.
#[tokio::test]
async fn a_list_of_hosts_is_refused_and_a_server_that_is_away_ends_the_start() {
    for (hosts, code, why) in [
        ("one.example,two.example", 2, "one host"),
        ("one.example:5432,two.example:5432", 2, "one host"),
        ("h/x?host=one,two&unused=", 2, "one host"),
        ("127.0.0.1:1", 1, "connection refused"),
    ] {
        let mut command = testkit::command(binary());
        command
            .env_clear()
            .env("DATABASE_URL", format!("postgres://chat@{hosts}/chat"))
            .env("REDIS_URL", "redis://127.0.0.1:1")
            .env("JWT_SECRET", "a key of this test, long enough to be taken");
        let output = testkit::ended("a replica that does not start", PATIENCE, command).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{hosts}: {said}");
        assert!(said.contains(why), "{hosts}: {said}");
    }
}
