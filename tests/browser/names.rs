//! Rooms whose names could pass for others': one sees which it is.

use serde_json::json;
use testkit::Backend;

use crate::window::Browser;
use crate::{closed, replicas};

#[tokio::test]
async fn a_room_that_looks_like_another_is_told_apart() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let window = browser.window().await;
    window.visit(&cluster.replica(0).base_url()).await;
    window.click("#just-read").await;
    window.connected().await;
    for (room, marks) in [
        ("lobby", json!([])),
        ("lobby\u{200b}", json!(["U+200B"])),
        ("lob\u{ad}by\u{202e}", json!(["U+00AD", "U+202E"])),
        ("lobby\u{a0}", json!(["U+00A0"])),
        ("lоbby", json!(["Latin + Cyrillic"])),
        ("сосо", json!(["Cyrillic"])),
        ("ｌｏｂｂｙ", json!(["unusual letters"])),
        ("👩‍👩‍👧‍👦 ❤️ 🇫🇷 🏴󠁧󠁢󠁥󠁮󠁧󠁿 5️⃣", json!([])),
        ("Привет, Welt", json!([])),
        ("茶と cake", json!([])),
    ] {
        window
            .js(&format!(
                "location.hash = '#' + encodeURIComponent({}); return true",
                json!(room)
            ))
            .await;
        let plain = "[...document.getElementById('room-name').childNodes].filter((n) => n.nodeType === 3).map((n) => n.data).join('')";
        let visible: String = room
            .chars()
            .filter(|c| !"\u{200b}\u{ad}\u{202e}\u{a0}".contains(*c))
            .collect();
        window
            .until(
                &format!("{room:?} is shown"),
                &format!("return {plain} === {}", json!(visible)),
            )
            .await;
        for list in ["#room-name", "#room-list [aria-current]"] {
            let script = format!(
                "return [...document.querySelectorAll('{list} .code, {list} .script')].map((mark) => mark.textContent)"
            );
            assert_eq!(window.js(&script).await, marks, "{room:?} in {list}");
        }
    }
    closed(vec![window]).await;
    browser.end().await;
}
