//! The settings of deploy/README.md's sample, as they stand there: traces go by gRPC to where it says, metrics nowhere.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use testkit::{Backend, Cluster, block};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

#[tokio::test]
async fn the_sample_exports_traces_by_grpc() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = collector.local_addr().unwrap().port().to_string();
    let sample = block("deploy/README.md", "otlp").replace("4317", &port);
    let settings: Vec<(&str, &str)> = sample
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .chain([("OTEL_BSP_SCHEDULE_DELAY", "100")])
        .collect();
    assert_eq!(settings.len(), 6, "{sample}");
    let bin = Path::new(env!("CARGO_BIN_EXE_chat-gateway"));
    let cluster = Cluster::start(bin, Backend::Embedded, 1, &settings).await;
    let ann = cluster.replica(0).account("ann").await;
    let spoken = async {
        let (mut connection, _) = collector.accept().await.unwrap();
        let mut begin = [0; 14];
        connection.read_exact(&mut begin).await.unwrap();
        begin
    };
    // One in a hundred.
    let talk = async {
        loop {
            let message = json!({"text": "hello"});
            let path = "/api/v1/rooms/hall/messages";
            cluster.replica(0).post(path, Some(&ann.token), &message).await;
        }
    };
    let begin = tokio::select! {
        begin = spoken => begin,
        () = talk => unreachable!("it talks for ever"),
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("nothing was exported within a minute"),
    };
    assert_eq!(&begin, b"PRI * HTTP/2.0");
}
