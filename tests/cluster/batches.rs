//! Batches of several replicas on the same rooms neither deadlock nor leave holes (I2).

use futures_util::future::join_all;
use serde_json::json;
use testkit::{Backend, Client, Cluster};

use crate::binary;

const REPLICAS: usize = 2;
const ROOMS: usize = 5;
/// Each begins with batches of both replicas at the same moment.
const ROUNDS: u64 = 12;
const MESSAGES: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn of_several_replicas_take_the_rooms_in_one_order() {
    let cluster = Cluster::start(binary(), Backend::Clustered, REPLICAS, &[]).await;
    // Between the locks of two rooms there is time for the other replica to take them the other way round.
    cluster
        .sql(
            "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END $$;
             CREATE TRIGGER linger BEFORE INSERT OR UPDATE ON rooms FOR EACH ROW EXECUTE FUNCTION linger()",
        )
        .await;
    let ann = cluster.replica(0).account("ann").await;
    let sessions = (0..REPLICAS * ROOMS).map(|n| {
        let (replica, room, token) = (
            cluster.replica(n % REPLICAS),
            format!("room {}", n / REPLICAS),
            &ann.token,
        );
        async move {
            let mut client = Client::connect(replica, &room, Some(token), "after=0")
                .await
                .unwrap();
            for round in 0..ROUNDS {
                for k in 0..MESSAGES {
                    client
                        .send(json!({"text": "hello", "nonce": format!("{n}.{round}.{k}")}))
                        .await;
                }
                // A deadlock would be somebody's UNAVAILABLE.
                for _ in 0..MESSAGES {
                    let answer = client.next_where(|event| event["type"] != "message").await;
                    assert_eq!(answer["type"], "ack", "{answer}");
                }
            }
            for seq in 1..=ROUNDS * MESSAGES * REPLICAS as u64 {
                assert_eq!(client.next("message").await["seq"], seq);
            }
        }
    });
    join_all(sessions).await;
}
