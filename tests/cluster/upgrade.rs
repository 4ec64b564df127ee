//! An upgrade brings the schema up to date first and replaces the replicas then, and may be taken back: the schema of a
//! release works with its binaries and with those of the release before.

use std::collections::BTreeMap;
use std::path::Path;

use migrations::{Migrator, MigratorTrait};
use serde_json::json;
use testkit::{Backend, Client, Cluster, Options, Target, block};

use crate::{PATIENCE, binary};

/// What a migration of a later release does at most, as [`each_migration_only_adds`] has it.
const LATER: &str = "INSERT INTO seaql_migrations VALUES ('m20991231_000001_later', 0);
    ALTER TABLE messages ADD COLUMN later text;
    CREATE TABLE later (id bigint PRIMARY KEY);";

/// Migrations that take something away. What they take, the release before has not used.
const CONTRACTS: &[&str] = &[];

/// Its exit code, and what it says.
async fn migrate(cluster: &Cluster, args: &[&str]) -> (Option<i32>, String) {
    let mut command = testkit::command(binary());
    command
        .arg("migrate")
        .args(args)
        .env_clear()
        .envs(cluster.environment());
    let output = testkit::ended("migrate", PATIENCE, command).await;
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// The next release's migration has run, and its replicas come; ours restart meanwhile, and after a rollback, for which
/// `migrate` of our release runs again.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_goes_on_with_the_schema_of_the_next_one() {
    let mut cluster = Cluster::start(binary(), Backend::Clustered, 1, &[]).await;
    let ann = cluster.replica(0).account("ann").await;
    let mut client = Client::connect(cluster.replica(0), "hall", Some(&ann.token), "")
        .await
        .unwrap();
    client.say("before", "1").await;
    cluster.sql(LATER).await;
    assert_eq!(client.say("meanwhile", "2").await["seq"], 2);

    let (code, said) = migrate(&cluster, &[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("m20991231_000001_later"),
        "it says that there is more: {said}"
    );
    let (code, said) = migrate(&cluster, &["--check"]).await;
    assert_eq!(code, Some(0), "{said}");

    let another = cluster.add_replica(&[]).await;
    let replica = cluster.replica(another);
    let bob = replica.account("bob").await;
    let mut client = Client::connect(replica, "hall", Some(&bob.token), "last=2")
        .await
        .unwrap();
    assert_eq!(client.say("after", "3").await["seq"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_one_goes_on_with_the_schema_of_the_next_one() {
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &[]).await;
    let replica = cluster.replica(0);
    let ann = replica.account("ann").await;
    replica.terminate().await;
    replica.wait().await;
    sqlite(&cluster.folder().join("data/chat.sqlite"), LATER).await;
    replica.start_again().await;
    let posted = replica
        .post(
            "/api/v1/rooms/hall/messages",
            Some(&ann.token),
            &json!({"text": "after"}),
        )
        .await;
    assert_eq!(posted.status, 201, "{}", posted.body);
}

async fn sqlite(file: &Path, sql: &str) {
    let mut command = testkit::command("sqlite3");
    command.arg(file).arg(sql);
    let output = testkit::ended("sqlite3", PATIENCE, command).await;
    assert!(output.status.success(), "{output:?}");
}

/// `table.column` and what it is.
type Columns = BTreeMap<String, String>;

const COLUMNS: &str = "SELECT table_name || '.' || column_name || ' ' || data_type || ' ' ||
        CASE WHEN is_nullable = 'YES' OR column_default IS NOT NULL THEN 'optional' ELSE 'required' END
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'seaql_migrations'";

/// A unique index's columns, with their table.
const UNIQUE: &str = "SELECT string_agg(c.relname || '.' || a.attname, ',' ORDER BY a.attname)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
    WHERE i.indisunique AND n.nspname = 'public' GROUP BY i.indexrelid";

async fn columns(cluster: &Cluster) -> Columns {
    let rows = cluster.sql(COLUMNS).await;
    let row = |row: &str| {
        row.split_once(' ')
            .map(|(name, what)| (name.to_owned(), what.to_owned()))
    };
    rows.lines().filter_map(row).collect()
}

/// What would end the release before: something that it reads or writes is gone or another, or what it writes is refused.
fn breaks(before: &Columns, after: &Columns, unique: &[&str]) -> Vec<String> {
    let table = |column: &str| column.split('.').next().unwrap_or_default().to_owned();
    let gone = before
        .iter()
        .filter(|(column, what)| after.get(*column) != Some(what))
        .map(|(column, what)| format!("{column} was {what}"));
    let asked = after
        .iter()
        .filter(|(column, what)| !before.contains_key(*column) && what.ends_with("required"))
        .filter(|(column, _)| before.keys().any(|old| table(old) == table(column)))
        .map(|(column, _)| format!("{column} must be given"));
    let refused = unique
        .iter()
        .filter(|columns| columns.split(',').all(|column| before.contains_key(column)))
        .map(|columns| format!("{columns} must be unique"));
    gone.chain(asked).chain(refused).collect()
}

/// What has changed in the schema since the last call, and would end the release before.
async fn broken_since(known: &mut (Columns, String), cluster: &Cluster) -> Vec<String> {
    let (columns, unique) = (columns(cluster).await, cluster.sql(UNIQUE).await);
    let is_new = |index: &&str| known.1.lines().all(|old| old != *index);
    let new: Vec<&str> = unique.lines().filter(is_new).collect();
    let broken = breaks(&known.0, &columns, &new);
    *known = (columns, unique);
    broken
}

#[tokio::test(flavor = "multi_thread")]
async fn each_migration_only_adds() {
    let options = Options {
        replicas: 0,
        migrate: false,
        ..Options::default()
    };
    let cluster = Cluster::start_with(binary(), options).await;
    let db = sea_orm::Database::connect(cluster.database_url()).await.unwrap();
    let mut known = (Columns::new(), String::new());
    for migration in Migrator::migrations() {
        Migrator::up(&db, Some(1)).await.unwrap();
        let broken = broken_since(&mut known, &cluster).await;
        let name = migration.name();
        assert!(
            broken.is_empty() || CONTRACTS.contains(&name),
            "{name} would end replicas of the release before: {broken:?}"
        );
    }
    // And it would notice.
    for (sql, what) in [
        (
            "ALTER TABLE messages ALTER nonce TYPE varchar",
            "messages.nonce was text optional",
        ),
        (
            "ALTER TABLE messages ADD COLUMN kind text NOT NULL",
            "messages.kind must be given",
        ),
        ("CREATE UNIQUE INDEX ON rooms (name)", "rooms.name must be unique"),
        (
            "ALTER TABLE messages DROP COLUMN body",
            "messages.body was text required",
        ),
    ] {
        cluster.sql(sql).await;
        assert_eq!(broken_since(&mut known, &cluster).await, [what], "{sql}");
    }
}

/// Rooms that a release before let people make, found by the statement that CHANGELOG.md gives.
#[tokio::test(flavor = "multi_thread")]
async fn the_change_log_finds_the_rooms_that_are_none_any_more() {
    let cluster = Cluster::start(binary(), Backend::Clustered, 1, &[]).await;
    let names = [
        "hall", "a/b", "a.b", "..a", "a/...", "/a", "a/", ".", "..", "a/../b", r"a\..\b", r"\a", "a/%2e/b",
        "a/%2E%2e",
    ];
    for name in names {
        let insert = format!("INSERT INTO rooms VALUES (gen_random_uuid(), '{name}', 1, 0)");
        cluster.sql(&insert).await;
    }
    let found = cluster.sql(&block("CHANGELOG.md", "rooms-that-are-none")).await;
    for name in names {
        let answer = cluster
            .replica(0)
            .get(&Target::history_path(name, ""), None)
            .await;
        let is_found = found.lines().any(|row| row == format!("{name}|1"));
        // A client folds some of them itself.
        assert_eq!(is_found, answer.status != 200, "{name}: {found}");
    }
}
