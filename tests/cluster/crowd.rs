//! Many people in many rooms, and what they must have seen in the end, whatever was done to the servers.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use testkit::{Cluster, ResumingClient, until};

use crate::PATIENCE;

/// How many messages of one client may be without an ack.
const WINDOW: usize = 32;

struct Member {
    room: usize,
    client: ResumingClient,
    /// nonce -> text of everything that it said.
    said: HashMap<String, String>,
}

pub struct Crowd {
    rooms: Vec<String>,
    members: Vec<Member>,
    said: usize,
}

impl Crowd {
    /// Signs `people` up; each joins two of `rooms` rooms, spread over the replicas so that every room has members
    /// on several.
    pub async fn join(cluster: &Cluster, people: usize, rooms: usize) -> Self {
        let replicas = cluster.replicas();
        let names: Vec<String> = (0..people).map(|n| format!("person {n}")).collect();
        let sign_ups = names
            .iter()
            .enumerate()
            .map(|(n, name)| replicas[n % replicas.len()].account(name));
        let accounts = join_all(sign_ups).await;
        let room_names: Vec<String> = (0..rooms).map(|n| format!("room {n}")).collect();
        let mut members = Vec::new();
        for (n, account) in accounts.iter().enumerate() {
            for (k, room) in [n % rooms, (n * 3 + 7) % rooms].into_iter().enumerate() {
                let token = Some(account.token.as_str());
                let client = ResumingClient::start(cluster.targets(), &room_names[room], token, n + k);
                members.push(Member {
                    room,
                    client,
                    said: HashMap::new(),
                });
            }
        }
        let crowd = Self {
            rooms: room_names,
            members,
            said: 0,
        };
        for member in &crowd.members {
            member.client.joined(PATIENCE).await;
        }
        crowd
    }

    /// Says so many messages, each member in turn, `at_once` of them every `every` at most.
    pub async fn talk(&mut self, messages: usize, at_once: usize, every: Duration) {
        let mut tick = tokio::time::interval(every);
        for n in 0..messages {
            if n % at_once == 0 {
                tick.tick().await;
            }
            let index = self.said % self.members.len();
            let member = &mut self.members[index];
            member.client.acked_but(WINDOW, PATIENCE).await;
            let text = format!("message {}", self.said);
            member.said.insert(member.client.say(&text), text);
            self.said += 1;
        }
    }

    /// How often clients have joined so far.
    pub fn joins(&self) -> u32 {
        self.members.iter().map(|member| member.client.joins()).sum()
    }

    /// How often clients were asked to send again.
    pub fn retries(&self) -> u32 {
        self.members
            .iter()
            .map(|member| member.client.seen().retries)
            .sum()
    }

    /// Waits until everything is acked and everybody has seen everything, then holds it to the invariants.
    pub async fn settle(&self, cluster: &Cluster) {
        for member in &self.members {
            member.client.acked_but(0, PATIENCE).await;
        }
        let mut stored = 0;
        for (room, name) in self.rooms.iter().enumerate() {
            let history = cluster.replica(0).history(name).await;
            stored += history.len();
            self.check_room(room, name, &history).await;
        }
        // I4: nothing that was sent again is there twice. I6: nothing that was acked is gone.
        assert_eq!(stored, self.said, "messages stored and messages said");
    }

    async fn check_room(&self, room: usize, name: &str, history: &[Value]) {
        let members = || self.members.iter().filter(move |member| member.room == room);
        let seqs: Vec<u64> = history.iter().map(|m| m["seq"].as_u64().unwrap()).collect();
        assert_eq!(
            seqs,
            (1..=history.len() as u64).collect::<Vec<_>>(),
            "the order stored of {name}"
        );

        let mut said: Vec<&str> = members()
            .flat_map(|m| m.said.values().map(String::as_str))
            .collect();
        let mut texts: BTreeMap<&str, &Value> = BTreeMap::new();
        for message in history {
            let text = message["text"].as_str().unwrap();
            assert!(
                texts.insert(text, message).is_none(),
                "stored twice in {name}: {message}"
            );
        }
        said.sort_unstable();
        assert_eq!(
            said,
            texts.keys().copied().collect::<Vec<_>>(),
            "what was said and what is stored in {name}"
        );

        for member in members() {
            member.client.reached(history.len() as u64, PATIENCE).await;
            let seen = member.client.seen();
            assert_eq!(seen.violations, Vec::<String>::new(), "of a client in {name}");
            // I2 and I3: the whole room, in one order, nothing twice.
            assert!(
                seen.messages == history,
                "a client saw another {name} than is stored"
            );
            assert_eq!(
                (seen.unrecovered, seen.stalls),
                (0, 0),
                "resumes refused, acks missing in {name}"
            );
            for (nonce, text) in &member.said {
                let (ack, message) = (&seen.acks[nonce], texts[text.as_str()]);
                assert_eq!(
                    (&ack["id"], &ack["seq"]),
                    (&message["id"], &message["seq"]),
                    "ack of {text}"
                );
            }
        }
    }
}

/// Waits until a replica has a subscription for each of `rooms` rooms.
pub async fn subscribed(cluster: &Cluster, rooms: usize) {
    until("every live room subscribed", PATIENCE, || async {
        channels(cluster).await.len() == rooms
    })
    .await;
}

/// The rooms' channels that somebody listens to.
pub async fn channels(cluster: &Cluster) -> Vec<String> {
    let output = cluster.redis().cli(&["PUBSUB", "CHANNELS", "*:room:*"]).await;
    output
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}
