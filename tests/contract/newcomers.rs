//! Who has just signed up is let in.

use testkit::{Backend, Cluster};

use super::http::Api;
use crate::Site;

suite!(
    login_after_sign_up,
    [("LIMIT_LOGINS_PER_MINUTE", "2")],
    [a_sign_up_brings_its_login]
);

/// Tries to log in until the address may not.
async fn use_up_logins(api: &Api) {
    for n in 0.. {
        assert!(n < 20, "2 a minute");
        if api.login("nobody", "x").await.status == 429 {
            return;
        }
    }
}

/// Who was let in by the one limit is not kept out by the other: "busy" first, and then "taken".
async fn a_sign_up_brings_its_login(site: Site) {
    let api = Api::of(site.replica());
    use_up_logins(&api).await;
    api.sign_up("New Comer", "a secret").await.ok(201);
    api.login("somebody else", "x")
        .await
        .refused(429, "RATE_LIMITED", "it is for nobody else");
    // Of the same name, however it is typed.
    api.login("new  comer", "a secret").await.ok(200);
    api.login("New Comer", "a secret")
        .await
        .refused(429, "RATE_LIMITED", "and once");
    api.sign_up("New Comer", "a secret")
        .await
        .refused(400, "USER_EXISTS", "there is one");
    api.login("New Comer", "a secret").await.refused(
        429,
        "RATE_LIMITED",
        "a sign-up that is refused brings nothing",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_brings_its_login_on_another_replica() {
    let settings = [("LIMIT_LOGINS_PER_MINUTE", "2")];
    let cluster = Cluster::start(crate::binary(), Backend::Clustered, 2, &settings).await;
    let (here, there) = (Api::of(cluster.replica(0)), Api::of(cluster.replica(1)));
    use_up_logins(&here).await;
    use_up_logins(&there).await;
    here.sign_up("new", "a secret").await.ok(201);
    there.login("new", "a secret").await.ok(200);
    there
        .login("new", "a secret")
        .await
        .refused(429, "RATE_LIMITED", "once");
}
