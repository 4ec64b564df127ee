//! PgBouncer in transaction mode before Postgres.

use futures_util::future::join_all;
use testkit::{Client, Cluster, Options, Pooler, PostgresServer};
use tokio::time::timeout;

use crate::{PATIENCE, binary};

/// What many a guide says for drivers that send them: then nothing at the start shows that there is a pooler.
const IGNORES: &str = "extra_float_digits,options";

async fn chat_goes_by_a_pooler(ignores: &str, settings: &[(&str, &str)]) {
    const EACH: usize = 40;
    let server = PostgresServer::start().await;
    let (_pooler, url) = Pooler::start(&server.database().await, ignores).await;
    let options = Options {
        replicas: 2,
        database: Some(url),
        settings,
        ..Options::default()
    };
    let cluster = Cluster::start_with(binary(), options).await;
    // Others have used the server's connections since, under the names that the first ones gave.
    cluster.migrate().await;
    for arguments in [["--wait", "1"].as_slice(), &["--check"]] {
        let mut looks = testkit::command(binary());
        looks
            .arg("migrate")
            .args(arguments)
            .env_clear()
            .envs(cluster.environment());
        let output = testkit::ended("a look by the pooler", PATIENCE, looks).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
    let chat = async {
        let talkers = (0..6).map(async |n| {
            let replica = cluster.replica(n % 2);
            let account = replica.account("talker").await;
            let mut client = Client::connect(replica, "hall", Some(&account.token), "")
                .await
                .unwrap();
            for m in 0..EACH {
                let event = client.say("by a pooler", &format!("{n}-{m}")).await;
                assert_eq!(event["type"], "ack", "{event}");
                let history = replica.get("/api/v1/rooms/hall/messages?limit=5", None).await;
                assert_eq!(history.status, 200, "{}", history.body);
            }
        });
        join_all(talkers).await;
    };
    timeout(PATIENCE, chat).await.expect("nobody starves");
    let stored = cluster.replica(1).history("hall").await;
    assert_eq!(stored.len(), 6 * EACH);
    for replica in cluster.replicas() {
        let log = replica.log();
        assert!(!log.contains("ERROR"), "{log}");
    }
    let most = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chat-gateway'";
    assert!(server.sql(most).await.parse::<u32>().unwrap() <= 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_refuses_start_parameters_is_noticed() {
    chat_goes_by_a_pooler("", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_passes_over_them_is_named_by_a_setting() {
    chat_goes_by_a_pooler(IGNORES, &[("DATABASE_POOLER", "true")]).await;
}
