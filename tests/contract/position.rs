//! Where a session begins: `last`, `after`, `id`.

use serde_json::{Value, json};
use testkit::Account;

use super::http::Api;
use super::raw::{Raw, handshake};
use crate::Site;

suite!(
    positions,
    [("RESUME_LIMIT", "20")],
    [begins, cannot_be_honoured, malformed, of_an_empty_room]
);

async fn room(site: &Site, room: &str, count: usize) -> (Account, Vec<Value>) {
    let api = Api::of(site.replica());
    let account = site.replica().account(room).await;
    let mut messages = Vec::new();
    for number in 1..=count {
        messages.push(api.say(&account, room, &number.to_string()).await);
    }
    (account, messages)
}

/// Joins, expects `joined.seq` and `recovered`, then just the messages that follow, then a new one.
async fn expect(
    site: &Site,
    account: &Account,
    sent: &mut Vec<Value>,
    query: &str,
    seq: usize,
    recovered: bool,
) {
    let name = sent[0]["room"].as_str().expect("a room").to_owned();
    let (mut raw, joined) = Raw::join(site.replica(), &name, Some(&account.token), query).await;
    assert_eq!(
        (&joined["seq"], &joined["recovered"]),
        (&json!(seq), &json!(recovered)),
        "{query}"
    );
    for message in &sent[seq..] {
        assert_eq!(raw.event().await, *message, "{query}");
    }
    let new = Api::of(site.replica())
        .say(account, &name, &format!("after {query}"))
        .await;
    assert_eq!(raw.event().await, new, "{query}: and then live");
    sent.push(new);
}

async fn begins(site: Site) {
    let (account, mut sent) = room(&site, "begins", 5).await;
    expect(&site, &account, &mut sent, "", 5, true).await; // 6 now
    expect(&site, &account, &mut sent, "last=0", 6, true).await; // 7
    expect(&site, &account, &mut sent, "last=1", 6, true).await; // 8
    expect(&site, &account, &mut sent, "last=8", 0, true).await; // 9
    expect(&site, &account, &mut sent, "last=200", 0, true).await; // 10
    expect(&site, &account, &mut sent, "after=0", 0, true).await; // 11
    expect(&site, &account, &mut sent, "after=10", 10, true).await; // 12
    expect(&site, &account, &mut sent, "after=12", 12, true).await; // 13
    let id = |seq: usize| sent[seq - 1]["id"].as_str().expect("an id").to_owned();
    let (tenth, last) = (id(10), id(13));
    expect(
        &site,
        &account,
        &mut sent,
        &format!("after=10&id={tenth}"),
        10,
        true,
    )
    .await; // 14
    expect(
        &site,
        &account,
        &mut sent,
        &format!("id={last}&after=13&unknown=1"),
        13,
        true,
    )
    .await; // 15
}

async fn cannot_be_honoured(site: Site) {
    let (account, mut sent) = room(&site, "cannot", 20).await;
    expect(&site, &account, &mut sent, "after=0", 0, true).await; // just the limit; 21 now
    expect(&site, &account, &mut sent, "after=0", 21, false).await; // one over it; 22
    expect(&site, &account, &mut sent, "after=1", 22, false).await; // 23
    expect(&site, &account, &mut sent, "after=3", 3, true).await; // 24
    expect(&site, &account, &mut sent, "after=25", 24, false).await; // ahead of the head; 25
    expect(&site, &account, &mut sent, "after=9007199254740991", 25, false).await; // 26
    let other = sent[19]["id"].as_str().expect("an id").to_owned();
    expect(
        &site,
        &account,
        &mut sent,
        &format!("after=19&id={other}"),
        26,
        false,
    )
    .await; // another message's id; 27
    let unknown = "019bb2c4-7a10-7cc3-98d1-4f1d2a3b5c01";
    expect(
        &site,
        &account,
        &mut sent,
        &format!("after=27&id={unknown}"),
        27,
        false,
    )
    .await;
}

async fn malformed(site: Site) {
    for query in [
        "last=-1",
        "last=201",
        "last=x",
        "last=",
        "last=1.5",
        "after=-1",
        "after=x",
        "after=",
        "after=99999999999999999999999",
        "after=1&last=1",
        "last=0&after=0",
        "id=019bb2c4-7a10-7cc3-98d1-4f1d2a3b5c01",
        "after=1&id=x",
        "after=1&id=",
        "after=1&id=019bb2c4",
        "last=1&id=019bb2c4-7a10-7cc3-98d1-4f1d2a3b5c01",
    ] {
        let (_, refusal) = Raw::ask(
            site.replica(),
            &handshake(site.replica(), "malformed", query, &[]),
        )
        .await;
        refusal
            .unwrap_or_else(|| panic!("{query} was upgraded"))
            .refused(400, "BAD_BINDING", query);
    }
}

async fn of_an_empty_room(site: Site) {
    for (query, recovered) in [
        ("", true),
        ("last=200", true),
        ("after=0", true),
        ("after=1", false),
    ] {
        let (_raw, joined) = Raw::join(site.replica(), "empty", None, query).await;
        assert_eq!(
            (&joined["seq"], &joined["recovered"]),
            (&json!(0), &json!(recovered)),
            "{query}"
        );
    }
}
