//! What is measured, and how.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use testkit::{Backend, Cluster, Options, RedisServer};
use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};

use crate::client::{Heard, Session, now};
use crate::report::{Faults, line, percentiles, spread_line};
use crate::{Chat, Fallible, Fanout, Idle, Throughput, cpu, floor};

async fn cluster(replicas: usize) -> Cluster {
    cluster_with(replicas, &[], None).await
}

pub async fn cluster_with(
    replicas: usize,
    settings: &[(&str, &str)],
    redis: Option<Arc<RedisServer>>,
) -> Cluster {
    let bin = Path::new(env!("CARGO_BIN_EXE_chat-gateway"));
    let options = Options {
        backend: Backend::Clustered,
        replicas,
        settings,
        durable: true,
        redis,
        ..Options::default()
    };
    Cluster::start_with(bin, options).await
}

pub fn addresses(cluster: &Cluster) -> Vec<SocketAddr> {
    cluster
        .replicas()
        .iter()
        .map(|replica| SocketAddr::from(([127, 0, 0, 1], replica.port())))
        .collect()
}

pub fn servers_cpu(cluster: &Cluster) -> Fallible<cpu::Threads> {
    cpu::Threads::of(cluster.replicas().iter().map(|replica| replica.pid()))
}

/// What all listeners of a run have seen.
#[derive(Default)]
pub struct Tally {
    deliveries: u64,
    pub latencies: Vec<u64>,
    pub faults: Faults,
    /// Whoever waits for this many deliveries is woken by the last of them.
    awaited: u64,
    complete: Rc<Notify>,
}

impl Tally {
    /// Deliveries of a message to a session for the first time.
    fn distinct(&self) -> u64 {
        self.deliveries - self.faults.repeated
    }
}

/// Listens for ever: a fresh room's `seq` has to count 1, 2, 3 ….
pub async fn listen(mut session: Session, begun: Instant, tally: Rc<RefCell<Tally>>) -> Fallible<()> {
    let mut last = 0;
    loop {
        session
            .hear(|heard| {
                let Heard::Message { seq, sent } = heard else {
                    return;
                };
                let mut tally = tally.borrow_mut();
                tally.deliveries += 1;
                tally.latencies.push(now(begun).saturating_sub(sent));
                // A hole is either lost for good, which the count of all deliveries shows, or comes late.
                match seq.cmp(&last) {
                    Ordering::Equal => tally.faults.repeated += 1,
                    Ordering::Less => tally.faults.disordered += 1,
                    Ordering::Greater => last = seq,
                }
                if tally.distinct() == tally.awaited {
                    tally.complete.notify_one();
                }
            })
            .await?;
    }
}

/// Publishes `rate` messages a second, one at a time, round about.
async fn publish(publishers: &mut [Session], rate: u32, length: Duration, begun: Instant) -> Fallible<u64> {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
    let until = Instant::now() + length;
    let mut sent = 0;
    while Instant::now() < until {
        pace.tick().await;
        let count = publishers.len() as u64;
        let publisher = &mut publishers[(sent % count) as usize];
        publisher.say(now(begun), None).await?;
        publisher.skim()?;
        sent += 1;
    }
    Ok(sent)
}

/// Waits until `deliveries` have arrived in all; what is missing after ten seconds is lost.
pub async fn arrived(
    tally: &Rc<RefCell<Tally>>,
    deliveries: u64,
    listeners: &mut JoinSet<Fallible<()>>,
) -> Fallible<()> {
    let complete = tally.borrow().complete.clone();
    tally.borrow_mut().awaited = deliveries;
    let too_late = tokio::time::sleep(Duration::from_secs(10));
    tokio::pin!(too_late);
    while tally.borrow().distinct() < deliveries {
        tokio::select! {
            () = complete.notified() => {}
            // A listener ends only by an error.
            Some(ended) = listeners.join_next() => ended??,
            () = &mut too_late => break,
        }
    }
    let mut tally = tally.borrow_mut();
    tally.faults.lost = deliveries.saturating_sub(tally.distinct());
    Ok(())
}

fn print_latency(tally: &mut Tally) {
    let at = percentiles(&mut tally.latencies, &[0.5, 0.99, 0.999]);
    let ms = |n: usize| at[n] as f64 / 1e6;
    line(&format!(
        "delivery latency p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms",
        ms(0),
        ms(1),
        ms(2)
    ));
}

pub async fn fanout(options: &Fanout) -> Fallible<()> {
    Box::pin(LocalSet::new().run_until(fanout_local(options))).await
}

async fn fanout_local(options: &Fanout) -> Fallible<()> {
    let cluster = cluster(options.replicas).await;
    let ann = cluster.replica(0).account("ann").await;
    let addresses = addresses(&cluster);
    let begun = Instant::now();
    let tally = Rc::new(RefCell::new(Tally::default()));
    let mut listeners = JoinSet::new();
    for n in 0..options.sessions {
        let session = Session::join(addresses[n % addresses.len()], "large", None).await?;
        listeners.spawn_local(listen(session, begun, tally.clone()));
    }
    let mut publisher = [Session::join(addresses[0], "large", Some(&ann.token)).await?];
    // The floor writes frames as long as the servers'.
    publisher[0].say(now(begun), None).await?;
    publisher[0].hear(|_| {}).await?;
    let (mut floor, far) = floor::Floor::new(options.sessions, vec![b'x'; publisher[0].frame_bytes])?;
    floor::drain(far)?;
    let length = Duration::from_secs(options.seconds);
    line(&format!(
        "fanout: a room of {} sessions on {} replicas, {} messages a second, one at a time",
        options.sessions, options.replicas, options.rate
    ));
    let (mut floors, mut servers, mut ratios, mut rates) = (vec![], vec![], vec![], vec![]);
    let mut expected = options.sessions as u64;
    for _ in 0..options.rounds {
        let result = floor.start(options.rate, length);
        tokio::time::sleep(length).await;
        let (back, cost) = tokio::task::spawn_blocking(move || result.recv()).await???;
        floor = back;
        let (at, before) = (Instant::now(), servers_cpu(&cluster)?);
        let sent = publish(&mut publisher, options.rate, length, begun).await?;
        let delivered = sent * options.sessions as u64;
        expected += delivered;
        arrived(&tally, expected, &mut listeners).await?;
        let used = servers_cpu(&cluster)?.since(&before) as f64 / delivered as f64;
        rates.push(delivered as f64 / at.elapsed().as_secs_f64());
        floors.push(cost / 1e3);
        servers.push(used / 1e3);
        ratios.push(used / cost);
    }
    spread_line("deliveries", "/s", rates);
    spread_line("floor, CPU for each write", "us", floors);
    spread_line("servers, CPU for each delivery", "us", servers);
    let ratio = spread_line("ratio, servers to floor", "", ratios);
    let mut tally = tally.borrow_mut();
    print_latency(&mut tally);
    tally.faults.check()?;
    match options.require {
        Some(most) if ratio > most => Err(format!("the ratio is over {most}").into()),
        _ => Ok(()),
    }
}

pub async fn idle(options: &Idle) -> Fallible<()> {
    let cluster = cluster(1).await;
    let address = addresses(&cluster)[0];
    let pid = cluster.replica(0).pid();
    // One session first, so that what is allocated once is not counted.
    let mut sessions = vec![Session::join(address, "room0", None).await?];
    let before = cpu::resident(pid)?;
    while sessions.len() <= options.sessions {
        let room = format!("room{}", sessions.len() % options.rooms);
        sessions.push(Session::join(address, &room, None).await?);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    // A session that the server has closed is cheap, and none.
    sessions.iter_mut().try_for_each(Session::skim)?;
    let each = (cpu::resident(pid)? - before) as f64 / options.sessions as f64;
    line(&format!(
        "idle: {} sessions in {} rooms on one replica",
        options.sessions, options.rooms
    ));
    line(&format!(
        "resident memory for each session {each:.2} KiB (process {} KiB)",
        cpu::resident(pid)?
    ));
    match options.require {
        Some(most) if each > most => Err(format!("a session takes more than {most} KiB").into()),
        _ => Ok(()),
    }
}

pub async fn throughput(options: &Throughput) -> Fallible<()> {
    LocalSet::new().run_until(throughput_local(options)).await
}

async fn throughput_local(options: &Throughput) -> Fallible<()> {
    let cluster = cluster(1).await;
    let ann = cluster.replica(0).account("ann").await;
    let address = addresses(&cluster)[0];
    line(&format!(
        "throughput: {} publishers, each in a room of its own with {} messages under way, one replica",
        options.rooms, options.window
    ));
    let (mut rates, mut costs, mut acks) = (vec![], vec![], vec![]);
    for round in 0..options.rounds {
        let mut sessions = Vec::with_capacity(options.rooms);
        for n in 0..options.rooms {
            sessions.push(Session::join(address, &format!("r{round}x{n}"), Some(&ann.token)).await?);
        }
        // Nobody sends before everybody has joined, or the first ones' messages would be counted and their time not.
        let (begun, before) = (Instant::now(), servers_cpu(&cluster)?);
        let until = begun + Duration::from_secs(options.seconds);
        let mut publishers = JoinSet::new();
        for session in sessions {
            publishers.spawn_local(pump(session, options.window, until));
        }
        let mut stored = 0;
        while let Some(done) = publishers.join_next().await {
            let (count, mut latencies) = done??;
            stored += count;
            acks.append(&mut latencies);
        }
        rates.push(stored as f64 / begun.elapsed().as_secs_f64());
        costs.push(servers_cpu(&cluster)?.since(&before) as f64 / stored as f64 / 1e3);
    }
    let rate = spread_line("durable messages", "/s", rates);
    spread_line("replica, CPU for each message", "us", costs);
    let at = percentiles(&mut acks, &[0.5, 0.99, 0.999]);
    let ms = |n: usize| at[n] as f64 / 1e6;
    line(&format!(
        "ack latency p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms",
        ms(0),
        ms(1),
        ms(2)
    ));
    let metrics = cluster.replica(0).metrics().await;
    for name in [
        "chat_journal_batch_size_count",
        "chat_journal_batch_size_sum",
        "chat_journal_commit_seconds_sum",
    ] {
        metrics.lines().filter(|l| l.starts_with(name)).for_each(line);
    }
    match options.require {
        Some(least) if rate < least => Err(format!("fewer than {least} messages a second").into()),
        _ => Ok(()),
    }
}

/// Keeps `window` messages under way until the time is up, then waits for the last acks. Every ack and every own
/// message has to come: the first that is missing ends the run.
async fn pump(mut session: Session, window: u64, until: Instant) -> Fallible<(u64, Vec<u64>)> {
    let begun = Instant::now();
    let (mut sent, mut acked, mut seen, mut fault) = (0u64, 0u64, 0u64, None);
    let (mut under_way, mut latencies) = (VecDeque::new(), Vec::new());
    loop {
        let open = Instant::now() < until;
        let mut burst = Vec::new();
        while open && sent < acked + window {
            let at = now(begun);
            burst.extend(crate::client::command(at, Some(sent)));
            under_way.push_back(at);
            sent += 1;
        }
        tokio::io::AsyncWriteExt::write_all(&mut session.stream, &burst).await?;
        if !open && acked == sent && seen == sent {
            break;
        }
        let heard = session.hear(|heard| match heard {
            Heard::Ack { nonce } if nonce == acked => {
                acked += 1;
                latencies.extend(under_way.pop_front().map(|sent| now(begun).saturating_sub(sent)));
            }
            Heard::Ack { .. } => fault = Some("the acks are not in the order of the messages, once each"),
            Heard::Message { seq, .. } => {
                seen += 1;
                if seq != seen {
                    fault = Some("a room's messages are not 1, 2, 3 …");
                }
            }
            Heard::Refused => fault = Some("a message was refused"),
            Heard::Joined | Heard::Other => {}
        });
        tokio::time::timeout(Duration::from_secs(20), heard)
            .await
            .map_err(|_| "an ack or a message is missing")??;
        if let Some(fault) = fault {
            return Err(fault.into());
        }
    }
    Ok((acked, latencies))
}

pub async fn chat(options: &Chat) -> Fallible<()> {
    LocalSet::new().run_until(chat_local(options)).await
}

async fn chat_local(options: &Chat) -> Fallible<()> {
    let cluster = cluster(options.replicas).await;
    let ann = cluster.replica(0).account("ann").await;
    let addresses = addresses(&cluster);
    let begun = Instant::now();
    let tally = Rc::new(RefCell::new(Tally::default()));
    let (mut listeners, mut publishers) = (JoinSet::new(), Vec::new());
    for n in 0..options.sessions {
        let room = format!("room{}", n % options.rooms);
        // Rooms and replicas are counted apart, so that every room has sessions on every replica.
        let address = addresses[(n / options.rooms) % addresses.len()];
        listeners.spawn_local(listen(
            Session::join(address, &room, None).await?,
            begun,
            tally.clone(),
        ));
    }
    for n in 0..options.rooms {
        publishers.push(
            Session::join(
                addresses[n % addresses.len()],
                &format!("room{n}"),
                Some(&ann.token),
            )
            .await?,
        );
    }
    let before = servers_cpu(&cluster)?;
    let at = Instant::now();
    let sent = publish(
        &mut publishers,
        options.rate,
        Duration::from_secs(options.seconds),
        begun,
    )
    .await?;
    let in_room = |n: u64| {
        (0..options.sessions as u64)
            .filter(|s| s % options.rooms as u64 == n % options.rooms as u64)
            .count() as u64
    };
    let expected = (0..sent).map(in_room).sum();
    arrived(&tally, expected, &mut listeners).await?;
    let elapsed = at.elapsed().as_secs_f64();
    let used = servers_cpu(&cluster)?.since(&before);
    line(&format!(
        "chat: {} sessions in {} rooms on {} replicas, {} messages a second",
        options.sessions, options.rooms, options.replicas, options.rate
    ));
    let mut tally = tally.borrow_mut();
    line(&format!(
        "{:.0} deliveries/s, servers' CPU {:.2} us for each",
        tally.deliveries as f64 / elapsed,
        used as f64 / 1e3 / tally.deliveries.max(1) as f64
    ));
    print_latency(&mut tally);
    tally.faults.check()
}
