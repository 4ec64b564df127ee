//! Frames that no WebSocket library sends, and some that few do.

use serde_json::json;

use super::raw::{BINARY, CLOSE, PING, PONG, Raw, TEXT, announce, frame, unmasked};
use crate::{Random, Site};

suite!(
    frames,
    [],
    [
        fragmented,
        pings,
        against_the_rules,
        not_utf8,
        over_the_limit,
        bad_closes,
        slowly,
        after_the_close,
        others_are_undisturbed,
        noise
    ]
);

/// A fragment's first byte: without FIN, and a continuation with or without.
const TEXT_MORE: u8 = 0x01;
const MORE: u8 = 0x00;
const LAST: u8 = 0x80;

async fn fragmented(site: Site) {
    let account = site.replica().account("fragments").await;
    let (mut raw, _) = Raw::join(site.replica(), "fragments", Some(&account.token), "").await;
    let text = "🦀".repeat(100);
    let command = json!({"text": text}).to_string();
    let bytes = command.as_bytes();
    // Cut at every place of the first characters, also within one.
    for cut in [0, 1, 9, 10, 11, 12, 13, 14, 15, bytes.len()] {
        raw.send(TEXT_MORE, &bytes[..cut]).await;
        raw.send(PING, b"between").await;
        let pong = raw.frame().await.expect("a pong");
        assert_eq!(
            pong,
            (PONG, b"between".to_vec()),
            "a ping between fragments is answered"
        );
        raw.send(LAST, &bytes[cut..]).await;
        assert_eq!(raw.event().await["text"], text.as_str(), "cut at {cut}");
    }
    // A byte each, and empty ones.
    raw.send(TEXT_MORE, b"").await;
    for byte in bytes {
        raw.send(MORE, &[*byte]).await;
    }
    raw.send(MORE, b"").await;
    raw.send(LAST, b"").await;
    assert_eq!(raw.event().await["text"], text.as_str());
    // A binary one is one malformed command, however many fragments it has.
    raw.send(0x02, b"{").await;
    raw.send(LAST, b"}").await;
    assert_eq!(raw.event().await["error"]["type"], "BAD_BINDING");
}

async fn pings(site: Site) {
    let (mut raw, _) = Raw::join(site.replica(), "pings", None, "").await;
    for payload in [&b""[..], b"ping", &[0xff; 125]] {
        raw.send(PING, payload).await;
        assert_eq!(raw.frame().await, Some((PONG, payload.to_vec())));
    }
    raw.send(PONG, b"that nobody asked for").await;
    raw.alive().await;
}

async fn against_the_rules(site: Site) {
    let account = site.replica().account("rules").await;
    let text = br#"{"text": "never stored"}"#;
    for (about, bytes) in [
        ("unmasked", unmasked(TEXT, text)),
        ("an unmasked ping", unmasked(PING, b"")),
        ("compressed without negotiation", frame(0xc1, text)),
        ("RSV2", frame(0xa1, text)),
        ("RSV3", frame(0x91, text)),
        ("a ping with RSV1", frame(0xc9, b"")),
        ("opcode 3", frame(0x83, text)),
        ("opcode 7", frame(0x87, b"")),
        ("opcode 11", frame(0x8b, b"")),
        ("opcode 15", frame(0x8f, b"")),
        ("a fragmented ping", frame(0x09, b"")),
        ("a fragmented close", frame(0x08, &[0x03, 0xe8])),
        ("a ping of 126 bytes", frame(PING, &[0; 126])),
        ("a close of 126 bytes", frame(CLOSE, &[0x03; 126])),
        ("a continuation of nothing", frame(LAST, text)),
        ("a fragment of nothing", frame(MORE, text)),
        (
            "text within a message",
            [frame(TEXT_MORE, b"{"), frame(TEXT, text)].concat(),
        ),
        (
            "binary within a message",
            [frame(TEXT_MORE, b"{"), frame(BINARY, text)].concat(),
        ),
    ] {
        for token in [Some(account.token.as_str()), None] {
            let (mut raw, _) = Raw::join(site.replica(), "rules", token, "").await;
            raw.write(&bytes).await;
            let code = raw.closed().await;
            // An anonymous session's first fragment may already have ended it.
            assert!(code == 1002 || token.is_none() && code == 4403, "{about}: {code}");
            raw.ended().await;
        }
    }
    let (_raw, joined) = Raw::join(site.replica(), "rules", None, "").await;
    assert_eq!(joined["seq"], 0, "nothing of it was stored");
}

async fn not_utf8(site: Site) {
    let account = site.replica().account("utf8").await;
    for bytes in [
        &b"{\"text\": \"\xff\"}"[..],
        b"\xc3\x28",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xc0\xaf",
        b"\xe2\x82",
    ] {
        let (mut raw, _) = Raw::join(site.replica(), "utf8", Some(&account.token), "").await;
        raw.send(TEXT, bytes).await;
        assert_eq!(raw.closed().await, 1007, "{bytes:?}");
        let (mut raw, _) = Raw::join(site.replica(), "utf8", Some(&account.token), "").await;
        raw.send(TEXT_MORE, &bytes[..1]).await;
        raw.send(LAST, &bytes[1..]).await;
        assert_eq!(raw.closed().await, 1007, "{bytes:?} in fragments");
    }
}

async fn over_the_limit(site: Site) {
    let account = site.replica().account("over").await;
    let megabyte = 1024 * 1024;
    // Refused by what the header says: nothing of the payload has been sent.
    for len in [10 * megabyte, usize::MAX / 2] {
        let (mut raw, _) = Raw::join(site.replica(), "over", Some(&account.token), "").await;
        raw.write(&announce(TEXT, len)).await;
        assert_eq!(raw.closed().await, 1009, "{len} bytes announced");
    }
    let (mut raw, _) = Raw::join(site.replica(), "over", Some(&account.token), "").await;
    let _ = raw.try_write(&frame(TEXT, &vec![b' '; megabyte])).await;
    assert_eq!(raw.closed().await, 1009, "one frame");
    // Just within: a text of the largest size may be written with six bytes for each of its own.
    let (mut raw, _) = Raw::join(site.replica(), "over", Some(&account.token), "").await;
    let start = r#"{"text": "just within"}"#;
    for (len, within) in [(25_600, true), (25_601, false)] {
        raw.send(
            TEXT,
            format!("{start}{}", " ".repeat(len - start.len())).as_bytes(),
        )
        .await;
        if within {
            assert_eq!(raw.event().await["text"], "just within");
        } else {
            assert_eq!(raw.closed().await, 1009, "a byte over");
        }
    }
    let (mut raw, _) = Raw::join(site.replica(), "over", Some(&account.token), "").await;
    let mut bytes = frame(TEXT_MORE, b"{\"text\": \"");
    for _ in 0..1024 {
        bytes.extend(frame(MORE, &[b'x'; 1024]));
    }
    let _ = raw.try_write(&bytes).await;
    assert_eq!(raw.closed().await, 1009, "many fragments");
}

async fn bad_closes(site: Site) {
    let close = |code: u16, reason: &[u8]| [&code.to_be_bytes()[..], reason].concat();
    for payload in [
        vec![0x03],
        close(0, b""),
        close(999, b""),
        close(1004, b""),
        close(1005, b""),
        close(1006, b""),
        close(1015, b""),
        close(1016, b""),
        close(2999, b""),
        close(5000, b""),
        close(65535, b""),
    ] {
        let (mut raw, _) = Raw::join(site.replica(), "closes", None, "").await;
        raw.send(CLOSE, &payload).await;
        assert_eq!(raw.closed().await, 1002, "{payload:?}");
        raw.ended().await;
    }
    let (mut raw, _) = Raw::join(site.replica(), "closes", None, "").await;
    raw.send(CLOSE, &close(1000, b"\xff\xfe")).await;
    let code = raw.closed().await;
    assert!(code == 1007 || code == 1002, "a reason that is not UTF-8: {code}");
}

async fn slowly(site: Site) {
    let account = site.replica().account("slow").await;
    let (mut raw, _) = Raw::join(site.replica(), "slowly", Some(&account.token), "").await;
    for byte in frame(TEXT, br#"{"text": "a byte at a time"}"#) {
        raw.write(&[byte]).await;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert_eq!(raw.event().await["text"], "a byte at a time");
}

async fn after_the_close(site: Site) {
    let account = site.replica().account("after").await;
    let (mut raw, _) = Raw::join(site.replica(), "after", Some(&account.token), "").await;
    let bytes = [
        frame(CLOSE, &[0x03, 0xe8]),
        frame(TEXT, br#"{"text": "after the close"}"#),
    ]
    .concat();
    raw.write(&bytes).await;
    assert_eq!(raw.closed().await, 1000);
    raw.ended().await;
    let (_raw, joined) = Raw::join(site.replica(), "after", None, "").await;
    assert_eq!(joined["seq"], 0, "what comes after a close is not read");
}

async fn others_are_undisturbed(site: Site) {
    let account = site.replica().account("calm").await;
    let (mut calm, _) = Raw::join(site.replica(), "calm", Some(&account.token), "").await;
    for n in 0..20_u64 {
        let (mut rude, _) = Raw::join(site.replica(), "calm", Some(&account.token), "").await;
        rude.write(&[0xff; 64]).await;
        calm.say(&json!({"text": n.to_string()})).await;
        let event = calm.event().await;
        assert_eq!(
            (&event["text"], &event["seq"]),
            (&json!(n.to_string()), &json!(n + 1))
        );
        assert_eq!(rude.closed().await, 1002);
    }
}

async fn noise(site: Site) {
    let account = site.replica().account("noise").await;
    let (mut calm, _) = Raw::join(site.replica(), "noise", Some(&account.token), "").await;
    let sound = frame(TEXT, br#"{"text": "sound", "nonce": "n"}"#);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..150 {
        let (mut raw, _) = Raw::join(site.replica(), "noise", Some(&account.token), "").await;
        let mut bytes = sound.repeat(3);
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = random.below(256) as u8;
        }
        bytes.truncate(1 + random.below(bytes.len()));
        // Whatever it is, it is answered, or waited for, or ends this session.
        raw.write(&bytes).await;
    }
    calm.alive().await;
    calm.say(&json!({"text": "still here", "nonce": "calm"})).await;
    calm.event_of("ack").await;
}
