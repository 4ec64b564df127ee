//! A replica stays within its memory whatever strangers do, under a limit at which the kernel would kill it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use testkit::{Account, Backend, Client, Cluster, Replica, Target, until};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::binary;

const LIMIT: u64 = 512 << 20;
const MINUTE: Duration = Duration::from_secs(60);
/// What the replica may hold afterwards beside what it held idle, in KiB.
const LITTLE: u64 = 20 << 10;

/// A control group with a limit of memory, gone when dropped.
struct Group(PathBuf);

impl Group {
    /// `None`: this machine does not let us make one, which has been said.
    fn new(name: &str) -> Option<Self> {
        let of = |root: &str, file: &str| {
            let group = Path::new(root).join(format!("chat-gateway-{name}-{}", std::process::id()));
            std::fs::create_dir(&group).ok()?;
            let group = Self(group);
            std::fs::write(group.0.join(file), LIMIT.to_string()).ok()?;
            Some(group)
        };
        let group = of("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            .or_else(|| of("/sys/fs/cgroup", "memory.max"));
        if group.is_none() {
            eprintln!("skipped: this machine lets nobody make a control group with a limit of memory");
        }
        group
    }

    /// A program that runs the replica in the group.
    fn wrapper(&self, folder: &Path) -> PathBuf {
        let wrapper = folder.join("in-a-group");
        let procs = self.0.join("cgroup.procs");
        let script = format!(
            "#!/bin/sh\necho $$ > '{}' || exit 9\nexec '{}' \"$@\"\n",
            procs.display(),
            binary().display()
        );
        std::fs::write(&wrapper, script).expect("a script");
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).expect("executable");
        wrapper
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// So many connections that send this and read nothing.
async fn deaf(replica: &Replica, count: usize, request: &str) -> Vec<TcpStream> {
    let connect = async |_| {
        let mut stream = TcpStream::connect(("127.0.0.1", replica.port())).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        Some(stream)
    };
    let all = futures_util::future::join_all((0..count).map(connect)).await;
    all.into_iter().flatten().collect()
}

async fn gauge(replica: &Replica, name: &str, share: &str) -> f64 {
    let metrics = replica.metrics().await;
    let start = format!("{name}{{share=\"{share}\"}} ");
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(&start)?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} of {share}"))
}

async fn is_back(replica: &Replica, what: &str, idle: u64) {
    until(&format!("memory is back after {what}"), MINUTE, async || {
        let now = replica.resident_kib();
        now < idle + LITTLE
    })
    .await;
}

async fn fill(replica: &Replica, account: &Account, room: &str) {
    // Each byte is six in JSON.
    let text = "\u{1}".repeat(4096);
    let path = format!("/api/v1/rooms/{room}/messages");
    for _ in 0..5 {
        let body = json!({"text": text});
        let say = (0..40).map(|_| replica.post(&path, Some(&account.token), &body));
        for answer in futures_util::future::join_all(say).await {
            assert_eq!(answer.status, 201, "{}", answer.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_get_a_replica_killed() {
    let Some(group) = Group::new("strangers") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let settings = [("PASSWORD_WORKERS", "8"), ("WARM_LOG_BYTES", "65536")];
    let cluster = Cluster::start(&group.wrapper(folder.path()), Backend::Embedded, 1, &settings).await;
    let replica = cluster.replica(0);
    let rooms = gauge(replica, "chat_memory_limit_bytes", "rooms").await;
    assert_eq!(rooms, (LIMIT / 4) as f64, "the limit is the group's");
    let account = replica.account("filler").await;
    fill(replica, &account, "long").await;
    replica
        .get(&Target::history_path("long", "limit=200"), None)
        .await;
    let idle = replica.resident_kib();

    // Long answers that nobody reads.
    let request = "GET /api/v1/rooms/long/messages?limit=200 HTTP/1.1\r\nHost: x\r\n\r\n";
    let crowd = deaf(replica, 190, request).await;
    until("answers are refused", MINUTE, async || {
        let refused = "chat_limits_hit_total{limit=\"memory_answers\"} 0\n";
        !replica.metrics().await.contains(refused)
    })
    .await;
    let held = gauge(replica, "chat_memory_held_bytes", "answers").await;
    assert!(held <= (LIMIT / 8) as f64, "{held}");
    until("those that are held are cut", MINUTE, async || {
        gauge(replica, "chat_memory_held_bytes", "answers").await == 0.0
    })
    .await;
    drop(crowd);
    is_back(replica, "answers that nobody read", idle).await;

    // More log-ins at once than there is memory for.
    let guess = json!({"username": account.username, "secret": "a guess"});
    let logins = (0..64).map(|_| replica.post("/api/v1/login", None, &guess));
    for answer in futures_util::future::join_all(logins).await {
        assert!([401, 503].contains(&answer.status), "{}", answer.body);
    }
    is_back(replica, "log-ins", idle).await;

    // Guests that are fed from the store, and read nothing.
    let handshake = "GET /api/v1/rooms/long/messages/ws?last=200 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let crowd = deaf(replica, 300, handshake).await;
    until("they are there", MINUTE, async || {
        let metrics = replica.metrics().await;
        let joined = metrics
            .lines()
            .find_map(|line| line.strip_prefix("chat_joins_total "));
        joined.is_some_and(|count| count.parse().is_ok_and(|count: f64| count >= 300.0))
    })
    .await;
    let most = replica.resident_kib();
    assert!(most < idle + (200 << 10), "{most} KiB, idle {idle}");
    drop(crowd);
    is_back(replica, "guests that read nothing", idle).await;
    assert_eq!(replica.ops_status("/readyz").await, Some(200));
}

/// Fills each room that has a message up to 1 MiB: `data/chat.sqlite` is its argument.
const FULL: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60)
with db:
    db.execute('''INSERT INTO messages (room_id, seq, id, sender_id, sender_name, body, created_at)
        WITH RECURSIVE n(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM n WHERE n < 17)
        SELECT room_id, n, randomblob(16), sender_id, sender_name, replace(hex(zeroblob(32768)), '0', 'x'), created_at
        FROM messages, n''')
    db.execute('UPDATE rooms SET last_seq = 17')
";

#[tokio::test(flavor = "multi_thread")]
async fn full_rooms_do_not_get_a_replica_killed() {
    const ROOMS: usize = 300;
    let Some(group) = Group::new("rooms") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let settings = [("ROOM_LINGER_SECONDS", "1")];
    let cluster = Cluster::start(&group.wrapper(folder.path()), Backend::Embedded, 1, &settings).await;
    let replica = cluster.replica(0);
    let account = replica.account("filler").await;
    for n in 0..ROOMS {
        let path = Target::history_path(&format!("full {n}"), "");
        let said = replica
            .post(&path, Some(&account.token), &json!({"text": "the first"}))
            .await;
        assert_eq!(said.status, 201, "{}", said.body);
    }
    let mut fill = testkit::command("python3");
    fill.args(["-c", FULL])
        .arg(cluster.folder().join("data/chat.sqlite"));
    let filled = testkit::ended("the rooms are filled", MINUTE, fill).await;
    assert!(
        filled.status.success(),
        "{}",
        String::from_utf8_lossy(&filled.stderr)
    );
    let (idle, limit) = (replica.resident_kib(), LIMIT as f64 / 4.0);
    let mut guests = Vec::new();
    for n in 0..ROOMS {
        let guest = Client::connect(replica, &format!("full {n}"), None, "").await;
        guests.push(guest.unwrap());
    }
    let held = gauge(replica, "chat_memory_held_bytes", "rooms").await;
    assert!(held > limit / 2.0 && held < limit * 1.02, "{held} of {limit}");
    for guest in guests {
        guest.leave().await;
    }
    is_back(replica, "full rooms", idle).await;
    assert_eq!(replica.ops_status("/readyz").await, Some(200));
}
