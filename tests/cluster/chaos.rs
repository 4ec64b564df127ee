//! Three replicas, 30 people, 20 rooms, 10,000 messages: everybody sees their rooms 1, 2, 3 … (I2, I3), every message
//! once (I4), while Redis loses, forgets and hangs up (I5) and replicas are killed (I6).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use testkit::{Backend, Cluster, Options, RedisServer, Target, until};
use tokio::time::sleep;

use super::crowd::Crowd;
use super::faulty_redis::{Fault, FaultyRedis};
use crate::{PATIENCE, binary};

const REPLICAS: usize = 3;
const PEOPLE: usize = 30;
/// Each person is in two rooms.
const SESSIONS: u32 = 2 * PEOPLE as u32;
const ROOMS: usize = 20;
const MESSAGES: usize = 10_000;

/// Says all messages over about twelve seconds, so that chaos has time to happen.
async fn talk(crowd: &mut Crowd) {
    crowd.talk(MESSAGES, 8, Duration::from_millis(10)).await;
}

/// Nobody had to connect again or to send again: batches of different replicas on the same rooms do not deadlock.
fn undisturbed(crowd: &Crowd) {
    assert_eq!((crowd.joins(), crowd.retries()), (SESSIONS, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_every_message_once_and_in_order() {
    let cluster = Cluster::start(binary(), Backend::Clustered, REPLICAS, &[]).await;
    let mut crowd = Crowd::join(&cluster, PEOPLE, ROOMS).await;
    // As fast as the servers take them.
    crowd.talk(MESSAGES, MESSAGES, Duration::from_millis(1)).await;
    crowd.settle(&cluster).await;
    undisturbed(&crowd);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_loses_is_found() {
    let redis = Arc::new(RedisServer::start().await);
    let faulty = FaultyRedis::start(redis.port(), Fault::LosesEveryTenth).await;
    let settings = [("REDIS_URL", &*faulty.url())];
    let options = Options {
        replicas: REPLICAS,
        redis: Some(redis),
        settings: &settings,
        ..Options::default()
    };
    let cluster = Cluster::start_with(binary(), options).await;
    let mut crowd = Crowd::join(&cluster, PEOPLE, ROOMS).await;
    talk(&mut crowd).await;
    crowd.settle(&cluster).await;
    let (published, lost) = faulty.counts();
    assert!(
        published >= MESSAGES as u64 && lost >= published / 10,
        "{lost} of {published} lost"
    );
    undisturbed(&crowd);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_that_are_killed_hear_again() {
    let cluster = Cluster::start(binary(), Backend::Clustered, REPLICAS, &[]).await;
    let mut crowd = Crowd::join(&cluster, PEOPLE, ROOMS).await;
    let killed = AtomicU64::new(0);
    let chaos = async {
        loop {
            let count = cluster.redis().cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
            killed.fetch_add(count.parse().unwrap_or(0), Ordering::Relaxed);
            cluster.redis().cli(&["FLUSHALL"]).await;
            sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = chaos => {}
        () = talk(&mut crowd) => {}
    }
    crowd.settle(&cluster).await;
    let killed = killed.into_inner();
    assert!(
        killed >= 3 * REPLICAS as u64,
        "only {killed} subscribers were killed"
    );
    undisturbed(&crowd);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_are_killed_take_nothing_with_them() {
    let cluster = Cluster::start(binary(), Backend::Clustered, REPLICAS, &[]).await;
    let mut crowd = Crowd::join(&cluster, PEOPLE, ROOMS).await;
    let kills = AtomicU64::new(0);
    let stop = AtomicU64::new(0);
    let chaos = async {
        let mut next = 0;
        while stop.load(Ordering::Relaxed) == 0 {
            sleep(Duration::from_secs(2)).await;
            let replica = cluster.replica(next % REPLICAS);
            replica.kill().await;
            kills.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(500)).await;
            replica.start_again().await;
            next += 1;
        }
    };
    let conversation = async {
        talk(&mut crowd).await;
        // The last one that was killed is started again before everything is checked.
        stop.store(1, Ordering::Relaxed);
    };
    tokio::join!(chaos, conversation);
    crowd.settle(&cluster).await;
    let kills = kills.into_inner();
    assert!(kills >= 3, "only {kills} replicas were killed");
    assert!(crowd.joins() > SESSIONS, "clients resumed");
}

/// A Postgres that fails over cuts every connection, also between a commit and its answer.
#[tokio::test(flavor = "multi_thread")]
async fn database_connections_that_are_cut_cost_a_retry() {
    const CUT: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                       WHERE datname = current_database() AND application_name = 'chat-gateway'";
    let cluster = Cluster::start(binary(), Backend::Clustered, REPLICAS, &[]).await;
    let mut crowd = Crowd::join(&cluster, 9, 6).await;
    let cut = AtomicU64::new(0);
    let chaos = async {
        loop {
            sleep(Duration::from_millis(500)).await;
            cut.fetch_add(cluster.sql(CUT).await.parse().unwrap_or(0), Ordering::Relaxed);
        }
    };
    tokio::select! {
        () = chaos => {}
        () = crowd.talk(3_000, 5, Duration::from_millis(10)) => {}
    }
    // The connections that nobody has used since are found dead by whoever does.
    for replica in cluster.replicas() {
        let path = Target::history_path("room 0", "");
        until("history answers again", PATIENCE, || async {
            replica.get(&path, None).await.status == 200
        })
        .await;
    }
    crowd.settle(&cluster).await;
    let cut = cut.into_inner();
    assert!(cut >= 3 * REPLICAS as u64, "only {cut} connections were cut");
}
