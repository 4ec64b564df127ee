//! GET /rooms/{room}/messages.

use serde_json::{Value, json};

use super::http::{Api, answer};
use crate::Site;

suite!(history, [], [ranges, long_texts, out_of_range, unknown_rooms]);

/// What an answer says in short: the seqs, the head, whether there is more.
fn short(data: &Value) -> (Vec<u64>, u64, bool) {
    let seqs = data["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .map(|message| message["seq"].as_u64().expect("seq"));
    (
        seqs.collect(),
        data["seq"].as_u64().expect("seq"),
        data["more"].as_bool().expect("more"),
    )
}

async fn ranges(site: Site) {
    let api = Api::of(site.replica());
    let account = site.replica().account("historian").await;
    let mut sent = Vec::new();
    for number in 1..=205 {
        sent.push(api.say(&account, "long", &number.to_string()).await);
    }
    for (query, first, last, more) in [
        ("", 156, 205, true),
        ("?limit=1", 205, 205, true),
        ("?limit=200", 6, 205, true),
        ("?before=10", 1, 9, false),
        ("?before=101", 51, 100, true),
        ("?before=101&limit=100", 1, 100, false),
        ("?before=101&limit=99", 2, 100, true),
        ("?before=1", 1, 0, false),
        ("?before=0", 1, 0, false),
        ("?before=206&limit=5", 201, 205, true),
        ("?before=9007199254740991&limit=5", 201, 205, true),
        ("?after=0", 1, 50, true),
        ("?after=0&limit=200", 1, 200, true),
        ("?after=5&limit=200", 6, 205, false),
        ("?after=200", 201, 205, false),
        ("?after=204&limit=1", 205, 205, false),
        ("?after=203&limit=1", 204, 204, true),
        ("?after=205", 1, 0, false),
        ("?after=100000", 1, 0, false),
        ("?after=9007199254740991", 1, 0, false),
        ("?after=10&before=14", 11, 13, false),
        ("?after=10&before=14&limit=2", 11, 12, true),
        ("?after=10&before=11", 1, 0, false),
        ("?after=14&before=10", 1, 0, false),
        ("?limit=2&unknown=x", 204, 205, true),
    ] {
        let data = api.get(&format!("/rooms/long/messages{query}")).await.ok(200);
        assert_eq!(short(&data), ((first..=last).collect(), 205, more), "{query}");
        let expected: Vec<_> = (first..=last).map(|seq| sent[seq as usize - 1].clone()).collect();
        assert_eq!(
            data,
            json!({"messages": expected, "seq": 205, "more": more}),
            "{query}: whole, as published"
        );
    }
    // A stale token on a route that needs none is ignored.
    let stale = api
        .request("GET", "/rooms/long/messages?limit=1")
        .bearer_auth("stale");
    answer(stale).await.ok(200);
    let odd = api
        .request("GET", "/rooms/long/messages?limit=1")
        .header("Authorization", "Basic Zm9vOmJhcg==");
    answer(odd).await.ok(200);
}

/// A page ends where it would be too large, in either direction, and says that there is more.
async fn long_texts(site: Site) {
    const COUNT: u64 = 60;
    let api = Api::of(site.replica());
    let account = site.replica().account("verbose").await;
    // Each byte is six in JSON, 24 KiB a message.
    let text = "\u{1}".repeat(4096);
    for _ in 0..COUNT {
        api.say(&account, "wide", &text).await;
    }
    for from in ["after=0", "before=9007199254740991", ""] {
        let data = api
            .get(&format!("/rooms/wide/messages?limit=200&{from}"))
            .await
            .ok(200);
        assert!(data.to_string().len() < 1_200_000, "{from}");
        let (seqs, head, more) = short(&data);
        assert!(
            (40..COUNT as usize).contains(&seqs.len()) && more,
            "{from}: {seqs:?}"
        );
        assert_eq!(head, COUNT);
        let (first, last) = (seqs[0], seqs[seqs.len() - 1]);
        assert_eq!(
            if from == "after=0" {
                first
            } else {
                COUNT + 1 - last
            },
            1,
            "{from}"
        );
        let rest = match from {
            "after=0" => format!("after={last}"),
            _ => format!("before={first}"),
        };
        let data = api
            .get(&format!("/rooms/wide/messages?limit=200&{rest}"))
            .await
            .ok(200);
        let (others, _, more) = short(&data);
        assert_eq!(
            (others.len() + seqs.len(), more),
            (COUNT as usize, false),
            "{from}"
        );
    }
}

async fn out_of_range(site: Site) {
    let api = Api::of(site.replica());
    for query in [
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=1.5",
        "limit=1e1",
        "limit=99999999999999999999",
        "after=-1",
        "after=x",
        "after=",
        "after=1.0",
        "after=99999999999999999999999",
        "before=-1",
        "before=x",
        "before=",
        "before=99999999999999999999999",
        "after=%00",
        "limit=10%20",
    ] {
        let answer = api.get(&format!("/rooms/ranges/messages?{query}")).await;
        answer.refused(400, "BAD_BINDING", query);
    }
}

async fn unknown_rooms(site: Site) {
    let api = Api::of(site.replica());
    for query in ["", "?after=5", "?before=5", "?after=1&before=5&limit=200"] {
        let data = api
            .get(&format!("/rooms/nobody-was-here/messages{query}"))
            .await
            .ok(200);
        assert_eq!(data, json!({"messages": [], "seq": 0, "more": false}), "{query}");
    }
}
