//! The contract and the OpenAPI document as the server shows them.

use std::collections::BTreeSet;

use crate::Site;

const CONTRACT: &str = include_str!("../../API.md");

suite!(docs, [], [whole, linked, strict]);

async fn page(site: &Site, path: &str) -> (String, String) {
    let url = format!("{}{path}", site.replica().base_url());
    let answer = testkit::http().get(url).send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    let policy = &answer.headers()["content-security-policy"];
    let policy = policy.to_str().expect("text").to_owned();
    (answer.text().await.expect("text"), policy)
}

/// What stands between `before` and the next `after`, again and again.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    let rest = text.split(before).skip(1);
    rest.map(|rest| rest.split(after).next().unwrap_or_default())
        .collect()
}

/// As HTML has it between its tags.
fn escaped(text: &str) -> String {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    text.replace('"', "&quot;")
}

async fn whole(site: Site) {
    let (html, _) = page(&site, "/api/v1/docs").await;
    let html = html.replace('"', "&quot;");
    let (mut fenced, mut block, mut headings) = (false, String::new(), 0);
    for line in CONTRACT.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
            assert!(
                html.contains(&format!("<code>{}</code></pre>", escaped(&block))) || fenced,
                "{block}"
            );
            block.clear();
        } else if fenced {
            block.extend([line, "\n"]);
        } else if line.starts_with('#') {
            let (marks, text) = line.split_once(' ').expect("a heading");
            let (level, text) = (marks.len(), escaped(&text.replace('`', "")));
            assert!(html.contains(&format!("{text}</h{level}>")), "{line}");
            headings += 1;
        }
    }
    assert!(headings > 20, "{headings} headings");
    let rows = CONTRACT
        .lines()
        .filter(|line| line.trim_start().starts_with('|'))
        .count();
    let tables = between(&html, "<table>", "</table>");
    // A line of dashes is no row.
    assert_eq!(tables.concat().matches("<tr>").count() + tables.len(), rows);
}

async fn linked(site: Site) {
    let (html, _) = page(&site, "/api/v1/docs").await;
    let ids = between(&html, " id=\"", "\"");
    let known: BTreeSet<_> = ids.iter().collect();
    assert_eq!(known.len(), ids.len(), "no id is there twice: {ids:?}");
    let links = between(&html, "href=\"", "\"");
    let inside: Vec<_> = links.iter().filter_map(|link| link.strip_prefix('#')).collect();
    assert!(inside.len() > 40, "{links:?}");
    for anchor in inside {
        assert!(known.contains(&anchor), "#{anchor} leads nowhere");
    }
    let sections = CONTRACT.lines().filter(|line| line.starts_with("## ")).count();
    assert_eq!(between(&html, "<li class=\"part\">", "<").len(), sections);

    // Each leads to the other, wherever a proxy has put them.
    let outside: BTreeSet<_> = links.into_iter().filter(|link| !link.starts_with('#')).collect();
    assert_eq!(outside, ["docs/openapi", "openapi.json"].into());
    let (html, _) = page(&site, "/api/v1/docs/openapi").await;
    let body = html.split("</head>\n<body>").nth(1).expect("a body");
    let begins = body.split("<div id=\"ui\">").next().unwrap_or_default();
    assert!(begins.contains("<a href=\"../docs\">"), "{begins}");
    for path in ["/api/v1/docs/openapi", "/api/v1/openapi.json"] {
        page(&site, path).await;
    }
}

async fn strict(site: Site) {
    let (html, policy) = page(&site, "/api/v1/docs").await;
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(
        !policy.contains("unsafe") && !policy.contains("script-src"),
        "{policy}"
    );
    for forbidden in ["<script", "style=\"", "onclick", "javascript:"] {
        let outside_code: String = html
            .split("<code>")
            .map(|part| part.split("</code>").last().unwrap_or_default())
            .collect();
        assert!(!outside_code.contains(forbidden), "{forbidden}");
    }
}
