//! The rights that replicas need of Postgres and Redis, as deploy/security.md says: with them everything works, with any
//! one fewer something does not.

use std::sync::Arc;

use serde_json::json;
use testkit::{Client, Cluster, Options, PostgresServer, RedisServer, Replica, Target, block, until};

use crate::{PATIENCE, binary};

const PAGE: &str = "deploy/security.md";

/// The URL of the database `chat` for a role.
fn url(server: &PostgresServer, role: &str) -> String {
    server.url("chat").replace("postgres@", &format!("{role}@"))
}

/// What a replica of the lesser role does with its database, from its start on; `Err`: what it does not do.
async fn works(role: &str, server: &PostgresServer, cluster: &mut Cluster) -> Result<(), String> {
    // As a replica of the release before leaves an account, and a restore the counters.
    cluster
        .sql("UPDATE accounts SET skeleton = NULL; UPDATE rooms SET last_seq = 1")
        .await;
    cluster.sql("SELECT setval('accounts_id_seq', 1)").await;
    let index = cluster.launch_replica(&[("DATABASE_URL", &url(server, role))]);
    let replica = cluster.replica(index);
    let ended = async || !replica.is_running() || replica.ops_status("/readyz").await == Some(200);
    until("it starts or ends", PATIENCE, ended).await;
    if !replica.is_running() {
        return Err("it does not start".to_owned());
    }
    let done = chat(replica).await;
    let log = replica.log();
    replica.kill().await;
    match done {
        Ok(()) if log.contains("permission denied") => Err(log),
        done => done,
    }
}

async fn chat(replica: &Replica) -> Result<(), String> {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let credentials = json!({"username": format!("person {n}"), "secret": "correct horse"});
    let mut token = String::new();
    for (path, status) in [("/api/v1/users", 201), ("/api/v1/login", 200)] {
        let answer = replica.post(path, None, &credentials).await;
        if answer.status != status {
            return Err(format!("{path}: {}", answer.body));
        }
        token = answer.body["data"]["token"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
    }
    // A room that is there, one that is new, and a retry.
    for (room, nonce, status) in [
        ("hall", "a", 201),
        (&format!("room {n}"), "b", 201),
        ("hall", "a", 200),
    ] {
        let message = json!({"text": "hello", "nonce": format!("{nonce}{n}")});
        let answer = replica
            .post(&Target::history_path(room, ""), Some(&token), &message)
            .await;
        if answer.status != status {
            return Err(format!("a message: {}", answer.body));
        }
    }
    let answer = replica.get(&Target::history_path("hall", "limit=1"), None).await;
    match answer.status {
        200 => Ok(()),
        _ => Err(format!("the history: {}", answer.body)),
    }
}

/// Each privilege of "GRANT a, b ON table TO role", as a statement that takes it away.
fn each_revoked(grants: &str) -> Vec<String> {
    let granted = grants.lines().filter_map(|line| line.strip_prefix("GRANT "));
    let split = granted.flat_map(|grant| {
        let (privileges, rest) = grant.trim_end_matches(';').split_once(" ON ").expect("ON");
        let on = rest.replace(" TO ", " FROM ");
        let revoke = |privilege: &str| format!("REVOKE {privilege} ON {on}");
        privileges.split(", ").map(revoke).collect::<Vec<_>>()
    });
    split.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rights_in_postgres_suffice_and_no_fewer() {
    let server = PostgresServer::start().await;
    for statement in block(PAGE, "roles").lines() {
        server.sql(statement).await;
    }
    let options = Options {
        replicas: 0,
        database: Some(url(&server, "chat_owner")),
        ..Options::default()
    };
    let mut cluster = Cluster::start_with(binary(), options).await;
    let grants = block(PAGE, "grants");
    cluster.sql(&grants).await;
    assert_eq!(works("chat", &server, &mut cluster).await, Ok(()));

    // A role that takes its place, with a password of its own.
    server.sql("CREATE ROLE chat_2 LOGIN").await;
    server.sql("GRANT chat TO chat_2").await;
    assert_eq!(works("chat_2", &server, &mut cluster).await, Ok(()));

    let revoked = each_revoked(&grants);
    assert_eq!(revoked.len(), 10, "{revoked:?}");
    for revoke in revoked {
        cluster.sql(&revoke).await;
        let done = works("chat", &server, &mut cluster).await;
        assert!(done.is_err(), "it works without, too: {revoke}");
        cluster.sql(&grants).await;
    }
    // What a later release adds needs no other grant, and what was said stays.
    cluster
        .sql("CREATE TABLE later (id bigserial PRIMARY KEY, what text)")
        .await;
    server.sql("GRANT chat TO chat_owner").await;
    let used = "SET ROLE chat; INSERT INTO later (what) VALUES ('a'); UPDATE later SET what = 'b'; SELECT what FROM later";
    assert_eq!(cluster.sql(used).await, "b");
    for refused in [
        "DELETE FROM messages",
        "UPDATE messages SET body = ''",
        "TRUNCATE rooms",
        "DROP TABLE later",
    ] {
        let tried = format!(
            "SET ROLE chat; DO $$ BEGIN {refused}; RAISE 'allowed'; EXCEPTION WHEN insufficient_privilege THEN NULL; END $$"
        );
        cluster.sql(&tried).await;
    }
}

/// What Redis has refused since the last call.
async fn refused(redis: &RedisServer) -> String {
    let log = redis.cli(&["ACL", "LOG"]).await;
    redis.cli(&["ACL", "LOG", "RESET"]).await;
    log
}

/// Connects anew, joins a room, says something, leaves the room, and logs in twice: all that replicas want of Redis.
async fn use_redis(cluster: &Cluster, n: usize) {
    for kind in ["normal", "pubsub"] {
        cluster
            .redis()
            .cli(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"])
            .await;
    }
    let (here, there) = (cluster.replica(0), cluster.replica(1));
    let ann = here.account(&format!("ann {n}")).await;
    there.account(&format!("bob {n}")).await;
    let room = format!("room {n}");
    let reader = Client::connect(there, &room, None, "").await.unwrap();
    let mut writer = Client::connect(here, &room, Some(&ann.token), "").await.unwrap();
    writer.say("hello", "a").await;
    reader.leave().await;
    writer.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_acl_of_redis_suffices_and_no_less() {
    let redis = Arc::new(RedisServer::start().await);
    let line = block(PAGE, "acl");
    let words: Vec<&str> = line.split_whitespace().collect();
    let [user, name, rules @ ..] = &words[..] else {
        panic!("{line}");
    };
    assert_eq!(*user, "user");
    let set = async |rules: &[&str]| {
        redis
            .cli(&[&["ACL", "SETUSER", *name, "reset"], rules].concat())
            .await
    };
    set(rules).await;
    let password = rules
        .iter()
        .find_map(|rule| rule.strip_prefix('>'))
        .expect("a password");
    let url = redis
        .url()
        .replace("redis://", &format!("redis://{name}:{password}@"));
    let options = Options {
        replicas: 2,
        redis: Some(redis.clone()),
        settings: &[
            ("REDIS_URL", &url),
            ("ROOM_LINGER_SECONDS", "0"),
            // What one of the two hears, it hears by Redis.
            ("HEAD_CHECK_MS", "60000"),
            ("LIMIT_LOGINS_PER_MINUTE", "10000"),
            ("LIMIT_SIGNUPS_PER_MINUTE", "10000"),
        ],
        ..Options::default()
    };
    let cluster = Cluster::start_with(binary(), options).await;
    for replica in cluster.replicas() {
        until("it hears Redis", PATIENCE, || replica.hears_redis()).await;
    }
    let ann = cluster.replica(0).account("ann").await;
    let mut reader = Client::connect(cluster.replica(1), "hall", None, "")
        .await
        .unwrap();
    let mut writer = Client::connect(cluster.replica(0), "hall", Some(&ann.token), "")
        .await
        .unwrap();
    super::crowd::subscribed(&cluster, 1).await;
    writer.say("by Redis", "a").await;
    assert_eq!(reader.next_event().await["text"], "by Redis");
    use_redis(&cluster, 0).await;
    let gone = async || {
        !cluster
            .redis()
            .cli(&["PUBSUB", "CHANNELS"])
            .await
            .contains("room 0")
    };
    until("rooms are left", PATIENCE, gone).await;
    for replica in cluster.replicas() {
        until("it hears Redis again", PATIENCE, || replica.hears_redis()).await;
        let metrics = replica.metrics().await;
        for cause in ["forbidden", "other", "slow"] {
            let none = format!("chat_limits_unshared_total{{cause=\"{cause}\"}} 0\n");
            assert!(metrics.contains(&none), "{metrics}");
        }
    }
    assert_eq!(refused(&redis).await, "", "all is allowed that they want");

    // Each word that gives something: commands, channels, keys.
    let gives = rules.iter().filter(|rule| rule.starts_with(['+', '&', '~']));
    for (n, word) in gives.enumerate() {
        let fewer: Vec<&str> = rules.iter().copied().filter(|rule| rule != word).collect();
        set(&fewer).await;
        use_redis(&cluster, n + 1).await;
        until(
            &format!("something is refused without {word}"),
            PATIENCE,
            async || !refused(&redis).await.is_empty(),
        )
        .await;
    }
    // Two passwords at once, while replicas are given the next one.
    set(&[rules, &[">the-next-password"]].concat()).await;
    for password in ["a-long-password", "the-next-password"] {
        let answer = redis
            .cli(&["--user", name, "--pass", password, "--no-auth-warning", "PING"])
            .await;
        assert_eq!(answer, "PONG");
    }
}
