//! One replica of each backend for a script, with the limits off: prints the embedded one's address, a space and the
//! clustered one's, and serves until its standard input ends. `CHAT_GATEWAY` is the binary.

use std::path::PathBuf;

use testkit::{Backend, Cluster};

#[tokio::main]
async fn main() {
    let binary = std::env::var_os("CHAT_GATEWAY").expect("CHAT_GATEWAY is the binary to start");
    let binary = PathBuf::from(binary);
    let start = async |backend| Cluster::start(&binary, backend, 1, &[]).await;
    let (embedded, clustered) = tokio::join!(start(Backend::Embedded), start(Backend::Clustered));
    println!(
        "{} {}",
        embedded.replica(0).base_url(),
        clustered.replica(0).base_url()
    );
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}
