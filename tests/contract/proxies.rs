//! Behind the real nginx, HAProxy, Caddy and Traefik, as deploy/ tells to configure them: the page's own WebSocket connects, the client's
//! address is the client's, and what a client claims about itself counts for nothing.

use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::json;
use testkit::{Backend, Balancer, Cluster};

use super::raw::{Raw, handshake};
use crate::binary;

const SETTINGS: [(&str, &str); 2] = [
    ("TRUSTED_PROXIES", "127.0.0.1"),
    ("LIMIT_SESSIONS_PER_ADDRESS", "1"),
];

#[tokio::test(flavor = "multi_thread")]
async fn nginx_as_documented() {
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &SETTINGS).await;
    let replica = cluster.replica(0).base_url().replace("http://", "");
    let site = include_str!("../../deploy/nginx.conf");
    works(&cluster, &Balancer::nginx(site, &replica).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_as_documented() {
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &SETTINGS).await;
    let replica = cluster.replica(0).base_url().replace("http://", "");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/haproxy.cfg");
    let balancer = Balancer::haproxy(&file, &replica, &cluster.replica(0).ops_url()).await;
    answers(&balancer).await;
    works(&cluster, &balancer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_as_documented() {
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &SETTINGS).await;
    let replica = cluster.replica(0).base_url().replace("http://", "");
    let file = include_str!("../../deploy/Caddyfile");
    works(&cluster, &Balancer::caddy(file, &replica).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traefik_as_documented() {
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &SETTINGS).await;
    let replica = cluster.replica(0).base_url().replace("http://", "");
    let start = include_str!("../../deploy/traefik/traefik.yaml");
    let routes = include_str!("../../deploy/traefik/chat.yaml");
    if let Some(balancer) = Balancer::traefik(start, routes, &replica).await {
        answers(&balancer).await;
        works(&cluster, &balancer).await;
    }
}

/// Until it has found its replica.
async fn answers(balancer: &Balancer) {
    let ready = || async {
        let url = format!("{}/api/v1/rooms/a/messages", balancer.base_url());
        let answer = testkit::http().get(url).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    };
    testkit::until("it has found its replica", super::raw::PATIENCE, ready).await;
}

async fn works(cluster: &Cluster, balancer: &Balancer) {
    let replica = cluster.replica(0);
    let (direct, through) = (
        replica.base_url().replace("http://", ""),
        format!("127.0.0.1:{}", balancer.port()),
    );
    let ask = |from: u8, more: Vec<(&str, String)>| {
        let more: Vec<_> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let request = handshake(replica, "a%2Fb", "", &more).replace(&direct, &through);
        let local = Ipv4Addr::new(127, 0, 0, from);
        async move {
            let mut raw = Raw::connect_from(local, balancer.port()).await;
            raw.write(request.as_bytes()).await;
            let head = raw.head().await;
            (raw, head)
        }
    };
    let own = || ("Origin", balancer.base_url());

    // The page's own WebSocket, and the room that it names.
    let token = replica.account("behind").await.token;
    let (mut ann, head) = ask(2, vec![own(), ("Authorization", format!("Bearer {token}"))]).await;
    assert_eq!(head.status, 101, "{head:?}");
    assert_eq!(ann.event().await["room"], "a/b");
    ann.say(&json!({"text": "through it", "nonce": "n"})).await;
    assert_eq!(ann.event_of("ack").await["seq"], 1);

    // One session an address: another client has another address, and the same one no other, whatever it says.
    let (mut ben, _) = ask(3, vec![own()]).await;
    assert!(ben.joined_or_closed().await.is_ok(), "another client");
    for claim in [
        vec![],
        vec![("X-Forwarded-For", "198.51.100.7".to_owned())],
        vec![("Forwarded", "for=198.51.100.7".to_owned())],
    ] {
        let about = format!("{claim:?}");
        let (mut again, head) = ask(2, [vec![own()], claim].concat()).await;
        assert_eq!(
            (head.status, again.joined_or_closed().await),
            (101, Err(1013)),
            "{about}"
        );
    }

    // Neither does it choose the host that its origin is compared with.
    let evil = || ("Origin", "https://evil.example".to_owned());
    for claim in [
        vec![],
        vec![("X-Forwarded-Host", "evil.example".to_owned())],
        vec![("Forwarded", "host=evil.example".to_owned())],
    ] {
        let about = format!("{claim:?}");
        let (_, head) = ask(4, [vec![evil()], claim].concat()).await;
        assert_eq!(head.status, 403, "{about}");
    }
}
