//! Postgres comes back from an older copy while replicas live: what was acked since is gone, its places go to other
//! messages, and whoever follows such a room is told, on every replica, whatever is noticed first (I3).

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{
    Account, Backend, Client, Cluster, Ended, OlderCopy, Options, PostgresServer, Proxy, Target, until,
};

use super::crowd::subscribed;
use crate::{PATIENCE, binary};

const LOST: &str = "lobby";
const KEPT: &str = "kept";

/// Three replicas on a Postgres that can be put back.
struct Place {
    cluster: Cluster,
    postgres: PostgresServer,
    ann: Account,
    copy: OlderCopy,
    /// Of the messages of the lobby, the last of which are not in the copy.
    ids: Vec<Value>,
    /// A session on each replica, in the lobby and in the other room.
    lobby: Vec<Client>,
    kept: Vec<Client>,
}

impl Place {
    /// Ten messages in the lobby, of which the copy has five; three in a room that it has as a whole.
    async fn new(head_check_ms: &str) -> Self {
        let postgres = PostgresServer::start().await;
        let options = Options {
            replicas: 3,
            settings: &[("HEAD_CHECK_MS", head_check_ms)],
            database: Some(postgres.database().await),
            ..Options::default()
        };
        let cluster = Cluster::start_with(binary(), options).await;
        let ann = cluster.replica(0).account("ann").await;
        let (mut lobby, mut kept) = (Vec::new(), Vec::new());
        for replica in cluster.replicas() {
            for (room, clients) in [(LOST, &mut lobby), (KEPT, &mut kept)] {
                clients.push(
                    Client::connect(replica, room, Some(&ann.token), "")
                        .await
                        .unwrap(),
                );
            }
        }
        subscribed(&cluster, 2).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            post(cluster.replica(1), &ann, KEPT).await;
        }
        for _ in 0..5 {
            ids.push(post(cluster.replica(0), &ann, LOST).await["id"].clone());
        }
        let copy = postgres.copy().await;
        for _ in 0..5 {
            ids.push(post(cluster.replica(0), &ann, LOST).await["id"].clone());
        }
        for (clients, head) in [(&mut lobby, 10), (&mut kept, 3)] {
            for client in clients {
                client.next_where(|event| event["seq"] == head).await;
            }
        }
        Self {
            cluster,
            postgres,
            ann,
            copy,
            ids,
            lobby,
            kept,
        }
    }

    async fn put_back(&self) {
        self.postgres.put_back(&self.copy).await;
    }

    /// Whether a resume says that it is exact, on each replica.
    async fn recovered(&self, query: &str) -> [Value; 3] {
        let mut answers = [Value::Null, Value::Null, Value::Null];
        for (answer, replica) in answers.iter_mut().zip(self.cluster.replicas()) {
            let client = Client::connect(replica, LOST, None, query).await.unwrap();
            *answer = client.joined["recovered"].clone();
            client.leave().await;
        }
        answers
    }

    fn at(&self, seq: usize) -> String {
        format!("after={seq}&id={}", self.ids[seq - 1].as_str().unwrap())
    }

    async fn everybody_is_sent_away(&mut self) {
        for client in &mut self.lobby {
            client.next("reconnect").await;
            assert_eq!(client.closed().await, 4410);
        }
    }

    /// The other room's sessions have not noticed anything, and hear what is said now.
    async fn the_other_room_goes_on(&mut self) {
        let next = post(self.cluster.replica(2), &self.ann, KEPT).await;
        assert_eq!(next["seq"], 4);
        for client in &mut self.kept {
            assert_eq!(
                client.next_where(|event| event["seq"] == 4).await["id"],
                next["id"]
            );
        }
        for replica in self.cluster.replicas() {
            let metrics = replica.metrics().await;
            assert!(metrics.contains("chat_rooms_went_back_total 1\n"), "{metrics}");
            assert_eq!(replica.log().matches("history went back").count(), 1);
        }
    }
}

/// Publishes, again and again with the same nonce, as an outage demands.
async fn post(to: impl AsRef<Target>, by: &Account, room: &str) -> Value {
    let message = json!({"text": "hello", "nonce": uuid()});
    let answer = std::sync::Mutex::new(Value::Null);
    until("published", PATIENCE, async || {
        let path = Target::history_path(room, "");
        let posted = to.as_ref().post(&path, Some(&by.token), &message).await;
        *answer.lock().unwrap() = posted.body["data"].clone();
        posted.status == 201
    })
    .await;
    answer.into_inner().unwrap()
}

fn uuid() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid")
        .unwrap()
        .trim()
        .to_owned()
}

/// Nothing but the messages themselves shows it: the heads are not checked.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_after_an_older_copy_came_back_reaches_everybody() {
    let mut place = Place::new("60000").await;
    place.put_back().await;
    let first = post(place.cluster.replica(0), &place.ann, LOST).await;
    assert_eq!(first["seq"], 6);
    place.everybody_is_sent_away().await;
    // They come back, each to another replica, with what they had.
    let mut back = Vec::new();
    for n in 0..3 {
        let client = Client::connect(place.cluster.replica((n + 1) % 3), LOST, None, &place.at(10))
            .await
            .unwrap();
        assert_eq!(
            (&client.joined["recovered"], &client.joined["seq"]),
            (&json!(false), &json!(6))
        );
        back.push(client);
    }
    // What is acked now is seen by all of them, once, and stands in every replica's history.
    let mut acked = vec![first];
    for n in 0..6 {
        acked.push(post(place.cluster.replica(n % 3), &place.ann, LOST).await);
    }
    for client in &mut back {
        for message in &acked[1..] {
            assert_eq!(&client.next_event().await["id"], &message["id"]);
        }
    }
    for replica in place.cluster.replicas() {
        let history = replica.history(LOST).await;
        assert_eq!(&history[5..], &acked);
    }
    let (no, yes) = (
        [json!(false), json!(false), json!(false)],
        [json!(true), json!(true), json!(true)],
    );
    // Where the client knows which message it had, the answer is exact; the number alone could be of either history.
    for (query, recovered) in [
        (place.at(10), &no),
        (place.at(6), &no),
        (place.at(5), &yes),
        (place.at(1), &yes),
        ("after=10".to_owned(), &no),
        ("after=6".to_owned(), &no),
        ("after=5".to_owned(), &yes),
        ("after=12".to_owned(), &yes),
        ("after=13".to_owned(), &no),
    ] {
        assert_eq!(&place.recovered(&query).await, recovered, "{query}");
    }
    place.the_other_room_goes_on().await;
}

/// Nobody says anything: the head check finds it.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_is_noticed_where_nobody_writes() {
    let mut place = Place::new("200").await;
    place.put_back().await;
    place.everybody_is_sent_away().await;
    for (query, recovered) in [
        (place.at(10), false),
        ("after=10".to_owned(), false),
        (place.at(5), true),
    ] {
        for replica in place.cluster.replicas() {
            let mut client = Client::connect(replica, LOST, None, &query).await.unwrap();
            assert_eq!(
                (&client.joined["recovered"], &client.joined["seq"]),
                (&json!(recovered), &json!(5))
            );
            assert_eq!(
                client.try_next_event(Duration::from_millis(1)).await,
                Err(Ended::Silence)
            );
        }
    }
    place.the_other_room_goes_on().await;
}

/// A replica heard nothing of the new messages, and they are as many as were lost: nothing is behind, and yet.
#[tokio::test(flavor = "multi_thread")]
async fn as_many_other_messages_are_not_taken_for_the_lost_ones() {
    let mut place = Place::new("200").await;
    for replica in place.cluster.replicas() {
        replica.freeze();
    }
    place.put_back().await;
    // As another replica would have committed them while Redis was away, ids of no replica's.
    let others = "INSERT INTO messages (room_id, seq, id, sender_id, sender_name, body, created_at)
        SELECT room_id, seq + 5, gen_random_uuid(), sender_id, sender_name, body, created_at FROM messages
        WHERE room_id = (SELECT id FROM rooms WHERE name = 'lobby') AND seq <= 5;
        UPDATE rooms SET last_seq = 10 WHERE name = 'lobby'";
    place.cluster.sql(others).await;
    for replica in place.cluster.replicas() {
        replica.unfreeze();
    }
    place.everybody_is_sent_away().await;
    assert_eq!(
        place.recovered(&place.at(10)).await,
        [json!(false), json!(false), json!(false)]
    );
    place.the_other_room_goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_and_idle_rooms_are_in_no_doubt() {
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &[("HEAD_CHECK_MS", "10")]).await;
    let ann = cluster.replica(0).account("ann").await;
    let mut client = Client::connect(cluster.replica(0), LOST, None, "").await.unwrap();
    for seq in 1..=50 {
        post(cluster.replica(0), &ann, LOST).await;
        assert_eq!(client.next_event().await["seq"], seq);
    }
    let metrics = cluster.replica(0).metrics().await;
    assert!(metrics.contains("chat_rooms_went_back_total 0\n"), "{metrics}");
}

/// A standby that lacks the newest messages answers in the primary's place: that is no proof, it may only lag. Once it is
/// promoted it is the history.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_believed_when_it_is_promoted() {
    let primary = PostgresServer::start().await;
    let proxy = Proxy::start(primary.port()).await;
    let database = primary
        .database()
        .await
        .replace(&primary.port().to_string(), &proxy.port().to_string());
    let options = Options {
        settings: &[("HEAD_CHECK_MS", "50")],
        database: Some(database),
        ..Options::default()
    };
    let cluster = Cluster::start_with(binary(), options).await;
    let ann = cluster.replica(0).account("ann").await;
    let mut client = Client::connect(cluster.replica(0), LOST, None, "").await.unwrap();
    post(cluster.replica(0), &ann, LOST).await;
    let standby = primary.standby().await;
    standby.stop().await;
    let lost = post(cluster.replica(0), &ann, LOST).await;
    client.next_where(|event| event["seq"] == 2).await;
    primary.stop().await;
    standby.start_again().await;
    proxy.redirect(standby.port());
    proxy.cut();
    let reads = async || {
        cluster
            .replica(0)
            .get(&Target::history_path(LOST, ""), None)
            .await
    };
    until("the standby answers", PATIENCE, async || {
        reads().await.body["data"]["seq"] == 1
    })
    .await;
    // For so long that the heads have been checked several times.
    assert_eq!(client.next_event().await["seq"], 1);
    assert_eq!(
        client.try_next_event(Duration::from_millis(500)).await,
        Err(Ended::Silence)
    );
    standby.promote().await;
    assert_eq!(client.closed().await, 4410);
    let query = format!("after=2&id={}", lost["id"].as_str().unwrap());
    let back = Client::connect(cluster.replica(0), LOST, None, &query)
        .await
        .unwrap();
    assert_eq!(
        (&back.joined["recovered"], &back.joined["seq"]),
        (&json!(false), &json!(1))
    );
}
