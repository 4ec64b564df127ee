//! One machine, SQLite: leaving, coming back, and sharing the file for a moment.

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{Backend, Client, Cluster, Options, block, shell, until};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use crate::binary;

const PATIENCE: Duration = Duration::from_secs(20);

/// Takes SQLite's write lock, says so, and gives it back a second later.
const HOLD: &str = "
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute('BEGIN IMMEDIATE')
print('held', flush=True)
time.sleep(1)
db.execute('ROLLBACK')
";

/// What a backup does, or somebody with a shell. A message with a nonce is looked for before it is stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_waits_while_another_process_has_the_database() {
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &[]).await;
    let replica = cluster.replica(0);
    let ann = replica.account("ann").await;
    for body in [json!({"text": "a", "nonce": "n"}), json!({"text": "b"})] {
        let mut holder = testkit::command("python3")
            .args(["-c", HOLD])
            .arg(cluster.folder().join("data/chat.sqlite"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python3");
        let mut said = BufReader::new(holder.stdout.take().unwrap()).lines();
        let held = timeout(PATIENCE, said.next_line())
            .await
            .expect("in time")
            .unwrap();
        assert_eq!(held.as_deref(), Some("held"));
        let posted = replica
            .post("/api/v1/rooms/hall/messages", Some(&ann.token), &body)
            .await;
        assert_eq!(posted.status, 201, "{}", posted.body);
        assert!(timeout(PATIENCE, holder.wait()).await.unwrap().unwrap().success());
    }
}

/// There is no other replica to go to, so nobody's leaving has to be spread out.
#[tokio::test(flavor = "multi_thread")]
async fn it_leaves_within_a_second_with_people_in_a_room() {
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &[("DRAIN_SECONDS", "20")]).await;
    let replica = cluster.replica(0);
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Client::connect(replica, "hall", None, "").await.unwrap());
    }
    let told = Instant::now();
    replica.terminate().await;
    // They are told as by any replica; one of them does not answer.
    let _mute = clients.pop();
    for client in &mut clients {
        assert_eq!(client.next_event().await["type"], "reconnect");
        client.closed().await;
    }
    replica.wait().await;
    let took = told.elapsed();
    assert!(
        took < Duration::from_millis(1500),
        "{took:?}, a busy machine's share in it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_waits_for_the_one_before_to_leave() {
    let options = Options {
        backend: Backend::Embedded,
        replicas: 0,
        ..Options::default()
    };
    let mut cluster = Cluster::start_with(binary(), options).await;
    let data = cluster.folder().join("data");
    std::fs::create_dir(&data).unwrap();
    let before = File::create(data.join("lock")).unwrap();
    before.lock().unwrap();
    let index = cluster.launch_replica(&[]);
    let replica = cluster.replica(index);
    until("it says that it waits", PATIENCE, || async {
        replica.log().contains("waiting for it to leave")
    })
    .await;
    before.unlock().unwrap();
    until("it serves", PATIENCE, || async {
        replica.ops_status("/readyz").await == Some(200)
    })
    .await;
}

/// As deploy/backup.md says: a backup while people write, and what they see when it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_while_it_runs_and_put_back() {
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &[]).await;
    let (replica, folder) = (cluster.replica(0), cluster.folder());
    let ann = replica.account("ann").await;
    let mut client = Client::connect(replica, "hall", Some(&ann.token), "")
        .await
        .unwrap();
    for n in 0..3 {
        client.say("kept", &n.to_string()).await;
    }
    // So new that it is in the write-ahead log alone.
    assert!(
        std::fs::metadata(folder.join("data/chat.sqlite-wal"))
            .unwrap()
            .len()
            > 0
    );
    let (mut more, backup) = (json!(null), block("deploy/backup.md", "backup-embedded"));
    tokio::join!(shell(&backup, folder, binary(), &[]), async {
        for n in 3..6 {
            more = client.say("perhaps kept", &n.to_string()).await;
        }
    });
    let lost = client.say("lost", "l").await;
    assert_eq!((&more["seq"], &lost["seq"]), (&json!(6), &json!(7)));

    replica.terminate().await;
    replica.wait().await;
    shell(
        &block("deploy/backup.md", "restore-embedded"),
        folder,
        binary(),
        &[],
    )
    .await;
    replica.start_again().await;
    let history = replica.history("hall").await;
    assert!((3..=6).contains(&history.len()), "{history:?}");
    let query = format!("after=7&id={}", lost["id"].as_str().unwrap());
    let mut back = Client::connect(replica, "hall", Some(&ann.token), &query)
        .await
        .unwrap();
    assert_eq!(back.joined["recovered"], false);
    assert_eq!(back.say("goes on", "g").await["seq"], history.len() + 1);
}
