//! The command line: settings that are refused, and files that the embedded replica makes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use futures_util::future::join_all;
use testkit::{Backend, Cluster, Options};

use super::http::Api;
use crate::{SECRET, binary};

/// The program with these arguments and only these variables; it must end by itself.
async fn run(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let mut run = testkit::command(binary());
    run.args(args)
        .env_clear()
        .envs(variables.iter().copied())
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .env("OPS_LISTEN_ADDR", "127.0.0.1:0")
        .env("DATA_DIR", folder.path());
    testkit::ended(&format!("{args:?} {variables:?}"), Duration::from_secs(20), run).await
}

/// It exits with 2, at once, and says what to set: each of these words is in what it says.
pub(super) async fn refused(args: &[&str], variables: &[(&str, &str)], words: &[&str]) {
    let output = run(args, variables).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?} {variables:?}: {said}");
    assert!(
        !said.contains("panicked") && !said.contains(SECRET) && !said.contains("hidden-word"),
        "{said}"
    );
    for word in words {
        assert!(
            said.contains(word),
            "{args:?} {variables:?} does not speak of {word}: {said}"
        );
    }
}

const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://nobody:hidden-word@127.0.0.1:1/none");
const REDIS: (&str, &str) = ("REDIS_URL", "redis://:hidden-word@127.0.0.1:1");

#[tokio::test]
async fn half_a_cluster_is_refused() {
    refused(&[], &[DATABASE, ("JWT_SECRET", SECRET)], &["REDIS_URL"]).await;
    refused(&[], &[REDIS, ("JWT_SECRET", SECRET)], &["DATABASE_URL"]).await;
    refused(&["serve"], &[DATABASE, REDIS], &["JWT_SECRET"]).await;
    refused(
        &["--database-url", DATABASE.1],
        &[("JWT_SECRET", SECRET)],
        &["REDIS_URL"],
    )
    .await;
    refused(&["migrate"], &[], &["DATABASE_URL"]).await;
}

/// Passwords as generators make them, not percent-encoded: nothing that is said has anything of them.
#[tokio::test]
async fn a_url_that_cannot_be_read_is_not_printed() {
    let secret = ("JWT_SECRET", SECRET);
    let marks = ["#", "/", "?", ":", "@", "#1/", "%zz"];
    let passwords = marks
        .iter()
        .flat_map(|mark| ["hidden-word", "12"].map(|begin| format!("{begin}{mark}hidden-word")));
    let all = passwords.map(async |password| {
        let database = format!("postgres://nobody:{password}@127.0.0.1:1/none");
        let redis = format!("redis://:{password}@127.0.0.1:1/0");
        for (variables, arguments) in [
            (vec![("DATABASE_URL", database.as_str()), REDIS, secret], vec![]),
            (vec![("DATABASE_URL", database.as_str())], vec!["migrate"]),
            (vec![DATABASE, ("REDIS_URL", redis.as_str()), secret], vec![]),
        ] {
            let output = run(&arguments, &variables).await;
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(!output.status.success(), "{said}");
            let clean = !said.contains("hidden-word") && !said.contains("panicked");
            assert!(clean, "{password}: {said}");
        }
    });
    join_all(all).await;
    for mark in ["#", "/", "?"] {
        let database = format!("postgres://nobody:12{mark}hidden-word@127.0.0.1:1/none");
        let variables = [("DATABASE_URL", database.as_str()), REDIS, secret];
        refused(&[], &variables, &["DATABASE_URL", "%23"]).await;
    }
}

#[tokio::test]
async fn a_short_secret_is_refused() {
    refused(
        &[],
        &[DATABASE, REDIS, ("JWT_SECRET", "31 bytes are not enough for us!")],
        &["JWT_SECRET", "32"],
    )
    .await;
    refused(&[], &[("JWT_SECRET", "short")], &["JWT_SECRET", "32"]).await;
}

#[tokio::test]
async fn a_secret_that_anybody_would_guess_is_refused() {
    for secret in [" ".repeat(32), "x".repeat(32), "\t ".repeat(40), "ab".repeat(16)] {
        refused(&[], &[("JWT_SECRET", &secret)], &["JWT_SECRET", "random"]).await;
    }
}

#[tokio::test]
async fn unknown_settings_are_refused() {
    refused(&["--colour", "blue"], &[], &["--colour"]).await;
    refused(&["serve", "--listen", "x"], &[], &["--listen"]).await;
    refused(&["dance"], &[], &["dance"]).await;
    refused(
        &[],
        &[("LIMIT_MESSAGES_PER_MINUTE", "1")],
        &["LIMIT_MESSAGES_PER_MINUTE"],
    )
    .await;
}

#[tokio::test]
async fn values_that_make_no_sense_are_refused() {
    for (name, value) in [
        ("DRAIN_SECONDS", "soon"),
        ("DRAIN_SECONDS", "-1"),
        ("MESSAGE_MAX_BYTES", "0"),
        ("TOKEN_TTL_SECONDS", "0"),
        ("PASSWORD_MIN_BYTES", "2000"),
        ("LIMIT_MESSAGES_PER_SECOND", "many"),
        ("HIDE_UNKNOWN_USERS", "perhaps"),
        ("TRUSTED_PROXIES", "10.0.0.0/99"),
        ("LOG_FORMAT", "xml"),
        ("IDLE_SECONDS", "1"),
    ] {
        refused(
            &[],
            &[(name, value)],
            &[if name == "IDLE_SECONDS" { name } else { value }],
        )
        .await;
    }
    refused(
        &[],
        &[("DATABASE_URL", "mysql://x/y"), REDIS, ("JWT_SECRET", SECRET)],
        &["DATABASE_URL", "postgres"],
    )
    .await;
    refused(
        &[],
        &[DATABASE, ("REDIS_URL", "http://x"), ("JWT_SECRET", SECRET)],
        &["REDIS_URL"],
    )
    .await;
}

#[tokio::test]
async fn an_exporter_that_cannot_be_is_refused() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/xml"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem"),
    ] {
        refused(&[], &[endpoint, (name, value)], &["OTEL_EXPORTER_OTLP", value]).await;
    }
    let lone = ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/dev/null");
    refused(&[], &[endpoint, lone], &["CLIENT_CERTIFICATE", "CLIENT_KEY"]).await;
    let empty = ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/dev/null");
    refused(&[], &[endpoint, empty], &["PEM"]).await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let output = run(&["--listen-addr", &address], &[]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains(&address) && !said.contains("panicked"),
        "{said}"
    );
}

/// Each line is an object with a level and a message.
fn assert_json_lines(log: &str) {
    for line in log.lines() {
        let object: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?} is no JSON: {e}"));
        for field in ["timestamp", "level", "message"] {
            assert!(object[field].is_string(), "{line} has no {field}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_log_format_json_nothing_else_is_written() {
    let json = ("LOG_FORMAT", "json");
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &[json]).await;
    let replica = cluster.replica(0);
    let url = format!(r#""url":"{}/""#, replica.base_url());
    testkit::until("it says that it is ready", Duration::from_secs(20), async || {
        replica.log().contains(&url)
    })
    .await;
    replica.terminate().await;
    replica.wait().await;
    assert_json_lines(&replica.log());
    let output = run(&["--jwt-secret", "short"], &[json]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("JWT_SECRET"), "{said}");
    assert_json_lines(&said);
}

#[tokio::test]
async fn help_lists_every_setting() {
    let output = run(&["--help"], &[]).await;
    assert!(output.status.success());
    // Without the breaks of long lines.
    let help = String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    for (name, default) in [
        ("LISTEN_ADDR", "[::]:8080"),
        ("OPS_LISTEN_ADDR", "127.0.0.1:9090"),
        ("DATA_DIR", "./data"),
        ("DATABASE_URL", ""),
        ("DATABASE_POOL", "10"),
        ("REDIS_URL", ""),
        ("RELAY_PREFIX", "chat"),
        ("JWT_SECRET", ""),
        ("TOKEN_TTL_SECONDS", "86400"),
        ("DRAIN_SECONDS", "20"),
        ("PASSWORD_MIN_BYTES", "1"),
        ("PASSWORD_WORKERS", ""),
        ("PASSWORD_QUEUE", "64"),
        ("MAX_CONNECTIONS", "0"),
        ("KEEP_ALIVE_SECONDS", "75"),
        ("MEMORY_MAX", "0"),
        ("HIDE_UNKNOWN_USERS", "false"),
        ("MESSAGE_MAX_BYTES", "4096"),
        ("RESUME_LIMIT", "10000"),
        ("ALLOWED_ORIGINS", ""),
        ("ALLOWED_HOSTS", ""),
        ("TRUSTED_PROXIES", ""),
        ("LOG_FORMAT", "pretty"),
        ("RUST_LOG", "info"),
        ("PING_SECONDS", "25"),
        ("IDLE_SECONDS", "60"),
        ("SLOW_SECONDS", "30"),
        ("HEAD_CHECK_MS", "1000"),
        ("ROOM_LINGER_SECONDS", "30"),
        ("WARM_LOG_MESSAGES", "512"),
        ("WARM_LOG_BYTES", "1048576"),
        ("JOURNAL_QUEUE", "8192"),
        ("JOURNAL_BATCH", "512"),
        ("LIMIT_MESSAGES_PER_SECOND", "20"),
        ("LIMIT_SIGNUPS_PER_MINUTE", "60"),
        ("LIMIT_LOGINS_PER_MINUTE", "120"),
        ("LIMIT_REQUESTS_PER_SECOND", "100"),
        ("LIMIT_CONNECTIONS_PER_ADDRESS", "256"),
        ("LIMIT_CATCH_UP_BYTES_PER_SECOND", "4194304"),
        ("LIMIT_SESSIONS_PER_ADDRESS", "1000"),
        ("LIMIT_SESSIONS_PER_USER", "100"),
    ] {
        let flag = format!("--{}", name.to_lowercase().replace('_', "-"));
        assert!(help.contains(&flag), "{flag} is not in --help");
        assert!(help.contains(&format!("[env: {name}")), "{name} is not in --help");
        assert!(
            default.is_empty() || help.contains(&format!("[default: {default}]")),
            "{name}'s default {default}"
        );
    }
}

#[tokio::test]
async fn help_shows_no_secret() {
    let output = run(&["--help"], &[DATABASE, REDIS, ("JWT_SECRET", SECRET)]).await;
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(!help.contains(SECRET) && !help.contains("hidden-word"), "{help}");
}

#[tokio::test]
async fn the_description_can_be_printed() {
    let output = run(&["openapi"], &[]).await;
    assert!(output.status.success());
    let spec: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(spec["paths"].as_object().is_some_and(|paths| paths.len() >= 5));
    let output = run(&["openapi"], &[("MESSAGE_MAX_BYTES", "100")]).await;
    let spec: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = spec.pointer("/components/schemas/MessageDraft/properties/text/maxLength");
    assert_eq!(
        text,
        Some(&serde_json::json!(100)),
        "as this environment would serve it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signing_key_is_made_once_and_kept_private() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("made/by/itself");
    let settings = [("DATA_DIR", data.to_str().expect("text")), ("JWT_SECRET", "")];
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &settings).await;
    let replica = cluster.replica(0);
    let account = replica.account("kept").await;
    assert_modes(&data);
    replica.terminate().await;
    assert!(replica.wait().await.success());
    // As a release before this one left it.
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(data.join("chat.sqlite"), open).expect("it is ours");
    replica.start_again().await;
    // The account and its token are as good as before.
    let me = Api::of(replica).me(&account.token).await.ok(200);
    assert_eq!(me["username"], account.username.as_str());
    assert_modes(&data);
}

/// Some file holds the key; nothing in the folder is open to others, the database least of all.
fn assert_modes(folder: &Path) {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the data folder") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("its mode").permissions().mode() & 0o777;
        let name = entry.file_name().to_string_lossy().into_owned();
        assert_eq!(mode, 0o600, "{name}");
        names.push(name);
    }
    for name in ["chat.sqlite", "chat.sqlite-wal", "signing.key"] {
        assert!(names.iter().any(|other| other == name), "{name} in {names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_schema_is_refused() {
    let cluster = Cluster::start(binary(), Backend::Clustered, 1, &[]).await;
    // The database's last migration has not been made, as far as it knows.
    cluster
        .sql("DELETE FROM seaql_migrations WHERE version = (SELECT max(version) FROM seaql_migrations)")
        .await;
    let cluster_of = [
        ("DATABASE_URL", cluster.database_url()),
        ("REDIS_URL", &cluster.redis_url()),
        ("JWT_SECRET", SECRET),
    ];
    let output = run(&["serve"], &cluster_of).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("migrate") && !said.contains("panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_may_migrate_at_once() {
    let options = Options {
        backend: Backend::Clustered,
        replicas: 0,
        migrate: false,
        ..Options::default()
    };
    let mut cluster = Cluster::start_with(binary(), options).await;
    let refused = run(
        &[],
        &[
            ("DATABASE_URL", cluster.database_url()),
            ("REDIS_URL", &cluster.redis_url()),
            ("JWT_SECRET", SECRET),
        ],
    )
    .await;
    assert!(!refused.status.success(), "an empty database is refused");
    let database = [("DATABASE_URL", cluster.database_url())];
    for output in futures_util::future::join_all((0..4).map(|_| run(&["migrate"], &database))).await {
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let index = cluster.add_replica(&[]).await;
    cluster.replica(index).account("migrated").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_families_are_listened_to() {
    let options = Options {
        backend: Backend::Embedded,
        replicas: 0,
        ..Options::default()
    };
    let mut cluster = Cluster::start_with(binary(), options).await;
    let port = testkit::free_port();
    cluster
        .add_replica(&[
            ("LISTEN_ADDR", &format!("[::]:{port}")),
            ("TRUSTED_PROXIES", "127.0.0.1"),
        ])
        .await;
    let mut addresses = vec!["127.0.0.1"];
    // Where the machine has no IPv6 it is IPv4 alone.
    addresses.extend(std::net::TcpListener::bind("[::1]:0").is_ok().then_some("[::1]"));
    for address in addresses {
        let url = format!("http://{address}:{port}/api/v1/users/me");
        let answer = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client")
            .get(url)
            .send();
        assert_eq!(answer.await.expect(address).status(), 401);
    }
}
