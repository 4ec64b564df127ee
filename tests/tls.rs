//! Postgres and Redis over TLS, with certificates of an authority that only the replica is told of.
#![cfg(test)]

use std::path::Path;
use std::time::Duration;

use testkit::{Authority, Backend, Client, Cluster, Companion, Options, free_port, until};

/// How long what must happen may take on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster without replicas, whose Postgres takes TLS.
async fn cluster(authority: &Authority) -> Cluster {
    let bin = Path::new(env!("CARGO_BIN_EXE_chat-gateway"));
    let options = Options {
        backend: Backend::Clustered,
        replicas: 0,
        ..Options::default()
    };
    let cluster = Cluster::start_with(bin, options).await;
    for (file, pem) in [("server.crt", "server.pem"), ("server.key", "server.key")] {
        // The server writes them itself: it refuses a key that others may read.
        let lines = authority.read(pem);
        let copy = format!(
            "COPY (SELECT unnest(string_to_array('{lines}', E'\\n'))) TO PROGRAM 'umask 077; cat >{file}'"
        );
        cluster.sql(&copy).await;
    }
    cluster.sql("ALTER SYSTEM SET ssl = on").await;
    cluster.sql("SELECT pg_reload_conf()").await;
    until("Postgres takes TLS", PATIENCE, async || {
        cluster.sql("SHOW ssl").await == "on"
    })
    .await;
    cluster
}

/// A Redis that takes nothing but TLS, and its URL.
async fn redis(authority: &Authority) -> (Companion, String) {
    let port = free_port();
    let [certificate, key] = ["server.pem", "server.key"].map(|name| authority.path(name));
    let port_text = port.to_string();
    let args = [
        "--port",
        "0",
        "--tls-port",
        &port_text,
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
        "--tls-ca-cert-file",
        &certificate,
    ];
    let server = Companion::start(Path::new("redis-server"), args, Companion::folder("redis-tls"));
    until("Redis listens", PATIENCE, async || {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
    })
    .await;
    (server, format!("rediss://127.0.0.1:{port}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_knows_the_authority_uses_tls_and_another_does_not_connect() {
    let (authority, stranger) = (Authority::default(), Authority::default());
    let mut cluster = cluster(&authority).await;
    let (_redis, redis) = redis(&authority).await;
    let [known, unknown] = [&authority, &stranger].map(|authority| authority.path("ca.pem"));
    let trusting = |database: &str, relay: &str| {
        [
            ("PGSSLMODE", "verify-full".to_owned()),
            ("PGSSLROOTCERT", database.to_owned()),
            ("REDIS_URL", redis.clone()),
            ("SSL_CERT_FILE", relay.to_owned()),
        ]
    };
    let borrowed =
        |settings: &[(&'static str, String); 4]| settings.clone().map(|(name, value)| (name, &*value.leak()));

    // Postgres cannot be trusted: it does not start.
    let lost = cluster.launch_replica(&borrowed(&trusting(&unknown, &known)));
    let ended = tokio::time::timeout(PATIENCE, cluster.replica(lost).wait()).await;
    assert!(!ended.expect("it ends").success());
    let said = cluster.replica(lost).log_tail();
    assert!(said.contains("certificate"), "{said}");

    // Redis cannot be trusted: it goes on without.
    let deaf = cluster.add_replica(&borrowed(&trusting(&known, &unknown))).await;
    let said = cluster.replica(deaf).log();
    assert!(
        !cluster.replica(deaf).hears_redis().await && said.contains("certificate"),
        "{said}"
    );

    let here = cluster.add_replica(&borrowed(&trusting(&known, &known))).await;
    let mut by_another_name = trusting(&known, &known);
    by_another_name[2].1 = redis.replace("rediss:", "valkeys:");
    let there = cluster.add_replica(&borrowed(&by_another_name)).await;
    let (here, there) = (cluster.replica(here), cluster.replica(there));
    assert!(here.hears_redis().await && there.hears_redis().await);
    let ann = here.account("ann").await;
    let mut reader = Client::connect(there, "hall", None, "").await.unwrap();
    let mut sender = Client::connect(here, "hall", Some(&ann.token), "").await.unwrap();
    sender.say("in private", "n").await;
    assert_eq!(reader.next("message").await["text"], "in private");
    let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                 WHERE application_name = 'chat-gateway' AND NOT ssl";
    assert_eq!(cluster.sql(plain).await, "0", "connections without TLS");
}
