//! The load generator: real replicas of this build, real Postgres with its default durability, real Redis, raw
//! sockets. It prints what the README quotes, and ends with 1 where a message is lost, repeated or out of order,
//! or where a figure misses the target that `--require` names.
//!
//!     cargo bench --bench load -- fanout
//!     cargo bench --bench load -- throughput --seconds 10
//!
//! Absolute times mean little on a shared machine: where there is a floor, it is measured in the same run, round
//! about, and the ratio is what counts.

mod client;
mod cpu;
mod floor;
mod pairs;
mod report;
mod scenarios;
mod sink;
mod traced;

use std::error::Error;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    scenario: Option<Scenario>,
    /// Everything small: does the generator work, is nothing lost?
    #[arg(long, global = true)]
    smoke: bool,
    /// Cargo passes this to every benchmark.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// One message at a time to large rooms, beside a bare thread that writes to as many sockets.
    Fanout(Fanout),
    /// What an idle session costs in memory.
    Idle(Idle),
    /// Durable messages a second through one replica.
    Throughput(Throughput),
    /// Sessions in many rooms on several replicas, at a rate.
    Chat(Chat),
    /// What tracing costs, beside the same without it.
    Tracing(Tracing),
}

#[derive(Debug, Clone, Args)]
pub struct Fanout {
    #[arg(long, default_value_t = 2)]
    replicas: usize,
    /// Sessions of the room, spread over the replicas.
    #[arg(long, default_value_t = 1000)]
    sessions: usize,
    /// Messages a second.
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// Seconds of a round.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Rounds of floor and server.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Fail when the median ratio is greater.
    #[arg(long)]
    require: Option<f64>,
}

#[derive(Debug, Clone, Args)]
pub struct Idle {
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    #[arg(long, default_value_t = 100)]
    rooms: usize,
    /// Fail when a session takes more, in KiB.
    #[arg(long)]
    require: Option<f64>,
}

#[derive(Debug, Clone, Args)]
pub struct Throughput {
    /// Publishers, each in a room of its own.
    #[arg(long, default_value_t = 500)]
    rooms: usize,
    /// Messages that each has under way.
    #[arg(long, default_value_t = 16)]
    window: u64,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Fail when the median rate is smaller.
    #[arg(long)]
    require: Option<f64>,
}

#[derive(Debug, Clone, Args)]
pub struct Chat {
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    #[arg(long, default_value_t = 1000)]
    sessions: usize,
    #[arg(long, default_value_t = 100)]
    rooms: usize,
    /// Messages a second, over all rooms.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

#[derive(Debug, Clone, Args)]
pub struct Tracing {
    /// The share of publishes that is sampled.
    #[arg(long, default_value_t = 0.01)]
    sampled: f64,
    #[arg(long, default_value_t = 2)]
    replicas: usize,
    /// Sessions of the large room; 0 leaves it out.
    #[arg(long, default_value_t = 1000)]
    large: usize,
    /// Messages that are under way at a time there.
    #[arg(long, default_value_t = 1)]
    large_window: u64,
    /// Sessions of the small room; 0 leaves it out.
    #[arg(long, default_value_t = 10)]
    small: usize,
    /// Messages that are under way at a time there.
    #[arg(long, default_value_t = 32)]
    small_window: u64,
    /// Deliveries after which it is the other replicas' turn.
    #[arg(long, default_value_t = 1000)]
    slice: u64,
    /// Seconds of a round, more than the five between two exports.
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Rounds of each start that count.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// How often the replicas are started anew.
    #[arg(long, default_value_t = 16)]
    starts: usize,
    /// Fail when the median ratio of a room is greater, or off differs from off.
    #[arg(long)]
    require: Option<f64>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Ten thousand sessions are as many descriptors; where the hard limit is lower, the joins will say so.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    // A thread for the clients: the other core is the servers'.
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(cli)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            report::line(&format!("FAILED: {e}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Fallible<()> {
    if cli.smoke {
        let chat = Chat {
            replicas: 2,
            sessions: 40,
            rooms: 4,
            rate: 50,
            seconds: 3,
        };
        scenarios::chat(&chat).await?;
        let fanout = Fanout {
            replicas: 2,
            sessions: 50,
            rate: 50,
            seconds: 1,
            rounds: 2,
            require: None,
        };
        scenarios::fanout(&fanout).await?;
        let throughput = Throughput {
            rooms: 20,
            window: 8,
            seconds: 2,
            rounds: 1,
            require: None,
        };
        scenarios::throughput(&throughput).await?;
        let tracing = Tracing {
            sampled: 0.3,
            replicas: 2,
            large: 50,
            large_window: 1,
            small: 10,
            small_window: 8,
            slice: 500,
            seconds: 1,
            rounds: 1,
            starts: 1,
            require: None,
        };
        return traced::tracing(&tracing).await;
    }
    match cli.scenario {
        Some(Scenario::Fanout(options)) => scenarios::fanout(&options).await,
        Some(Scenario::Idle(options)) => scenarios::idle(&options).await,
        Some(Scenario::Throughput(options)) => scenarios::throughput(&options).await,
        Some(Scenario::Chat(options)) => scenarios::chat(&options).await,
        Some(Scenario::Tracing(options)) => traced::tracing(&options).await,
        None => Err("name a scenario: fanout, idle, throughput, chat or tracing; --help says more".into()),
    }
}
