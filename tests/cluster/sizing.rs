//! The figures of deploy/sizing.md that do not depend on the machine: what a message takes of Postgres and of Redis, and
//! which connections a replica has.

use testkit::{Backend, Client, Cluster, Options, PostgresServer, block, shell};

use crate::binary;

const PAGE: &str = "deploy/sizing.md";
/// What people write, on the average that the page counts with.
const TEXT: usize = 60;

/// The page's figure in the row that begins so.
fn figure(row: &str) -> f64 {
    let page = include_str!("../../deploy/sizing.md");
    let line = page.lines().find(|line| line.starts_with(&format!("| {row} |")));
    let cell = line
        .and_then(|line| line.split('|').nth(2))
        .unwrap_or_else(|| panic!("no row: {row}"));
    let number: String = cell.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    number.parse().unwrap_or_else(|_| panic!("{row}: {cell}"))
}

fn is_about(row: &str, measured: f64) {
    let said = figure(row);
    let off = (measured - said).abs() / said;
    assert!(off < 0.03, "{row}: the page says {said}, it is {measured}");
}

async fn say(client: &mut Client, messages: u32) {
    for n in 0..messages {
        // A nonce as clients are told to make them.
        let nonce = format!("00000000-0000-4000-8000-{n:012}");
        client.say(&"x".repeat(TEXT), &nonce).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_message_takes_is_what_the_page_says() {
    const MESSAGES: u32 = 200;
    let server = PostgresServer::start().await;
    let options = Options {
        replicas: 2,
        database: Some(server.database().await),
        ..Options::default()
    };
    let cluster = Cluster::start_with(binary(), options).await;
    let ann = cluster.replica(0).account("ann").await;
    let mut client = Client::connect(cluster.replica(0), "hall", Some(&ann.token), "")
        .await
        .unwrap();
    let _reader = Client::connect(cluster.replica(1), "hall", None, "")
        .await
        .unwrap();
    super::crowd::subscribed(&cluster, 1).await;
    let redis = async || {
        let stats = cluster.redis().cli(&["INFO", "stats"]).await;
        let count = |name: &str| {
            let line = stats.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().parse::<f64>().expect(name)
        };
        (count("total_net_input_bytes:"), count("total_net_output_bytes:"))
    };
    let delivered = async || {
        let metrics = cluster.replica(1).metrics().await;
        let count = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().parse::<f64>().expect(name)
        };
        count("chat_delivered_bytes_total ") / count("chat_deliveries_total ")
    };
    let wal = async || {
        server
            .sql("SELECT pg_current_wal_lsn() - '0/0'")
            .await
            .parse::<f64>()
            .unwrap()
    };
    say(&mut client, 1).await;
    server.sql("CHECKPOINT").await;
    let before = (redis().await, wal().await);
    say(&mut client, MESSAGES).await;
    let after = (redis().await, wal().await);
    let each = |before: f64, after: f64| (after - before) / f64::from(MESSAGES);
    is_about("Redis takes a message", each(before.0.0, after.0.0));
    is_about(
        "… and sends it to each replica that follows the room",
        each(before.0.1, after.0.1) / 2.0,
    );

    is_about(
        "Postgres writes of its log for a message",
        each(before.1, after.1),
    );
    // Acks go to the writer.
    is_about("a session is sent a message", delivered().await);

    // As many as have indexes of several levels, in rooms that take turns.
    let many = "INSERT INTO messages SELECT md5(room::text)::uuid, n, gen_random_uuid(), sender_id, sender_name, gen_random_uuid(), body, created_at
        FROM messages, generate_series(1, 200) n, generate_series(1, 300) room WHERE seq = 1";
    cluster.sql(many).await;
    let row = cluster.sql(&block(PAGE, "row")).await;

    let cells: Vec<f64> = row.split('|').map(|cell| cell.parse().unwrap()).collect();
    assert_eq!(cells[1], TEXT as f64);
    is_about("Postgres keeps a message, its indexes included", cells[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_message_takes_of_sqlite_is_what_the_page_says() {
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &[]).await;
    let (replica, folder) = (cluster.replica(0), cluster.folder());
    let ann = replica.account("ann").await;
    let mut client = Client::connect(replica, "hall", Some(&ann.token), "")
        .await
        .unwrap();
    say(&mut client, 1).await;
    replica.terminate().await;
    replica.wait().await;
    let many = "sqlite3 data/chat.sqlite \"WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 60000)
        INSERT INTO messages SELECT CAST(printf('%016d', n % 300) AS BLOB), n / 300 + 2, randomblob(16), sender_id, sender_name,
        substr(nonce, 9) || printf('%08x', n), body, created_at FROM messages, n WHERE seq = 1\"";
    shell(many, folder, binary(), &[]).await;
    let each = shell(&block(PAGE, "row-embedded"), folder, binary(), &[]).await;
    is_about(
        "SQLite keeps a message, its indexes included",
        each.parse().unwrap(),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_one_descriptor_and_a_replica_keeps_to_its_connections() {
    const SESSIONS: usize = 60;
    let cluster = Cluster::start_with(binary(), Options::default()).await;
    let replica = cluster.replica(0);
    let open = async || {
        let metrics = replica.metrics().await;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("process_open_fds "));
        line.expect("process_open_fds").parse::<usize>().unwrap()
    };
    let before = open().await;
    let mut clients = Vec::new();
    for _ in 0..SESSIONS {
        clients.push(Client::connect(replica, "hall", None, "").await.unwrap());
    }
    let more = open().await - before;
    assert!((SESSIONS..SESSIONS + 20).contains(&more), "{more}");
    let connections = "SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'chat-gateway' AND datname = current_database()";
    let connections: usize = cluster.sql(connections).await.parse().unwrap();
    assert!((1..=10).contains(&connections), "{connections}");
}
