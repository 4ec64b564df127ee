//! Backups of Postgres as deploy/backup.md tells to make them, and to put them back under replicas that go on.

use serde_json::json;
use testkit::{Account, Backend, Client, Cluster, Options, PostgresServer, block, shell, until};

use crate::{PATIENCE, binary};

const PAGE: &str = "deploy/backup.md";

/// Runs a block of the page with the cluster's database in DATABASE_URL.
async fn run(cluster: &Cluster, name: &str, more: &[(&str, &str)]) {
    let environment = [&[("DATABASE_URL", cluster.database_url())], more].concat();
    shell(&block(PAGE, name), cluster.folder(), binary(), &environment).await;
}

/// Somebody in the room on each replica.
async fn everybody(cluster: &Cluster, by: &Account, room: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    for replica in cluster.replicas() {
        clients.push(
            Client::connect(replica, room, Some(&by.token), "last=200")
                .await
                .unwrap(),
        );
    }
    clients
}

async fn say(client: &mut Client, messages: std::ops::Range<u32>) -> serde_json::Value {
    let mut ack = json!(null);
    for n in messages {
        ack = client.say("hello", &n.to_string()).await;
        assert_eq!(ack["type"], "ack", "{ack}");
    }
    ack
}

/// Who has seen what is gone is told, and goes on from what is there.
async fn they_learn_of_it(
    cluster: &Cluster,
    by: &Account,
    clients: Vec<Client>,
    lost: &serde_json::Value,
    head: u32,
) {
    for mut client in clients {
        client.next("reconnect").await;
        assert_eq!(client.closed().await, 4410);
    }
    let query = format!("after={}&id={}", lost["seq"], lost["id"].as_str().unwrap());
    for replica in cluster.replicas() {
        let back = Client::connect(replica, "hall", None, &query).await.unwrap();
        assert_eq!(
            (&back.joined["recovered"], &back.joined["seq"]),
            (&json!(false), &json!(head))
        );
    }
    let mut back = Client::connect(cluster.replica(0), "hall", Some(&by.token), "")
        .await
        .unwrap();
    assert_eq!(back.say("goes on", "after").await["seq"], head + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_a_live_deployment_is_put_back_under_it() {
    let cluster = Cluster::start(binary(), Backend::Clustered, 2, &[("HEAD_CHECK_MS", "200")]).await;
    let ann = cluster.replica(0).account("ann").await;
    let mut clients = everybody(&cluster, &ann, "hall").await;
    let mut quiet = everybody(&cluster, &ann, "quiet").await;
    say(&mut clients[0], 0..5).await;
    say(&mut quiet[0], 0..2).await;
    run(&cluster, "dump", &[]).await;
    let bob = cluster.replica(0).account("bob").await;
    let lost = say(&mut clients[0], 5..10).await;
    run(&cluster, "restore", &[]).await;
    they_learn_of_it(&cluster, &ann, clients, &lost, 5).await;
    // A room that lost nothing has not noticed.
    say(&mut quiet[0], 2..3).await;
    for client in &mut quiet {
        client.next_where(|event| event["seq"] == 3).await;
    }
    let rehearsed = cluster.database_url().rsplit_once('/').unwrap().0.to_owned() + "/chat_rehearsal";
    run(&cluster, "rehearsal", &[("REHEARSAL_URL", &rehearsed)]).await;

    // An account that is gone: its token is nobody's, also when another one gets its id.
    let whose = async |token: &str| cluster.replica(1).get("/api/v1/users/me", Some(token)).await;
    assert_eq!(whose(&bob.token).await.status, 401);
    let carl = cluster.replica(0).account("carl").await;
    assert_eq!(carl.id, bob.id);
    cluster
        .sql("UPDATE accounts SET created_at = created_at + 61000 WHERE username = 'carl'")
        .await;
    let answer = whose(&bob.token).await;
    assert_eq!(answer.status, 401, "who was {} is {}", bob.username, answer.body);
    assert_eq!(whose(&ann.token).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_archive_leads_back_to_a_second() {
    let server = PostgresServer::start().await;
    let archive = server.folder_of_its_own("archive").await;
    let here = |lines: String| lines.replace("/archive/", &format!("{}/", archive.display()));
    for line in here(block(PAGE, "archive")).lines() {
        server.sql(&format!("ALTER SYSTEM SET {line}")).await;
    }
    server.stop().await;
    server.start_again().await;
    let options = Options {
        replicas: 2,
        database: Some(server.database().await),
        settings: &[("HEAD_CHECK_MS", "200")],
        ..Options::default()
    };
    let cluster = Cluster::start_with(binary(), options).await;
    let ann = cluster.replica(0).account("ann").await;
    let mut clients = everybody(&cluster, &ann, "hall").await;
    say(&mut clients[0], 0..3).await;
    let base = server.copy().await;
    // In no backup but the archive.
    say(&mut clients[0], 3..6).await;
    let moment = server.sql("SELECT clock_timestamp()").await;
    let lost = say(&mut clients[0], 6..8).await;
    let segment = server.sql("SELECT pg_walfile_name(pg_switch_wal())").await;
    until("the archive has it", PATIENCE, async || {
        archive.join(&segment).exists()
    })
    .await;

    let settings = here(block(PAGE, "recovery"));
    let given = settings.split('\'').nth(3).expect("a moment");
    server.recover(&base, &settings.replace(given, &moment)).await;
    run(&cluster, "check", &[]).await;
    they_learn_of_it(&cluster, &ann, clients, &lost, 6).await;
}
