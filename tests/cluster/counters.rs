//! A counter that is behind its table, as after a restore of one without the other: it is no user's fault.

use testkit::{Backend, Client, Cluster, Options};

use crate::{PATIENCE, binary};

/// `migrate --check`: its exit code, and what it says.
async fn check(cluster: &Cluster) -> (Option<i32>, String) {
    let mut command = testkit::command(binary());
    command
        .args(["migrate", "--check"])
        .env_clear()
        .envs(cluster.environment());
    let output = testkit::ended("migrate --check", PATIENCE, command).await;
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_behind_their_tables_are_found_and_healed() {
    // Heads are looked at all the while: a counter is no history that went back, and nobody has to resume for it.
    let cluster = Cluster::start(binary(), Backend::Clustered, 1, &[("HEAD_CHECK_MS", "10")]).await;
    let replica = cluster.replica(0);
    let ann = replica.account("ann").await;
    replica.account("bob").await;
    let mut sender = Client::connect(replica, "hall", Some(&ann.token), "")
        .await
        .unwrap();
    for n in 1..=3 {
        sender.say("before", &n.to_string()).await;
    }
    let (code, said) = check(&cluster).await;
    assert_eq!(code, Some(0), "{said}");

    cluster.sql("ALTER SEQUENCE accounts_id_seq RESTART").await;
    cluster.sql("UPDATE rooms SET last_seq = 1").await;
    let (code, said) = check(&cluster).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("accounts.id") && said.contains("last seq is 1, it has 3"),
        "{said}"
    );
    assert_eq!(
        cluster.sql("SELECT last_seq FROM rooms").await,
        "1",
        "it changes nothing"
    );

    let carl = replica.account("carl").await;
    assert_eq!(
        (carl.username.as_str(), carl.id),
        ("carl", 3),
        "nobody's name was taken"
    );
    let ack = sender.say("after", "4").await;
    assert_eq!((&ack["type"], &ack["seq"]), (&"ack".into(), &4.into()), "{ack}");
    let (code, said) = check(&cluster).await;
    assert_eq!(code, Some(0), "{said}");
    let log = replica.log();
    assert_eq!(log.matches("a counter was behind its table").count(), 2, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_that_cannot_be_healed_is_the_operators() {
    let cluster = Cluster::start_with(binary(), Options::default()).await;
    let replica = cluster.replica(0);
    replica.account("ann").await;
    // As where the tables are another role's.
    cluster
        .sql(
            "ALTER SEQUENCE accounts_id_seq RESTART; \
             CREATE FUNCTION public.setval(regclass, bigint) RETURNS bigint LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '42501'; END $$; \
             ALTER DATABASE current SET search_path = public, pg_catalog"
                .replace("current", cluster.database_url().rsplit_once('/').unwrap().1)
                .as_str(),
        )
        .await;
    replica.kill().await;
    replica.start_again().await;
    let credentials = serde_json::json!({"username": "bob", "secret": "correct horse"});
    let refused = replica.post("/api/v1/users", None, &credentials).await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert_eq!(refused.body["error"]["type"], "UNAVAILABLE");
    let metrics = replica.metrics().await;
    assert!(
        !metrics.contains("chat_store_failures_total{cause=\"behind\"} 0\n"),
        "{metrics}"
    );
    assert!(replica.log().contains("migrate --check"), "{}", replica.log());
}

/// What `--check` says of a database that was never migrated.
#[tokio::test(flavor = "multi_thread")]
async fn pending_migrations_are_said_and_not_run() {
    let options = Options {
        replicas: 0,
        migrate: false,
        ..Options::default()
    };
    let cluster = Cluster::start_with(binary(), options).await;
    let (code, said) = check(&cluster).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("pending"), "{said}");
    assert_eq!(
        cluster
            .sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            .await,
        "0"
    );
}
