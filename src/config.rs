//! Every setting: flag, environment variable, default, unit. Secrets never print.

mod lists;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;

use crate::auth::{BadKey, SigningKey};
use crate::room::WarmLimits;
use crate::store::PostgresServer;
use crate::telemetry::LogFormat;
use crate::{http, limits, memory};

/// Chat over WebSocket: many identical replicas on Postgres and Redis, or one alone on SQLite.
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Action>,
    #[command(flatten)]
    pub serve: Settings,
}

#[derive(Debug, Subcommand)]
pub enum Action {
    /// Serve (the default).
    Serve(Box<Settings>),
    /// Bring the database's schema up to date and exit. Several at once are safe.
    Migrate(MigrateArgs),
    /// Print the OpenAPI document and exit.
    Openapi,
    /// Ask a running replica whether it is ready; exit 0 if so, else 1.
    Health(HealthArgs),
}

#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Postgres, as postgres://user:password@host/database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Change nothing; exit 1 and say so where migrations are pending or a counter is behind its table.
    #[arg(long)]
    pub check: bool,
    /// Change nothing; wait, at most so many seconds, until another has migrated, as a Job beside the replicas does.
    #[arg(long, conflicts_with = "check", value_parser = clap::value_parser!(u32).range(1..=86_400), value_name = "SECONDS")]
    pub wait: Option<u32>,
}

#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Where the replica answers operators.
    #[arg(long, env = "OPS_LISTEN_ADDR", default_value = "127.0.0.1:9090")]
    pub ops_listen_addr: SocketAddr,
}

/// The settings of `serve`, as given.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Where clients connect; [::] is IPv6 and IPv4.
    #[arg(long, env, default_value = "[::]:8080", value_name = "ADDR:PORT")]
    pub listen_addr: SocketAddr,
    /// Where operators connect: /healthz, /readyz, /status, /metrics.
    #[arg(long, env, default_value = "127.0.0.1:9090", value_name = "ADDR:PORT")]
    pub ops_listen_addr: SocketAddr,
    /// Embedded: the folder of the SQLite file and the signing key.
    #[arg(long, env, default_value = "./data", value_name = "FOLDER")]
    pub data_dir: PathBuf,
    /// Clustered: Postgres, as postgres://user:password@host/database. Needs REDIS_URL too.
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// A pooler such as PgBouncer in transaction mode is before Postgres: prepare no statements.
    #[arg(long, env, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub database_pooler: bool,
    /// Connections to Postgres, per replica.
    #[arg(long, env, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..), value_name = "COUNT")]
    pub database_pool: u32,
    /// Clustered: Redis or Valkey, as redis://host:6379, valkey://…, or with TLS rediss://… Needs DATABASE_URL too.
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    pub redis_url: Option<String>,
    /// What the names of Redis channels and keys begin with; one for each deployment that shares a Redis.
    #[arg(long, env, default_value = "chat", value_name = "NAME")]
    pub relay_prefix: String,
    /// The key that signs tokens, 32 bytes or more, the same on every replica. Embedded makes one itself.
    #[arg(long, env, hide_env_values = true, value_name = "KEY")]
    pub jwt_secret: Option<String>,
    /// How long a token is valid, in seconds.
    #[arg(long, env, default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(1..=315_360_000), value_name = "SECONDS")]
    pub token_ttl_seconds: u64,
    /// Clustered: over how many seconds the sessions are asked to leave when the replica stops. Embedded leaves at once.
    #[arg(long, env, default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=3600), value_name = "SECONDS")]
    pub drain_seconds: u64,
    /// The shortest password, in bytes.
    #[arg(long, env, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024), value_name = "BYTES")]
    pub password_min_bytes: u32,
    /// The most TCP connections of clients, over that a replica is overloaded; 0: what the limit of open files allows.
    #[arg(long, env, default_value_t = 0, value_name = "COUNT")]
    pub max_connections: u32,
    /// How long an HTTP connection may be without a request, in seconds: longer than the balancer in front keeps it.
    #[arg(long, env, default_value_t = 75, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub keep_alive_seconds: u64,
    /// The memory that the process may use, in bytes; 0: what its cgroup allows, else half of the machine's.
    #[arg(long, env, default_value_t = 0, value_parser = parse_memory, value_name = "BYTES")]
    pub memory_max: u64,
    /// Passwords hashed at a time, 19 MiB each, as far as MEMORY_MAX has room for them; 0: half of the cores.
    #[arg(long, env, default_value_t = 0, value_name = "COUNT")]
    pub password_workers: u16,
    /// Passwords that may wait to be hashed.
    #[arg(long, env, default_value_t = 64, value_name = "COUNT")]
    pub password_queue: u16,
    /// Answer the login of an unknown user like a wrong password.
    #[arg(long, env, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub hide_unknown_users: bool,
    /// The longest text of a message, in bytes.
    #[arg(long, env, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_048_576), value_name = "BYTES")]
    pub message_max_bytes: u32,
    /// The most messages that a resuming client is sent.
    #[arg(long, env, default_value_t = 10_000, value_name = "COUNT")]
    pub resume_limit: u64,
    /// Origins beside the host's own whose pages may connect, as https://example.org, separated by commas.
    #[arg(long, env, value_delimiter = ',', value_parser = lists::origin, value_name = "ORIGINS")]
    pub allowed_origins: Vec<Option<String>>,
    /// Names of this server, as chat.example or *.example, separated by commas; requests for others are refused. None: any name.
    #[arg(long, env, value_delimiter = ',', value_parser = lists::host, value_name = "HOSTS")]
    pub allowed_hosts: Vec<Option<String>>,
    /// Addresses or networks of proxies whose X-Forwarded-For and -Host, or Forwarded, are believed, separated by commas.
    #[arg(long, env, value_delimiter = ',', value_parser = lists::network, value_name = "NETWORKS")]
    pub trusted_proxies: Vec<Option<IpNet>>,
    /// How log lines look.
    #[arg(long, env, value_enum, default_value_t = LogFormat::Pretty)]
    pub log_format: LogFormat,
    /// Which log lines are written, as `info` or `chat_gateway=debug,info`.
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "FILTER")]
    pub rust_log: String,
    /// How often a second a client is followed that wants its trace sampled, with bursts of two seconds' worth; past that
    /// OTEL_TRACES_SAMPLER decides alone.
    #[arg(long, env, default_value_t = 5, value_name = "RATE")]
    pub trace_client_sampled_per_second: u32,
    /// How often a session is pinged, in seconds.
    #[arg(long, env, default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub ping_seconds: u64,
    /// How long a session lives without any frame of its client, in seconds.
    #[arg(long, env, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=7200), value_name = "SECONDS")]
    pub idle_seconds: u64,
    /// How long a session may stay behind its room, or ahead of its rate, in seconds.
    #[arg(long, env, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub slow_seconds: u64,
    /// How often live rooms are compared with the database, in milliseconds.
    #[arg(long, env, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=60_000), value_name = "MILLIS")]
    pub head_check_ms: u64,
    /// How long a room without sessions stays in memory, in seconds.
    #[arg(long, env, default_value_t = 30, value_name = "SECONDS")]
    pub room_linger_seconds: u64,
    /// The most messages of a room that stay in memory.
    #[arg(long, env, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..), value_name = "COUNT")]
    pub warm_log_messages: u32,
    /// The most bytes of a room that stay in memory.
    #[arg(long, env, default_value_t = 1_048_576, value_name = "BYTES")]
    pub warm_log_bytes: u32,
    /// The most messages that wait to be stored; over that OVERLOADED.
    #[arg(long, env, default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "COUNT")]
    pub journal_queue: u32,
    /// The most messages of one commit.
    #[arg(long, env, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=5000), value_name = "COUNT")]
    pub journal_batch: u32,
    /// Messages a second of a session, with bursts of two seconds' worth; 0: no limit.
    #[arg(long, env, default_value_t = 20, value_name = "RATE")]
    pub limit_messages_per_second: u32,
    /// Sign-ups a minute of an address; 0: no limit.
    #[arg(long, env, default_value_t = 60, value_name = "RATE")]
    pub limit_signups_per_minute: u32,
    /// Logins a minute of an address; 0: no limit.
    #[arg(long, env, default_value_t = 120, value_name = "RATE")]
    pub limit_logins_per_minute: u32,
    /// Other requests a second of an address, with bursts of two seconds' worth; 0: no limit.
    #[arg(long, env, default_value_t = 100, value_name = "RATE")]
    pub limit_requests_per_second: u32,
    /// Connections of an address on a replica that are no sessions, half of all at most; 0: no limit. Those of trusted proxies are free.
    #[arg(long, env, default_value_t = 256, value_name = "COUNT")]
    pub limit_connections_per_address: u32,
    /// Bytes a second of an address's sessions that are read from the database, with bursts of two seconds' worth; 0: no limit.
    #[arg(long, env, default_value_t = 4_194_304, value_name = "RATE")]
    pub limit_catch_up_bytes_per_second: u32,
    /// Open sessions of an address on a replica; 0: no limit.
    #[arg(long, env, default_value_t = 1000, value_name = "COUNT")]
    pub limit_sessions_per_address: u32,
    /// Open sessions of a user on a replica; 0: no limit.
    #[arg(long, env, default_value_t = 100, value_name = "COUNT")]
    pub limit_sessions_per_user: u32,
}

fn parse_memory(text: &str) -> Result<u64, String> {
    match text.trim().parse() {
        Ok(bytes) if bytes == 0 || bytes >= memory::LEAST => Ok(bytes),
        _ => Err(format!("expected 0, or {} bytes or more", memory::LEAST)),
    }
}

/// Where the log is and how replicas hear each other: half a cluster cannot be expressed.
#[expect(clippy::large_enum_variant, reason = "there is one, at the start")]
#[derive(Debug, Clone)]
pub enum Backend {
    Embedded {
        data_dir: PathBuf,
        key: Option<SigningKey>,
    },
    Clustered {
        database: PostgresServer,
        redis: redis::Client,
        redis_url: String,
        key: SigningKey,
    },
}

/// What to set, in a sentence. The process exits with 2.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("DATABASE_URL is set but REDIS_URL is not: a cluster needs both, a single machine neither")]
    NoRedis,
    #[error("REDIS_URL is set but DATABASE_URL is not: a cluster needs both, a single machine neither")]
    NoDatabase,
    #[error("set JWT_SECRET: replicas of a cluster sign tokens with the same key, of 32 bytes or more")]
    NoSecret,
    #[error("JWT_SECRET {0}")]
    BadSecret(BadKey),
    #[error(
        "DATABASE_URL has to be postgres://user:password@host/database, with one host; in the password write # / ? @ : % as %23 %2F %3F %40 %3A %25"
    )]
    BadDatabase,
    #[error("REDIS_URL is not usable: {0}")]
    BadRedis(String),
    #[error("IDLE_SECONDS ({idle}) has to be longer than PING_SECONDS ({ping})")]
    IdleBeforePing { idle: u64, ping: u64 },
    #[error("{0} is not a setting; `chat-gateway --help` lists them")]
    Unknown(String),
    #[error("the data folder {0} cannot be used: {1}")]
    DataDir(String, String),
}

impl Settings {
    /// Checks what clap cannot: what belongs together.
    pub fn backend(&self) -> Result<Backend, ConfigError> {
        if self.idle_seconds <= self.ping_seconds {
            return Err(ConfigError::IdleBeforePing {
                idle: self.idle_seconds,
                ping: self.ping_seconds,
            });
        }
        let set = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let key = match set(&self.jwt_secret) {
            Some(secret) => Some(SigningKey::new(secret.into_bytes()).map_err(ConfigError::BadSecret)?),
            None => None,
        };
        match (set(&self.database_url), set(&self.redis_url)) {
            (None, None) => Ok(Backend::Embedded {
                data_dir: self.data_dir.clone(),
                key,
            }),
            (Some(_), None) => Err(ConfigError::NoRedis),
            (None, Some(_)) => Err(ConfigError::NoDatabase),
            (Some(database_url), Some(redis_url)) => {
                let database = PostgresServer::parse(&database_url, self.database_pooler)
                    .ok_or(ConfigError::BadDatabase)?;
                let redis = redis::Client::open(redis_url.as_str())
                    .map_err(|e| ConfigError::BadRedis(e.to_string()))?;
                Ok(Backend::Clustered {
                    database,
                    redis,
                    redis_url,
                    key: key.ok_or(ConfigError::NoSecret)?,
                })
            }
        }
    }

    /// With at most so many connections.
    pub fn limits(&self, most_connections: usize) -> limits::Allowances {
        limits::Allowances {
            messages_per_second: self.limit_messages_per_second,
            signups_per_minute: self.limit_signups_per_minute,
            logins_per_minute: self.limit_logins_per_minute,
            requests_per_second: self.limit_requests_per_second,
            connections_per_address: match self.limit_connections_per_address {
                0 => 0,
                // However few there may be, a stranger leaves half of them to others.
                limit => limit.min(u32::try_from(most_connections / 2).unwrap_or(u32::MAX).max(1)),
            },
            catch_up_bytes_per_second: self.limit_catch_up_bytes_per_second,
            sessions_per_address: self.limit_sessions_per_address,
            sessions_per_user: self.limit_sessions_per_user,
        }
    }

    /// What the OpenAPI document says of them.
    pub fn bounds(&self) -> http::Bounds {
        http::Bounds {
            message_max_bytes: self.message_max_bytes as usize,
            password_min_bytes: self.password_min_bytes as usize,
        }
    }

    pub fn warm_limits(&self) -> WarmLimits {
        WarmLimits {
            messages: self.warm_log_messages as usize,
            bytes: self.warm_log_bytes as usize,
        }
    }

    /// How many passwords are hashed at a time.
    pub fn password_workers(&self) -> usize {
        match self.password_workers {
            0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
            workers => workers.into(),
        }
    }
}

/// Refuses a variable of our own namespace that no setting reads: a limit that is misspelt is no limit.
pub fn check_environment(names: impl Iterator<Item = String>) -> Result<(), ConfigError> {
    let command = <Cli as clap::CommandFactory>::command();
    let known = |name: &str| {
        command
            .get_arguments()
            .any(|arg| arg.get_env().is_some_and(|env| env == name))
    };
    match names
        .into_iter()
        .find(|name| name.starts_with("LIMIT_") && !known(name))
    {
        Some(name) => Err(ConfigError::Unknown(name)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(args: &[&str]) -> Result<Backend, ConfigError> {
        let args = ["chat-gateway", "--database-url=", "--redis-url=", "--jwt-secret="]
            .iter()
            .chain(args);
        let mut command = <Cli as clap::CommandFactory>::command().args_override_self(true);
        let matches = command.try_get_matches_from_mut(args).unwrap();
        <Cli as clap::FromArgMatches>::from_arg_matches(&matches)
            .unwrap()
            .serve
            .backend()
    }

    #[test]
    fn half_a_cluster_says_what_to_set() {
        let (db, redis) = ("--database-url=postgres://u@h/d", "--redis-url=redis://h");
        assert!(matches!(backend(&[]), Ok(Backend::Embedded { .. })));
        assert_eq!(backend(&[db]).unwrap_err(), ConfigError::NoRedis);
        assert_eq!(backend(&[redis]).unwrap_err(), ConfigError::NoDatabase);
        assert_eq!(backend(&[db, redis]).unwrap_err(), ConfigError::NoSecret);
        assert_eq!(
            backend(&[db, redis, "--jwt-secret=short"]).unwrap_err(),
            ConfigError::BadSecret(BadKey::Short(5))
        );
        let key = "--jwt-secret=0123456789abcdef0123456789abcdef";
        assert!(matches!(
            backend(&[db, redis, key]),
            Ok(Backend::Clustered { .. })
        ));
        assert_eq!(
            backend(&["--database-url=mysql://h", redis, key]).unwrap_err(),
            ConfigError::BadDatabase
        );
        assert!(matches!(
            backend(&[db, "--redis-url=http://h", key]),
            Err(ConfigError::BadRedis(_))
        ));
        assert!(matches!(
            backend(&["--idle-seconds=5"]),
            Err(ConfigError::IdleBeforePing { .. })
        ));
    }

    #[test]
    fn a_misspelt_limit_is_refused() {
        let check = |name: &str| check_environment(std::iter::once(name.to_owned()));
        assert_eq!(check("LIMIT_MESSAGES_PER_SECOND"), Ok(()));
        assert_eq!(check("PATH"), Ok(()));
        assert!(check("LIMIT_MESSAGE_PER_SECOND").is_err());
    }
}
