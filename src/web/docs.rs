//! API.md as a page, and the OpenAPI document to click through; each leads to the other.

use std::collections::HashMap;
use std::fmt::Write;

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use super::asset::Asset;
use super::page::digest;

const CONTRACT: &str = include_str!("../../API.md");
const STYLE: &str = include_str!("docs.css");
/// Swagger UI carries its script and style inside.
const CLICKABLE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
     connect-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'";
/// What leads back, and what Swagger UI's page lacks: without it a telephone shows it as wide as a desk's screen.
const BACK: &str = "<meta name=\"viewport\" content=\"width=device-width\">\
     <p style=\"font: 16px system-ui; margin: 1em 20px\"><a href=\"../docs\">The chat API in words</a></p>";

/// API.md, rendered.
pub fn contract() -> Asset {
    let (body, contents) = rendered(CONTRACT);
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>The chat API</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<nav aria-label=\"Contents\">\n<ul>\n{contents}</ul>\n\
         <p>For machines: <a href=\"openapi.json\">openapi.json</a><br>To click through: <a href=\"docs/openapi\">OpenAPI</a></p>\n\
         </nav>\n<main>\n{body}</main>\n</body>\n</html>\n"
    );
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        digest(STYLE.as_bytes())
    );
    Asset::new(super::HTML, policy, page)
}

/// The OpenAPI document in Swagger UI, as poem-openapi makes the page.
pub fn clickable(page: String) -> Asset {
    // The script has a body in a string, too.
    let body = "</head>\n<body>\n";
    let page = page.replace(body, &format!("{body}{BACK}"));
    Asset::new(super::HTML, CLICKABLE_POLICY.to_owned(), page)
}

/// A page's HTML, and its sections as the items of a list.
fn rendered(markdown: &str) -> (String, String) {
    let mut events: Vec<Event> = Parser::new_ext(markdown, Options::ENABLE_TABLES).collect();
    let (mut contents, mut anchors) = (String::new(), Anchors::default());
    for at in 0..events.len() {
        let Some(Event::Start(Tag::Heading { level, .. })) = events.get(at) else {
            continue;
        };
        let (level, text) = (*level, heading(&events[at..]));
        let anchor = anchors.of(&text);
        if matches!(level, HeadingLevel::H2 | HeadingLevel::H3) {
            let (class, mut shown) = (
                if level == HeadingLevel::H2 {
                    "part"
                } else {
                    "section"
                },
                String::new(),
            );
            html::push_html(&mut shown, std::iter::once(Event::Text(text.into())));
            // Writing to a String does not fail.
            let _ = writeln!(
                contents,
                "<li class=\"{class}\"><a href=\"#{anchor}\">{shown}</a></li>"
            );
        }
        if let Some(Event::Start(Tag::Heading { id, .. })) = events.get_mut(at) {
            *id = Some(anchor.into());
        }
    }
    let mut body = String::new();
    html::push_html(&mut body, events.into_iter().map(scrollable));
    (body, contents)
}

/// What a heading says, which begins `events`.
fn heading(events: &[Event]) -> String {
    let inside = events
        .iter()
        .take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
    inside
        .filter_map(|event| match event {
            Event::Text(text) | Event::Code(text) => Some(text.as_ref()),
            _ => None,
        })
        .collect()
}

/// What may be wider than a telephone scrolls by itself, with a keyboard too.
fn scrollable(event: Event) -> Event {
    let tag = |html: &'static str| Event::Html(CowStr::Borrowed(html));
    match event {
        Event::Start(Tag::CodeBlock(_)) => tag("<pre tabindex=\"0\"><code>"),
        Event::End(TagEnd::CodeBlock) => tag("</code></pre>\n"),
        Event::Start(Tag::Table(_)) => tag("<div class=\"table\" tabindex=\"0\"><table>"),
        Event::End(TagEnd::Table) => tag("</tbody></table></div>\n"),
        other => other,
    }
}

/// The anchors that GitHub gives headings, by which the page's own links go.
#[derive(Default)]
struct Anchors(HashMap<String, usize>);

impl Anchors {
    fn of(&mut self, heading: &str) -> String {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let anchor: String = heading
            .to_lowercase()
            .chars()
            .filter(kept)
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let before = self.0.entry(anchor.clone()).or_insert(0);
        *before += 1;
        match *before {
            1 => anchor,
            n => format!("{anchor}-{}", n - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_those_of_github() {
        let mut anchors = Anchors::default();
        for (heading, anchor) in [
            ("Rooms over HTTP", "rooms-over-http"),
            (
                "POST /api/v1/rooms/{room}/messages: send one message",
                "post-apiv1roomsroommessages-send-one-message",
            ),
            ("Is anybody there?", "is-anybody-there"),
            ("A_b - c", "a_b---c"),
            ("Über uns", "über-uns"),
            ("Is anybody there?", "is-anybody-there-1"),
        ] {
            assert_eq!(anchors.of(heading), anchor);
        }
    }

    #[test]
    fn what_is_code_stays_code() {
        let code = "```js\nif (a < b && c) {}\n```";
        let table = "| x | |\n| --- | --- |\n| `<i>` | 1 |";
        let (body, contents) = rendered(&format!("## `a` & b\n\n{code}\n\n{table}\n"));
        for html in [
            "<h2 id=\"a--b\"><code>a</code> &amp; b</h2>",
            "<pre tabindex=\"0\"><code>if (a &lt; b &amp;&amp; c) {}\n</code></pre>",
            "<div class=\"table\" tabindex=\"0\"><table>",
            "<td><code>&lt;i&gt;</code></td><td>1</td></tr>\n</tbody></table></div>",
        ] {
            assert!(body.contains(html), "{html} in {body}");
        }
        assert!(contents.contains("<a href=\"#a--b\">a &amp; b</a>"), "{contents}");
    }
}
