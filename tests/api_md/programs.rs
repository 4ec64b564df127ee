//! The two programs of API.md, run against a replica that is killed under them.

use std::process::Stdio;
use std::time::{Duration, Instant};

use fantoccini::ClientBuilder;
use serde_json::{Value, json};
use testkit::{Account, Replica};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
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

/// The JavaScript of API.md in a real browser.
pub async fn javascript(program: &str, replica: &Replica, account: &Account) {
    let (mut driver, port) = chromedriver().await;
    let options =
        json!({"goog:chromeOptions": {"args": ["--headless=new", "--no-sandbox", "--disable-gpu"]}});
    let options = options.as_object().expect("an object").clone();
    let browser = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
        .capabilities(options)
        .connect(&format!("http://127.0.0.1:{port}"))
        .await
        .expect("a browser");
    browser.goto(&replica.base_url()).await.expect("a page");

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

/// The Python of API.md with a stand-in for the library that it names.
pub async fn python(program: &str, replica: &Replica, account: &Account) {
    let first = post(replica, account, "py", 1).await;
    post(replica, account, "py", 10).await;
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
    let position = json!({"seq": 1, "id": first["id"]}).to_string();
    let stand_in = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api_md/stand_in");
    let mut child = Command::new("python3")
        .args(["-c", &script, &replica.base_url(), &account.token, &position])
        .env("PYTHONPATH", stand_in)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python3 runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut expect = async |line: &str| {
        let next = timeout(PATIENCE, lines.next_line())
            .await
            .expect("a line in time")
            .expect("a line");
        assert_eq!(next.as_deref(), Some(line));
    };
    for seq in 2..=11 {
        expect(&seq.to_string()).await;
    }
    replica.kill().await;
    replica.start_again().await;
    post(replica, account, "py", 2).await;
    expect("12").await;
    expect("13").await;
    replica.terminate().await;
    replica.wait().await;
    replica.start_again().await;
    post(replica, account, "py", 1).await;
    expect("14").await;
    child.kill().await.expect("it ended");
}
