//! The session's loop over a stream in memory, on a clock that stands still but when everybody waits.

use std::future::poll_fn;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::*;
use crate::busiest::Busiest;
use crate::drain::Drain;
use crate::health::Health;
use crate::ids::{Nonce, RoomName, Seq, UserId};
use crate::journal::{Committed, Committer, Journal};
use crate::limits::{Allowances, Limits};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::publish::Publishing;
use crate::relay::Relay;
use crate::replica::Rules;
use crate::room::{Entry, Rooms, WarmLimits};
use crate::store::{Appended, Store};
use crate::telemetry::{Origin, Traces};
use crate::tools::Tools;
use crate::ws::pipe::{Pipe, pipe};

/// As by default.
const RULES: Rules = Rules {
    message_max_bytes: 4096,
    resume_limit: 10_000,
    ping: Duration::from_secs(25),
    idle: Duration::from_secs(60),
    slow: Duration::from_secs(30),
};

/// A replica on a database that no test here needs once it has joined.
async fn replica(folder: &tempfile::TempDir) -> Arc<Replica> {
    let store = Store::open_embedded(&folder.path().join("chat.db"))
        .await
        .unwrap();
    let tools = Tools {
        metrics: Metrics::default(),
        traces: Traces::default(),
        health: Health::new(false),
        workers: TaskTracker::new(),
    };
    let memory = Memory::new(0, &tools.metrics);
    let warm = WarmLimits {
        messages: 512,
        bytes: 1 << 20,
    };
    let linger = Duration::from_secs(30);
    let rooms = Rooms::new(store.clone(), memory.rooms.clone(), warm, linger, tools.clone());
    let committer = Committer {
        store: store.clone(),
        rooms: rooms.clone(),
        relay: Relay::None,
        busiest: Busiest::default(),
        tools: tools.clone(),
    };
    let journal = Journal::start(committer, 64, 64);
    let none = Allowances {
        messages_per_second: 0,
        signups_per_minute: 0,
        logins_per_minute: 0,
        requests_per_second: 0,
        connections_per_address: 0,
        catch_up_bytes_per_second: 0,
        sessions_per_address: 0,
        sessions_per_user: 0,
    };
    Arc::new(Replica {
        store,
        rooms,
        publishing: Publishing::new(journal, tools.metrics.clone(), tools.traces.clone()),
        drain: Drain::default(),
        busiest: Busiest::default(),
        memory,
        limits: Limits::new(none, None, &tools.metrics),
        catch_up: Semaphore::new(2),
        rules: RULES,
        tools,
    })
}

/// The client's end, and what it has read of the next frame.
struct Client {
    pipe: Pipe,
    bytes: Vec<u8>,
}

#[derive(Debug, PartialEq)]
enum Seen {
    Events(Value),
    Ping,
    Pong(Vec<u8>),
    Close(u16),
}

impl Client {
    async fn next(&mut self) -> Seen {
        loop {
            if let Some(seen) = self.take() {
                return seen;
            }
            poll_fn(|cx| self.pipe.poll_read_ready(cx)).await.unwrap();
            let mut some = [0; 4096];
            let count = self.pipe.try_read(&mut some).unwrap();
            assert!(count > 0, "the server has gone");
            self.bytes.extend_from_slice(&some[..count]);
        }
    }

    fn take(&mut self) -> Option<Seen> {
        let (start, length) = match *self.bytes.get(1)? {
            126 => (
                4,
                usize::from(u16::from_be_bytes([*self.bytes.get(2)?, *self.bytes.get(3)?])),
            ),
            short => (2, usize::from(short)),
        };
        let payload = self.bytes.get(start..start + length)?.to_vec();
        let opcode = self.bytes[0] & 0x0F;
        self.bytes.drain(..start + length);
        Some(match opcode {
            1 => Seen::Events(serde_json::from_slice(&payload).unwrap()),
            9 => Seen::Ping,
            10 => Seen::Pong(payload),
            8 => Seen::Close(u16::from_be_bytes([payload[0], payload[1]])),
            other => panic!("opcode {other}"),
        })
    }

    /// The first event of the next frame.
    async fn event(&mut self) -> Value {
        match self.next().await {
            Seen::Events(events) => events[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    /// A short frame, masked with zeros.
    fn send(&self, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode, 0x80 | payload.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        assert_eq!(self.pipe.try_write(&frame).unwrap(), frame.len());
    }
}

struct Scene {
    replica: Arc<Replica>,
    seat: Seat,
    session: Option<Session<Pipe>>,
    client: Client,
    begun: Instant,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// A session that has joined a room; from now on time passes only while everybody waits. The stream holds `room` bytes
    /// each way, the session lasts for `seconds`, or is a guest's.
    async fn begin(room: usize, seconds: Option<u64>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let replica = replica(&folder).await;
        let name = RoomName::parse("hall").unwrap();
        let seat = replica.rooms.join(&name).await.unwrap();
        let joined = replica.join(&name, Position::Head).await.unwrap();
        tokio::time::pause();
        let writer = seconds.map(|seconds| {
            Box::new(Writer {
                user: User {
                    id: UserId(1),
                    username: "ann".into(),
                },
                until: Instant::now() + Duration::from_secs(seconds),
                rate: None,
                trace: None,
            })
        });
        let (ours, theirs) = pipe(room);
        let session = Session::new(
            replica.clone(),
            joined,
            writer,
            (ours, &[]),
            [127, 0, 0, 1].into(),
        );
        let client = Client {
            pipe: theirs,
            bytes: vec![],
        };
        Self {
            replica,
            seat,
            session: Some(session),
            client,
            begun: Instant::now(),
            _folder: folder,
        }
    }

    fn run(&mut self) -> JoinHandle<()> {
        self.replica
            .tools
            .workers
            .spawn(self.session.take().unwrap().run())
    }

    fn seconds(&self) -> u64 {
        (self.begun.elapsed() + Duration::from_millis(5)).as_secs()
    }

    /// Somebody's message reaches the room.
    fn news(&self, seq: u64, bytes: usize) {
        let entry = Entry {
            seq: Seq(seq),
            id: Uuid::from_u128(seq.into()),
            frame: frame::text(
                format!(
                    "[{{\"type\":\"message\",\"seq\":{seq},\"x\":\"{}\"}}]",
                    "x".repeat(bytes)
                )
                .as_bytes(),
            ),
        };
        let origin = Origin::at(std::time::SystemTime::now(), None);
        self.replica.rooms.committed(self.seat.id, entry, origin);
    }
}

#[tokio::test]
async fn it_pings_every_25_seconds_and_is_gone_after_60_without_a_frame() {
    let mut scene = Scene::begin(4096, None).await;
    scene.run();
    assert_eq!(scene.client.event().await["type"], "joined");
    for at in [25, 50] {
        assert_eq!((scene.client.next().await, scene.seconds()), (Seen::Ping, at));
    }
    assert_eq!(
        (scene.client.next().await, scene.seconds()),
        (Seen::Close(4408), 60)
    );
}

#[tokio::test]
async fn every_frame_is_a_sign_of_life() {
    let mut scene = Scene::begin(4096, None).await;
    scene.run();
    assert_eq!(scene.client.event().await["type"], "joined");
    for at in [25, 50, 75, 100] {
        assert_eq!((scene.client.next().await, scene.seconds()), (Seen::Ping, at));
        match at {
            25 => scene.client.send(10, b""),
            50 => scene.client.send(1, br#"{"type":"ping"}"#),
            _ => {}
        }
        if at == 50 {
            assert_eq!(scene.client.event().await["type"], "pong");
        }
    }
    assert_eq!(
        (scene.client.next().await, scene.seconds()),
        (Seen::Close(4408), 110)
    );
}

#[tokio::test]
async fn it_ends_with_its_token() {
    let mut scene = Scene::begin(4096, Some(20)).await;
    scene.run();
    assert_eq!(scene.client.event().await["user"]["username"], "ann");
    assert_eq!(
        (scene.client.next().await, scene.seconds()),
        (Seen::Close(4401), 20)
    );
}

#[tokio::test]
async fn it_leaves_within_the_window_and_says_so() {
    let mut scene = Scene::begin(4096, None).await;
    scene.run();
    assert_eq!(scene.client.event().await["type"], "joined");
    scene.replica.drain.begin(Duration::from_secs(20));
    scene.replica.rooms.call_all();
    let event = scene.client.event().await;
    assert_eq!(event["type"], "reconnect");
    assert!(event["after"].as_u64().unwrap() <= 1000);
    assert_eq!(scene.client.next().await, Seen::Close(1012));
    assert!(scene.seconds() <= 20);
}

#[tokio::test]
async fn who_does_not_read_is_given_up_after_30_seconds() {
    let mut scene = Scene::begin(300, None).await;
    let ended = scene.run();
    assert_eq!(scene.client.event().await["type"], "joined");
    tokio::time::sleep(Duration::from_secs(5)).await;
    // More than the stream holds.
    (1..=3).for_each(|seq| scene.news(seq, 200));
    ended.await.unwrap();
    // And a moment for what cannot be written any more.
    assert_eq!(scene.seconds(), 5 + 30 + 2);
}

#[tokio::test]
async fn who_reads_slowly_gets_all_of_it_and_stays() {
    let mut scene = Scene::begin(300, None).await;
    scene.run();
    assert_eq!(scene.client.event().await["type"], "joined");
    (1..=20).for_each(|seq| scene.news(seq, 200));
    for seq in 1..=20 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(scene.client.event().await["seq"], seq);
    }
    // It has caught up, and its patience begins anew.
    (21..=22).for_each(|seq| scene.news(seq, 200));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(scene.client.event().await["seq"], 21);
    assert_eq!(scene.client.event().await["seq"], 22);
    assert_eq!((scene.client.next().await, scene.seconds()), (Seen::Ping, 25));
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_messages_and_before_the_close() {
    let mut scene = Scene::begin(4096, Some(20)).await;
    let metrics = scene.replica.metrics().clone();
    let session = scene.session.as_mut().unwrap();
    let mut outcomes = Vec::new();
    for n in 1..=3 {
        let (resolve, outcome) = oneshot::channel();
        let nonce = Nonce::parse(format!("n{n}")).unwrap();
        session
            .in_flight
            .push_back(InFlight::for_tests(Some(nonce), outcome, metrics.clone()));
        outcomes.push(resolve);
    }
    scene.run();
    assert_eq!(scene.client.event().await["type"], "joined");
    let stored = |seq| {
        let appended = Appended {
            id: Uuid::from_u128(seq),
            seq: Seq(seq as u64),
            repeated: false,
        };
        Ok(Committed {
            appended,
            created_at: 0,
        })
    };
    let third = outcomes.pop().unwrap();
    outcomes.pop().unwrap().send(stored(2)).unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(scene.client.take(), None, "the first goes before");
    outcomes.pop().unwrap().send(stored(1)).unwrap();
    for n in [1, 2] {
        let ack = scene.client.event().await;
        assert_eq!(
            (&ack["type"], &ack["nonce"], &ack["seq"]),
            (&"ack".into(), &format!("n{n}").into(), &n.into())
        );
    }
    // Its token ends meanwhile; the close waits for what the journal has.
    tokio::time::sleep(Duration::from_secs(12)).await;
    third.send(stored(3)).unwrap();
    assert_eq!(scene.client.event().await["nonce"], "n3");
    assert_eq!(
        (scene.client.next().await, scene.seconds()),
        (Seen::Close(4401), 22)
    );
}
