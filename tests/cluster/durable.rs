//! I1: nobody sees, and no sender is acked, what is not committed.
//!
//! Postgres itself is told to hold a commit back, or to fail it, by a trigger that runs when the transaction
//! commits: by then the rows are inserted and the server has been told their seqs.

use std::time::Duration;

use serde_json::json;
use testkit::{Backend, Client, Cluster, Ended, Target, until};

use super::crowd::subscribed;
use crate::{PATIENCE, binary};

/// Calls `function` for each new message at the commit of its transaction.
async fn at_commit(cluster: &Cluster, body: &str) {
    cluster
        .sql(&format!(
            "CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION at_commit()"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_what_is_not_committed_yet() {
    let cluster = Cluster::start(binary(), Backend::Clustered, 2, &[("HEAD_CHECK_MS", "100")]).await;
    at_commit(&cluster, "PERFORM pg_advisory_xact_lock_shared(1);").await;
    let ann = cluster.replica(0).account("ann").await;
    let mut sender = Client::connect(cluster.replica(0), "hall", Some(&ann.token), "")
        .await
        .unwrap();
    let mut neighbour = Client::connect(cluster.replica(0), "hall", None, "")
        .await
        .unwrap();
    let mut distant = Client::connect(cluster.replica(1), "hall", None, "")
        .await
        .unwrap();
    subscribed(&cluster, 1).await;

    let mut holder = cluster.sql_session();
    for round in 0..5 {
        let seq = round * 2;
        holder.run("SELECT pg_advisory_lock(1)");
        sender
            .send(json!({"text": "held", "nonce": format!("held {round}")}))
            .await;
        let posting = async {
            let message = json!({"text": "held as well"});
            cluster
                .replica(1)
                .post(&Target::history_path("hall", ""), Some(&ann.token), &message)
                .await
        };
        let mut posting = Box::pin(posting);
        // Both commits are under way, one of them behind the other one's row lock, and can not end.
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                     AND wait_event_type = 'Lock'";
        tokio::select! {
            answer = &mut posting => panic!("answered before the commit: {}", answer.body),
            () = until("two commits wait", PATIENCE, || async { cluster.sql(waits).await == "2" }) => {}
        }
        for client in [&mut sender, &mut neighbour, &mut distant] {
            let nothing = client.try_next_event(Duration::from_millis(300)).await;
            assert_eq!(nothing, Err(Ended::Silence), "before the commit");
        }
        for replica in cluster.replicas() {
            assert_eq!(replica.history("hall").await.len(), seq, "before the commit");
            let late = Client::connect(replica, "hall", None, "last=200").await.unwrap();
            assert_eq!(
                late.joined["seq"], 0,
                "from the first, which is all that there is: {}",
                late.joined
            );
            let late = Client::connect(replica, "hall", None, "").await.unwrap();
            assert_eq!(late.joined["seq"], seq);
        }
        tokio::select! {
            biased;
            answer = &mut posting => panic!("answered before the commit: {}", answer.body),
            () = std::future::ready(()) => {}
        }
        holder.run("SELECT pg_advisory_unlock(1)");
        assert_eq!(posting.await.status, 201);
        let ack = sender.next("ack").await;
        assert_eq!(ack["nonce"], format!("held {round}"));
        for client in [&mut sender, &mut neighbour, &mut distant] {
            for seq in seq + 1..=seq + 2 {
                assert_eq!(client.next("message").await["seq"], seq);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_what_fails_to_commit() {
    let cluster = Cluster::start(binary(), Backend::Clustered, 2, &[("HEAD_CHECK_MS", "100")]).await;
    at_commit(
        &cluster,
        "IF NEW.body = 'poison' THEN RAISE EXCEPTION 'no'; END IF;",
    )
    .await;
    let ann = cluster.replica(0).account("ann").await;
    let mut sender = Client::connect(cluster.replica(0), "hall", Some(&ann.token), "")
        .await
        .unwrap();
    let mut neighbour = Client::connect(cluster.replica(0), "hall", None, "")
        .await
        .unwrap();
    let mut distant = Client::connect(cluster.replica(1), "hall", None, "")
        .await
        .unwrap();
    subscribed(&cluster, 1).await;
    for seq in 1..=20 {
        let refused = sender.say("poison", &format!("bad {seq}")).await;
        assert_eq!(
            (&refused["type"], &refused["error"]["type"]),
            (&json!("error"), &json!("UNAVAILABLE"))
        );
        // The seq that it would have had is the next one's: no hole, and nobody has seen another in its place.
        assert_eq!(sender.say("good", &format!("good {seq}")).await["seq"], seq);
        for client in [&mut sender, &mut neighbour, &mut distant] {
            let message = client.next("message").await;
            assert_eq!((&message["seq"], &message["text"]), (&json!(seq), &json!("good")));
        }
    }
    let post = |text: &'static str| {
        let cluster = &cluster;
        let token = &ann.token;
        async move {
            let path = Target::history_path("hall", "");
            cluster
                .replica(1)
                .post(&path, Some(token), &json!({"text": text}))
                .await
        }
    };
    let answer = post("poison").await;
    assert_eq!(
        (answer.status, &answer.body["error"]["type"]),
        (503, &json!("UNAVAILABLE"))
    );
    assert_eq!(post("good").await.body["data"]["seq"], 21);
    assert_eq!(cluster.replica(0).history("hall").await.len(), 21);
}

/// Every write of a room waits: nothing is lost or answered early, and everything comes when it may.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_only_delays() {
    let cluster = Cluster::start(binary(), Backend::Clustered, 2, &[]).await;
    let ann = cluster.replica(0).account("ann").await;
    let mut sender = Client::connect(cluster.replica(0), "hall", Some(&ann.token), "")
        .await
        .unwrap();
    let mut distant = Client::connect(cluster.replica(1), "hall", None, "")
        .await
        .unwrap();
    let mut holder = cluster.sql_session();
    holder.run("BEGIN; LOCK TABLE messages IN SHARE MODE");
    for n in 1..=200 {
        sender
            .send(json!({"text": format!("{n}"), "nonce": format!("{n}")}))
            .await;
    }
    assert_eq!(
        sender.try_next_event(Duration::from_secs(1)).await,
        Err(Ended::Silence)
    );
    assert_eq!(
        distant.try_next_event(Duration::from_millis(1)).await,
        Err(Ended::Silence)
    );
    holder.run("COMMIT");
    for seq in 1..=200 {
        assert_eq!(sender.next("ack").await["seq"], seq);
        assert_eq!(distant.next("message").await["text"], format!("{seq}"));
    }
}
