//! Two deployments with a prefix each share a Redis and nothing else.

use std::sync::Arc;
use std::time::Duration;

use testkit::{Client, Cluster, Ended, Options, RedisServer};

use super::crowd::channels;
use crate::binary;

#[tokio::test(flavor = "multi_thread")]
async fn deployments_that_share_a_redis_do_not_mix() {
    let redis = Arc::new(RedisServer::start().await);
    let start = |prefix: &'static str| {
        let redis = Some(redis.clone());
        async move {
            let settings = [("RELAY_PREFIX", prefix)];
            let options = Options {
                replicas: 2,
                redis,
                settings: &settings,
                ..Options::default()
            };
            Cluster::start_with(binary(), options).await
        }
    };
    let (red, blue) = tokio::join!(start("red"), start("blue"));
    let (ann, bob) = tokio::join!(red.replica(0).account("ann"), blue.replica(0).account("bob"));
    // Tokens of one are not good for the other.
    assert!(
        Client::connect(blue.replica(0), "hall", Some(&ann.token), "")
            .await
            .is_err()
    );

    let mut red_sender = Client::connect(red.replica(0), "hall", Some(&ann.token), "")
        .await
        .unwrap();
    let mut blue_sender = Client::connect(blue.replica(0), "hall", Some(&bob.token), "")
        .await
        .unwrap();
    let mut red_reader = Client::connect(red.replica(1), "hall", None, "").await.unwrap();
    let mut blue_reader = Client::connect(blue.replica(1), "hall", None, "").await.unwrap();
    // One is always ahead of the other, so that a message of the wrong one would fit as the next.
    for n in 0..20 {
        assert_eq!(red_sender.say("red", &format!("a{n}")).await["seq"], 2 * n + 1);
        assert_eq!(red_sender.say("red", &format!("b{n}")).await["seq"], 2 * n + 2);
        assert_eq!(blue_sender.say("blue", &format!("a{n}")).await["seq"], n + 1);
    }
    for (reader, color, count) in [(&mut red_reader, "red", 40), (&mut blue_reader, "blue", 20)] {
        for seq in 1..=count {
            let message = reader.next("message").await;
            assert_eq!((&message["seq"], &message["text"]), (&seq.into(), &color.into()));
        }
        assert_eq!(
            reader.try_next_event(Duration::from_millis(500)).await,
            Err(Ended::Silence)
        );
    }
    let channels = channels(&red).await;
    assert!(
        channels.iter().any(|c| c.starts_with("red:")) && channels.iter().any(|c| c.starts_with("blue:"))
    );
}
