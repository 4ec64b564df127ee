//! Settings that are lists.

use testkit::{Backend, Cluster};

use super::commandline::refused;
use crate::binary;

#[tokio::test]
async fn origins_that_can_never_match_are_refused() {
    for value in [
        "*",
        "chat.example",
        "https://chat.example/app",
        "https://*.example",
        "https://fine.example,localhost:3000",
    ] {
        let odd = value.rsplit(',').next().expect("one");
        refused(
            &[],
            &[("ALLOWED_ORIGINS", value)],
            &["--allowed-origins", odd, "https://chat.example"],
        )
        .await;
    }
    refused(
        &[],
        &[("ALLOWED_HOSTS", "https://chat.example")],
        &["--allowed-hosts", "chat.example"],
    )
    .await;
}

/// A list that is empty, or has gaps, is a list.
#[tokio::test(flavor = "multi_thread")]
async fn lists_may_have_gaps() {
    for (proxies, origins, hosts) in [
        ("", "", ""),
        (" ", " ", " "),
        ("10.0.0.1,", "https://chat.example,", "chat.example,"),
        (",10.0.0.0/8, ,::1", ", https://chat.example ,,", " ,localhost"),
    ] {
        let settings = [
            ("TRUSTED_PROXIES", proxies),
            ("ALLOWED_ORIGINS", origins),
            ("ALLOWED_HOSTS", hosts),
        ];
        let cluster = Cluster::start(binary(), Backend::Embedded, 1, &settings).await;
        cluster.replica(0).terminate().await;
        assert!(cluster.replica(0).wait().await.success(), "{settings:?}");
    }
}
