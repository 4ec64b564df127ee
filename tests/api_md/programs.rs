//! The two programs of API.md, run against a replica that is killed under them.

use std::process::Stdio;
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder};
use serde_json::{Value, json};
use testkit::{Account, Proxy, Replica};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(30);

/// Sends messages over HTTP; gives the last one.
pub async fn post(replica: &Replica, account: &Account, room: &str, count: usize) -> Value {
    let url = format!("{}/api/v1/rooms/{room}/messages", replica.base_url());
    let mut last = Value::Null;
    for number in 0..count {
        let request = reqwest::Client::new().post(&url).bearer_auth(&account.token);
        let answer = request
            .json(&json!({"text": format!("{number}")}))
            .send()
            .await
            .expect("an answer");
        last = answer.json::<Value>().await.expect("JSON")["data"].take();
    }
    last
}

/// A browser on the page of this server, and its driver.
async fn browser(base_url: &str) -> (Client, Child) {
    let (driver, port) = chromedriver().await;
    let options =
        json!({"goog:chromeOptions": {"args": ["--headless=new", "--no-sandbox", "--disable-gpu"]}});
    let options = options.as_object().expect("an object").clone();
    let browser = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
        .capabilities(options)
        .connect(&format!("http://127.0.0.1:{port}"))
        .await
        .expect("a browser");
    browser.goto(base_url).await.expect("a page");
    (browser, driver)
}

/// The JavaScript of API.md in a real browser.
pub async fn javascript(program: &str, replica: &Replica, account: &Account) {
    let (browser, mut driver) = browser(&replica.base_url()).await;

    // Ten messages behind with a resume limit of three: caught up over HTTP.
    let first = post(replica, account, "js", 1).await;
    post(replica, account, "js", 10).await;
    let set_up = format!(
        "{program}
        window.seen = []; window.resets = 0;
        const start = (room, position) => follow(room, {{ token: arguments[0], position,
            handle: (message) => seen.push(message), reset: () => resets++, refused() {{}}, ended() {{}} }});
        start('js-reset', {{ seq: 1, id: '019bb2c4-7a10-7cc3-98d1-4f1d2a3b5c01' }});
        window.say = start('js', {{ seq: 1, id: arguments[1] }});"
    );
    browser
        .execute(&set_up, vec![json!(account.token), first["id"].clone()])
        .await
        .expect("API.md's program");
    let seen = async |count: usize| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = browser
                .execute("return seen.map((message) => message.seq)", vec![])
                .await
                .expect("a list");
            if seen.as_array().is_some_and(|seen| seen.len() >= count) {
                assert_eq!(seen, json!((2..2 + count).collect::<Vec<_>>()));
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{count} messages expected, the browser has seen {seen}"
            );
            sleep(Duration::from_millis(50)).await;
        }
    };
    seen(10).await;
    assert_eq!(
        browser.execute("return resets", vec![]).await.expect("a number"),
        json!(1)
    );

    browser
        .execute("say('live')", vec![])
        .await
        .expect("a message sent");
    seen(11).await;
    replica.kill().await;
    browser
        .execute("say('while the server is away'); say('and another')", vec![])
        .await
        .expect("two messages sent");
    replica.start_again().await;
    seen(13).await;
    post(replica, account, "js", 1).await;
    seen(14).await;

    browser.close().await.expect("the browser closed");
    driver.kill().await.expect("the driver ended");
}

async fn chromedriver() -> (Child, u16) {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port")
        .port();
    let driver = Command::new("chromedriver")
        .arg(format!("--port={port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("chromedriver runs (Debian: apt install chromium-driver)");
    let up = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, up).await.expect("chromedriver answers");
    (driver, port)
}

/// `program` with other waits; each of them is in it.
fn with_waits(program: &str, waits: &[(&str, &str)]) -> String {
    waits.iter().fold(program.to_owned(), |program, (from, to)| {
        assert!(program.contains(from), "API.md's program says {from}");
        program.replace(from, to)
    })
}

/// Waits until the program has handled exactly these texts.
async fn seen(browser: &Client, expected: Value) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = browser.execute("return seen", vec![]).await.expect("a list");
        if seen == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{expected} expected, not {seen}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The JavaScript of API.md with more to say than it may at once, on a replica that refuses who presses for a second.
pub async fn javascript_in_a_hurry(program: &str, replica: &Replica, account: &Account) {
    let (browser, mut driver) = browser(&replica.base_url()).await;
    let texts: Vec<String> = (0..30).map(|n| n.to_string()).collect();
    let set_up = format!(
        "{program}
        window.seen = []; window.errors = [];
        const say = follow('hurry', {{ token: arguments[0], handle: (message) => seen.push(message.text),
            refused: (error) => errors.push(error), ended: (code) => errors.push(code) }});
        for (const text of arguments[1]) say(text);"
    );
    browser
        .execute(&set_up, vec![json!(account.token), json!(texts)])
        .await
        .expect("API.md's program");
    seen(&browser, json!(texts)).await;
    let refused = r#"chat_refusals_total{type="RATE_LIMITED"} 0"#;
    assert!(
        replica.metrics().await.contains(refused),
        "it paces what it sends"
    );
    browser.close().await.expect("the browser closed");
    driver.kill().await.expect("the driver ended");
}

/// The JavaScript of API.md on a path that swallows everything: first when a message is sent, then when nothing is.
pub async fn javascript_on_a_dead_path(program: &str, replica: &Replica, account: &Account) {
    let program = with_waits(
        program,
        &[("3_000", "300"), ("6_000", "1_000"), ("25_000", "1_500")],
    );
    let proxy = Proxy::start(replica.port()).await;
    let (browser, mut driver) = browser(&format!("http://127.0.0.1:{}/", proxy.port())).await;
    let set_up = format!(
        "{program}
        window.seen = [];
        window.say = follow('js-dead', {{ token: arguments[0], handle: (message) => seen.push(message.text) }});
        say('1');"
    );
    browser
        .execute(&set_up, vec![json!(account.token)])
        .await
        .expect("API.md's program");
    seen(&browser, json!(["1"])).await;
    proxy.swallow();
    browser.execute("say('2')", vec![]).await.expect("sent");
    seen(&browser, json!(["1", "2"])).await;
    proxy.swallow();
    replica
        .post(
            "/api/v1/rooms/js-dead/messages",
            Some(&account.token),
            &json!({"text": "3"}),
        )
        .await;
    seen(&browser, json!(["1", "2", "3"])).await;
    browser.close().await.expect("the browser closed");
    driver.kill().await.expect("the driver ended");
}

/// The Python of API.md with a stand-in for the library that it names; each line that it prints.
fn run_python(
    program: &str,
    base_url: &str,
    account: &Account,
    position: &Value,
) -> (Child, Lines<BufReader<ChildStdout>>) {
    let script = format!(
        "{program}
import sys, urllib.request
base, token, kept = sys.argv[1], sys.argv[2], [json.loads(sys.argv[3])]
async def get_json(url):
    return json.load(await asyncio.to_thread(urllib.request.urlopen, url))
async def handle(message):
    print(message['seq'], flush=True)
def reset():
    print('reset', flush=True)
print('end', asyncio.run(follow(base, 'py', token, handle, lambda: kept[-1], kept.append, reset)), flush=True)
"
    );
    let stand_in = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api_md/stand_in");
    let mut child = Command::new("python3")
        .args(["-c", &script, base_url, &account.token, &position.to_string()])
        .env("PYTHONPATH", stand_in)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python3 runs");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    (child, lines)
}

async fn expect(lines: &mut Lines<BufReader<ChildStdout>>, line: &str) {
    let next = timeout(PATIENCE, lines.next_line())
        .await
        .expect("a line in time")
        .expect("a line");
    assert_eq!(next.as_deref(), Some(line));
}

pub async fn python(program: &str, replica: &Replica, account: &Account) {
    let first = post(replica, account, "py", 1).await;
    post(replica, account, "py", 10).await;
    let position = json!({"seq": 1, "id": first["id"]});
    let (mut child, mut lines) = run_python(program, &replica.base_url(), account, &position);
    for seq in 2..=11 {
        expect(&mut lines, &seq.to_string()).await;
    }
    replica.kill().await;
    replica.start_again().await;
    post(replica, account, "py", 2).await;
    expect(&mut lines, "12").await;
    expect(&mut lines, "13").await;
    replica.terminate().await;
    replica.wait().await;
    replica.start_again().await;
    post(replica, account, "py", 1).await;
    expect(&mut lines, "14").await;
    child.kill().await.expect("it ended");
}

/// The Python of API.md on a path that swallows everything.
pub async fn python_on_a_dead_path(program: &str, replica: &Replica, account: &Account) {
    let program = with_waits(
        program,
        &[("recv(), 25)", "recv(), 1)"), ("recv(), 6)", "recv(), 1)")],
    );
    let proxy = Proxy::start(replica.port()).await;
    let first = post(replica, account, "py", 1).await;
    let position = json!({"seq": 1, "id": first["id"]});
    let base_url = format!("http://127.0.0.1:{}", proxy.port());
    let (mut child, mut lines) = run_python(&program, &base_url, account, &position);
    post(replica, account, "py", 1).await;
    expect(&mut lines, "2").await;
    proxy.swallow();
    post(replica, account, "py", 1).await;
    expect(&mut lines, "3").await;
    child.kill().await.expect("it ended");
}
