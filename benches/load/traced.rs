//! What tracing costs: three deployments of the same binary side by side, two without it and one that samples.
//! They share Postgres and Redis and take turns in short slices, so that whatever else the machine does meets all.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use testkit::{Cluster, RedisServer};
use tokio::io::AsyncWriteExt;
use tokio::task::{JoinSet, LocalSet};

use crate::client::{Session, command, now};
use crate::cpu::Threads;
use crate::pairs::Pairs;
use crate::report::{line, spread_line};
use crate::scenarios::{Tally, addresses, arrived, cluster_with, listen, servers_cpu};
use crate::sink::{Received, Sink};
use crate::{Fallible, Tracing};

/// The same setting twice tells what the method itself makes up.
const ARMS: [&str; 3] = ["off", "off again", "sampled"];
const SAMPLED: usize = 2;
const WARM_UP: Duration = Duration::from_secs(1);

/// One room, and how it talks: bursts, each when all of the one before has been delivered. What the servers then do
/// for a message hardly depends on how busy the machine is, as it does where messages come at their own pace.
struct Load {
    name: &'static str,
    sessions: u64,
    window: u64,
}

pub async fn tracing(options: &Tracing) -> Fallible<()> {
    Box::pin(LocalSet::new().run_until(tracing_local(options))).await
}

async fn tracing_local(options: &Tracing) -> Fallible<()> {
    let sink = Sink::start()?;
    let redis = Arc::new(RedisServer::start().await);
    let loads = [
        Load {
            name: "large",
            sessions: options.large as u64,
            window: options.large_window,
        },
        // Few deliveries a message: what a message costs weighs on each of them.
        Load {
            name: "small",
            sessions: options.small as u64,
            window: options.small_window,
        },
    ];
    let mut missed = Vec::new();
    for load in loads.iter().filter(|load| load.sessions > 0) {
        missed.extend(measure(options, load, &sink, &redis).await?);
    }
    match missed.is_empty() {
        true => Ok(()),
        false => Err(missed.join("; ").into()),
    }
}

/// Measures one load; gives what misses the target.
async fn measure(
    options: &Tracing,
    load: &Load,
    sink: &Sink,
    redis: &Arc<RedisServer>,
) -> Fallible<Vec<String>> {
    line(&format!(
        "tracing: a {} room of {} sessions on {} replicas, messages under way: {}, sampled: {} %",
        load.name,
        load.sessions,
        options.replicas,
        load.window,
        options.sampled * 100.0
    ));
    let before = sink.received();
    let mut costs = [vec![], vec![], vec![]];
    let (mut same, mut traced, mut published) = (Pairs::default(), Pairs::default(), 0);
    for _ in 0..options.starts {
        same.begin();
        traced.begin();
        let mut arms = Vec::with_capacity(ARMS.len());
        for n in 0..ARMS.len() {
            arms.push(Arm::start(n, options, load, sink, redis).await?);
        }
        // Meanwhile pools and caches fill; it does not count.
        round(&mut arms, options.slice, WARM_UP, load).await?;
        for _ in 0..options.rounds {
            let length = Duration::from_secs(options.seconds);
            let each = round(&mut arms, options.slice, length, load).await?;
            costs.iter_mut().zip(each).for_each(|(all, cost)| all.push(cost));
            same.add(each[1] / each[0]);
            traced.add(each[SAMPLED] / each[0]);
        }
        published += arms[SAMPLED].sent;
        for arm in arms {
            arm.end().await?;
        }
    }
    for (arm, cost) in ARMS.iter().zip(costs) {
        spread_line(&format!("{arm}, CPU for each delivery"), "us", cost);
    }
    let noise = same.report("ratio, off again to off");
    let cost = traced.report("ratio, sampled to off");
    verify(sink.received() - before, published, options.sampled)?;
    let mut missed = Vec::new();
    if let Some(most) = options.require {
        if cost.median > most {
            missed.push(format!("{} room: the ratio is over {most}", load.name));
        }
        if !(noise.interval.0..=noise.interval.1).contains(&1.0) {
            missed.push(format!(
                "{} room: off differs from off, nothing is proven",
                load.name
            ));
        }
    }
    Ok(missed)
}

/// Turns in which every arm works twice, in an order that is the same from both ends, so that a machine that grows
/// slower or faster is so for all. What an arm does while others work counts too: spans leave up to five seconds
/// after their message, and a round is longer.
async fn round(arms: &mut [Arm], slice: u64, length: Duration, load: &Load) -> Fallible<[f64; ARMS.len()]> {
    let before = arms.iter().map(Arm::books).collect::<Fallible<Vec<_>>>()?;
    let until = Instant::now() + length;
    for turn in 0.. {
        let order: Vec<usize> = (0..arms.len()).map(|n| (n + turn) % arms.len()).collect();
        for n in order.iter().chain(order.iter().rev()) {
            arms[*n].work(load, slice).await?;
        }
        if Instant::now() >= until {
            break;
        }
    }
    let mut each = [0.0; ARMS.len()];
    for ((arm, (cpu, sent)), cost) in arms.iter().zip(before).zip(&mut each) {
        let deliveries = (arm.sent - sent) * load.sessions;
        *cost = servers_cpu(&arm.cluster)?.since(&cpu) as f64 / 1e3 / deliveries as f64;
    }
    Ok(each)
}

/// A deployment with its clients.
struct Arm {
    cluster: Cluster,
    publisher: Session,
    listeners: JoinSet<Fallible<()>>,
    tally: Rc<RefCell<Tally>>,
    begun: Instant,
    sent: u64,
}

impl Arm {
    async fn start(
        n: usize,
        options: &Tracing,
        load: &Load,
        sink: &Sink,
        redis: &Arc<RedisServer>,
    ) -> Fallible<Self> {
        let (prefix, endpoint, ratio) = (format!("chat{n}"), sink.endpoint(), options.sampled.to_string());
        let mut settings = vec![("RELAY_PREFIX", prefix.as_str())];
        if n == SAMPLED {
            settings.extend([
                ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
                ("OTEL_METRICS_EXPORTER", "none"),
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", &ratio),
            ]);
        }
        let cluster = cluster_with(options.replicas, &settings, Some(redis.clone())).await;
        let ann = cluster.replica(0).account("ann").await;
        let (addresses, begun) = (addresses(&cluster), Instant::now());
        let (tally, mut listeners) = (Rc::<RefCell<Tally>>::default(), JoinSet::new());
        for address in addresses.iter().cycle().take(load.sessions as usize) {
            let session = Session::join(*address, load.name, None).await?;
            listeners.spawn_local(listen(session, begun, tally.clone()));
        }
        let publisher = Session::join(addresses[0], load.name, Some(&ann.token)).await?;
        Ok(Self {
            cluster,
            publisher,
            listeners,
            tally,
            begun,
            sent: 0,
        })
    }

    fn books(&self) -> Fallible<(Threads, u64)> {
        Ok((servers_cpu(&self.cluster)?, self.sent))
    }

    async fn work(&mut self, load: &Load, slice: u64) -> Fallible<()> {
        let until = self.sent + slice.div_ceil(load.sessions);
        while self.sent < until {
            let at = now(self.begun);
            let burst: Vec<u8> = (0..load.window).flat_map(|_| command(at, None)).collect();
            self.publisher.stream.write_all(&burst).await?;
            self.sent += load.window;
            arrived(&self.tally, self.sent * load.sessions, &mut self.listeners).await?;
            self.publisher.skim()?;
        }
        let mut tally = self.tally.borrow_mut();
        tally.latencies.clear();
        tally.faults.verdict()
    }

    /// Drains the replicas: they send their last spans.
    async fn end(mut self) -> Fallible<()> {
        self.listeners.shutdown().await;
        for replica in self.cluster.replicas() {
            replica.terminate().await;
        }
        for replica in self.cluster.replicas() {
            let status = replica.wait().await;
            if !status.success() {
                return Err(format!("a replica ended with {status}").into());
            }
        }
        Ok(())
    }
}

/// Tracing that does not trace costs nothing: as many publishes have to have arrived as were to be sampled.
fn verify(received: Received, published: u64, sampled: f64) -> Fallible<()> {
    line(&format!(
        "the sink received {} of {published} publishes, {} requests, {:.1} KiB",
        received.publishes,
        received.requests,
        received.bytes as f64 / 1024.0
    ));
    let expected = published as f64 * sampled;
    // Five standard deviations of the sampler's choice.
    let chance = 5.0 * (expected * (1.0 - sampled)).sqrt();
    match received.publishes {
        0 => Err("the sink received no publish: nothing was measured".into()),
        n if (n as f64 - expected).abs() > chance => {
            Err(format!("{expected:.0} publishes were to be sampled").into())
        }
        _ => Ok(()),
    }
}
