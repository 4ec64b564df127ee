//! A deployment of its own for a test: a database, a Redis, replicas.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    overdue::Running,
    postgres::PostgresServer,
    process::{bound_to_us, free_port, run, scratch, serial},
    proxy::Proxy,
    redis::RedisServer,
    replica::{Replica, Target},
    sql::{SqlSession, psql},
};

/// What the binary runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// SQLite in a folder, no Redis, one replica.
    Embedded,
    /// Postgres and Redis.
    Clustered,
}

/// What [`Cluster::start_with`] may be told.
pub struct Options<'a> {
    pub backend: Backend,
    pub replicas: usize,
    /// Environment variables of the replicas; they win over what the kit sets.
    pub settings: &'a [(&'a str, &'a str)],
    /// Default durability of Postgres: commits wait for the disk. For benches.
    pub durable: bool,
    /// A Redis to share instead of one of its own.
    pub redis: Option<Arc<RedisServer>>,
    /// The URL of a database to use instead of one on the shared Postgres.
    pub database: Option<String>,
    /// Run `migrate` before the replicas start.
    pub migrate: bool,
    /// The replicas reach Postgres and Redis through proxies, [`Cluster::database_proxy`] and
    /// [`Cluster::redis_proxy`]; the test itself does not.
    pub proxied: bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            backend: Backend::Clustered,
            replicas: 1,
            settings: &[],
            durable: false,
            redis: None,
            database: None,
            migrate: true,
            proxied: false,
        }
    }
}

/// A running deployment. Dropped, its replicas and its Redis end; while a panic unwinds it prints their logs' ends.
pub struct Cluster {
    bin: PathBuf,
    folder: PathBuf,
    environment: BTreeMap<String, String>,
    database_url: Option<String>,
    redis: Option<Arc<RedisServer>>,
    proxies: Option<Proxies>,
    http: reqwest::Client,
    replicas: Vec<Replica>,
    _running: Option<Running>,
}

struct Proxies {
    database: Proxy,
    redis: Proxy,
}

impl Cluster {
    /// Starts replicas of `bin` and waits until each is ready. Every limit is off unless `settings` give it.
    pub async fn start(bin: &Path, backend: Backend, replicas: usize, settings: &[(&str, &str)]) -> Self {
        Self::start_with(
            bin,
            Options {
                backend,
                replicas,
                settings,
                ..Options::default()
            },
        )
        .await
    }

    pub async fn start_with(bin: &Path, options: Options<'_>) -> Self {
        let folder = scratch().join(format!("cluster-{}", serial()));
        fs::create_dir(&folder).expect("a folder for the cluster");
        let running = Running::begin(&folder);
        let mut environment = defaults();
        let (mut database_url, mut redis, mut proxies) = (None, None, None);
        match options.backend {
            Backend::Embedded => {
                assert!(options.replicas <= 1, "embedded is one replica");
                let data = folder.join("data");
                environment.insert("DATA_DIR".into(), data.to_str().expect("UTF-8").into());
            }
            Backend::Clustered => {
                let url = match options.database {
                    Some(url) => url,
                    None => PostgresServer::shared(options.durable).await.database().await,
                };
                let server = match options.redis {
                    Some(server) => server,
                    None => Arc::new(RedisServer::start().await),
                };
                environment.insert("DATABASE_URL".into(), url.clone());
                environment.insert("REDIS_URL".into(), server.url());
                environment.insert("JWT_SECRET".into(), secret());
                if options.proxied {
                    let database = Proxy::start(port_of(&url)).await;
                    let redis = Proxy::start(server.port()).await;
                    environment.insert("DATABASE_URL".into(), through(&url, &database));
                    environment.insert("REDIS_URL".into(), through(&server.url(), &redis));
                    proxies = Some(Proxies { database, redis });
                }
                (database_url, redis) = (Some(url), Some(server));
            }
        }
        for (name, value) in options.settings {
            environment.insert((*name).into(), (*value).into());
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // A kept connection to a replica that was killed in between would fail a request for nothing.
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client");
        let bin = bin.to_owned();
        let mut this = Self {
            bin,
            folder,
            environment,
            database_url,
            redis,
            proxies,
            http,
            replicas: Vec::new(),
            _running: running,
        };
        if options.backend == Backend::Clustered && options.migrate {
            this.migrate().await;
        }
        for _ in 0..options.replicas {
            this.launch_replica(&[]);
        }
        for replica in &this.replicas {
            replica.ready().await;
        }
        this
    }

    /// Runs `chat-gateway migrate` to its end; panics when it fails.
    pub async fn migrate(&self) {
        let mut command = bound_to_us(&self.bin, "KILL");
        command.arg("migrate").envs(&self.environment);
        run("migrate".into(), command).await;
    }

    /// Adds a replica and does not wait; its index.
    pub fn launch_replica(&mut self, settings: &[(&str, &str)]) -> usize {
        let (port, ops_port) = (free_port(), free_port());
        let mut environment = self.environment.clone();
        environment.insert("LISTEN_ADDR".into(), format!("127.0.0.1:{port}"));
        environment.insert("OPS_LISTEN_ADDR".into(), format!("127.0.0.1:{ops_port}"));
        for (name, value) in settings {
            environment.insert((*name).into(), (*value).into());
        }
        let log = self.folder.join(format!("replica-{}.log", self.replicas.len()));
        let target = Target::new(port, self.http.clone());
        let replica = Replica::new(target, ops_port, self.bin.clone(), environment, log);
        replica.launch();
        self.replicas.push(replica);
        self.replicas.len() - 1
    }

    /// Adds a replica with settings of its own and waits until it is ready; its index.
    pub async fn add_replica(&mut self, settings: &[(&str, &str)]) -> usize {
        let index = self.launch_replica(settings);
        self.replicas[index].ready().await;
        index
    }

    pub fn replica(&self, index: usize) -> &Replica {
        &self.replicas[index]
    }

    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// Where all replicas are, for clients that move between them.
    pub fn targets(&self) -> Vec<Target> {
        self.replicas.iter().map(Replica::target).collect()
    }

    /// The environment that replicas and `migrate` get, without their addresses.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// A folder that goes when the test process ends.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn database_url(&self) -> &str {
        self.database_url.as_deref().expect("clustered")
    }

    pub fn redis_url(&self) -> String {
        self.redis().url()
    }

    pub fn redis(&self) -> &RedisServer {
        self.redis.as_deref().expect("clustered")
    }

    /// Between the replicas and Postgres, with [`Options::proxied`].
    pub fn database_proxy(&self) -> &Proxy {
        &self.proxies.as_ref().expect("proxied").database
    }

    /// Between the replicas and Redis, with [`Options::proxied`].
    pub fn redis_proxy(&self) -> &Proxy {
        &self.proxies.as_ref().expect("proxied").redis
    }

    /// Runs SQL by psql and returns its rows, `|` between columns. Panics when it fails.
    pub async fn sql(&self, sql: &str) -> String {
        let mut command = psql(self.database_url());
        command.args(["-c", sql]);
        run(format!("SQL {sql}"), command).await
    }

    /// A connection that stays open, for locks and transactions.
    pub fn sql_session(&self) -> SqlSession {
        SqlSession::open(self.database_url())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for replica in &self.replicas {
                eprintln!("{}", replica.log_tail());
            }
        }
    }
}

fn defaults() -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    for limit in [
        "LIMIT_MESSAGES_PER_SECOND",
        "LIMIT_SIGNUPS_PER_MINUTE",
        "LIMIT_LOGINS_PER_MINUTE",
        "LIMIT_REQUESTS_PER_SECOND",
        "LIMIT_CONNECTIONS_PER_ADDRESS",
        "LIMIT_CATCH_UP_BYTES_PER_SECOND",
        "LIMIT_SESSIONS_PER_ADDRESS",
        "LIMIT_SESSIONS_PER_USER",
    ] {
        environment.insert(limit.into(), "0".into());
    }
    environment.insert("DRAIN_SECONDS".into(), "1".into());
    environment.insert("RUST_BACKTRACE".into(), "1".into());
    environment
}

/// The port in a URL of the kit's: the number before its path.
fn port_of(url: &str) -> u16 {
    let (authority, _) = url.rsplit_once('/').expect("a path");
    let (_, port) = authority.rsplit_once(':').expect("a port");
    port.parse().expect("a number")
}

/// The same server by way of a proxy.
fn through(url: &str, proxy: &Proxy) -> String {
    url.replace(&format!(":{}/", port_of(url)), &format!(":{}/", proxy.port()))
}

/// A signing secret that nobody else has: two random UUIDs of the kernel's.
fn secret() -> String {
    let uuid = || fs::read_to_string("/proc/sys/kernel/random/uuid").expect("/proc");
    format!("{}{}", uuid().trim(), uuid().trim())
}
