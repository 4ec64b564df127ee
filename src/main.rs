//! The command line: serve (the default), migrate, openapi, health.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use chat_gateway::app::{App, StartError};
use chat_gateway::config::{Action, Cli, ConfigError, MigrateArgs, Settings, check_environment};
use chat_gateway::store::SchemaError;
use chat_gateway::telemetry::{self, LogFormat, Telemetry};
use chat_gateway::{http, store};
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The configuration is wrong, and the message says what to set.
const BAD_CONFIG: u8 = 2;
/// A second signal ended the process at once.
const ENDED_NOW: u8 = 130;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => serve(cli.serve),
        Some(Action::Serve(settings)) => serve(*settings),
        Some(Action::Migrate(args)) => migrate(&args),
        Some(Action::Openapi) => say(&http::openapi(cli.serve.bounds())),
        Some(Action::Health(args)) => health(args.ops_listen_addr),
    };
    done.unwrap_or_else(
        |Failure {
             message,
             code,
             format,
         }| {
            let line = match format {
                LogFormat::Pretty => format!("chat-gateway: {message}"),
                LogFormat::Json => telemetry::json_line("ERROR", &message, &[]),
            };
            // Where even standard error is closed, the exit code has to do.
            let _ = writeln!(std::io::stderr(), "{line}");
            ExitCode::from(code)
        },
    )
}

struct Failure {
    message: String,
    code: u8,
    /// How it is said.
    format: LogFormat,
}

impl Failure {
    fn new(code: u8, message: impl ToString) -> Self {
        Self {
            message: message.to_string(),
            code,
            format: LogFormat::Pretty,
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Self::new(1, e)
    }
}

fn say(line: &str) -> Result<ExitCode, Failure> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Who collects lines of JSON gets nothing else, from the first to the last.
fn serve(settings: Settings) -> Result<ExitCode, Failure> {
    let format = settings.log_format;
    run(settings).map_err(|failure| Failure { format, ..failure })
}

fn run(settings: Settings) -> Result<ExitCode, Failure> {
    let format = settings.log_format;
    check_environment(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))
        .map_err(|e| Failure::new(BAD_CONFIG, e))?;
    let runtime = runtime()?;
    let started = {
        let _inside = runtime.enter();
        Telemetry::start(
            settings.log_format,
            &settings.rust_log,
            settings.trace_client_sampled_per_second,
        )
    };
    let telemetry = started.map_err(|e| Failure::new(BAD_CONFIG, e))?;
    let exporters = telemetry.clone();
    let code = runtime.block_on(async {
        let mut signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let app = tokio::select! {
            app = App::build(settings, telemetry) => app.map_err(|e| match e {
                StartError::Config(_) | StartError::Schema(SchemaError::Older(_)) => Failure::new(BAD_CONFIG, e),
                _ => Failure::new(1, e),
            })?,
            () = either(&mut signals) => return Ok(ExitCode::SUCCESS),
        };
        say(&match format {
            LogFormat::Pretty => format!("chat-gateway is ready: open {} in a browser", app.url()),
            LogFormat::Json => telemetry::json_line("INFO", "chat-gateway is ready", &[("url", &app.url())]),
        })?;
        let (told, stop) = tokio::sync::oneshot::channel::<()>();
        let run = app.run(async { drop(stop.await) });
        let told = async {
            either(&mut signals).await;
            drop(told);
            either(&mut signals).await;
        };
        tokio::select! {
            clean = run => Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
            () = told => Ok(ExitCode::from(ENDED_NOW)),
        }
    });
    exporters.flush();
    // A hash that is under way must not hold the process.
    runtime.shutdown_background();
    code
}

async fn either((terminate, interrupt): &mut (Signal, Signal)) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn migrate(args: &MigrateArgs) -> Result<ExitCode, Failure> {
    let Some(server) = store::PostgresServer::parse(&args.database_url, true) else {
        let why = ConfigError::BadDatabase;
        return Err(Failure::new(
            BAD_CONFIG,
            format!("{why}; an embedded gateway migrates itself"),
        ));
    };
    let runtime = runtime()?;
    if let Some(seconds) = args.wait {
        let limit = Duration::from_secs(seconds.into());
        // Nobody may be reading, and that is no reason to go on without the schema.
        let waits = |why: &str| drop(say(&format!("waiting for another to migrate: {why}")));
        runtime
            .block_on(store::migrated(&server, limit, waits))
            .map_err(|e| Failure::new(1, e))?;
        return say("the schema is up to date");
    }
    if !args.check {
        let later = runtime
            .block_on(store::migrate(&server))
            .map_err(|e| Failure::new(1, e))?;
        return say(&match later.is_empty() {
            true => "the schema is up to date".to_owned(),
            false => format!(
                "the schema is up to date, and a later release has added {}",
                later.join(", ")
            ),
        });
    }
    let found = runtime
        .block_on(store::check(&server))
        .map_err(|e| Failure::new(1, e))?;
    match found.is_empty() {
        true => say("the schema is up to date, and no counter is behind its table"),
        false => say(&found.join("\n")).map(|_| ExitCode::FAILURE),
    }
}

/// Asks `/readyz`.
fn health(address: SocketAddr) -> Result<ExitCode, Failure> {
    let limit = Duration::from_secs(2);
    // Who listens everywhere is here, too; `[::]` is no address to connect to where there is no IPv6.
    let address = match address.ip().is_unspecified() {
        true => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        false => address,
    };
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(
        stream,
        "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    match answer.starts_with("HTTP/1.1 200") {
        true => say("ready"),
        false => Err(Failure::new(1, "not ready")),
    }
}
