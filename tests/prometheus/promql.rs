//! Reads PromQL as far as the test must: what a query selects, and the parts of which it is made.

/// A word, a number, a string, an operator or bracket, or a whole `{…}` or `[…]`, as they follow in the query.
fn tokens(query: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = query.trim_start();
    while !rest.is_empty() {
        let (token, after) = rest.split_at(length(rest));
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

/// Of the token that text begins with.
fn length(text: &str) -> usize {
    let first = text.chars().next().expect("there is text");
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':' || c == '.';
    match first {
        '"' | '\'' | '`' => until(text, first),
        '{' => until(text, '}'),
        '[' => until(text, ']'),
        _ if word(first) => text.find(|c| !word(c)).unwrap_or(text.len()),
        _ if ["==", "!=", ">=", "<="].iter().any(|two| text.starts_with(two)) => 2,
        _ => first.len_utf8(),
    }
}

/// The bytes up to and with what closes the first character; not where that is inside a string.
fn until(text: &str, close: char) -> usize {
    let mut inside = text.chars().next().filter(|&first| first == close);
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match (inside, c) {
            _ if escaped => escaped = false,
            (Some('"' | '\''), '\\') => escaped = true,
            (Some(quote), _) if c == quote && quote == close => return at + c.len_utf8(),
            (Some(quote), _) if c == quote => inside = None,
            (None, '"' | '\'' | '`') => inside = Some(c),
            (None, _) if c == close => return at + c.len_utf8(),
            _ => {}
        }
    }
    panic!("{text} does not end");
}

/// After the bracket that the tokens begin with, if they begin with one.
fn after_bracket<'a, 'b>(tokens: &'b [&'a str]) -> &'b [&'a str] {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &tokens[at + usize::from(at > 0)..];
        }
    }
    panic!("{tokens:?} does not close");
}

const WITH_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const WORDS: [&str; 8] = ["and", "or", "unless", "atan2", "bool", "offset", "inf", "nan"];
const SETS: [&str; 3] = ["and", "or", "unless"];
const COMPARISONS: [&str; 6] = ["==", "!=", ">", "<", ">=", "<="];

/// Every `name{label="value"}` that the query reads.
pub fn selectors(query: &str) -> Vec<String> {
    let tokens = tokens(query);
    let mut rest = &tokens[..];
    let mut selectors = Vec::new();
    while let [token, after @ ..] = rest {
        rest = after;
        let word = token.to_ascii_lowercase();
        if WITH_LABELS.contains(&&*word) {
            rest = after_bracket(after);
            continue;
        }
        let next = after.first().copied().unwrap_or_default();
        let names = token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':')
            && !WORDS.contains(&&*word)
            // A function, or an aggregation.
            && !["(", "by", "without"].contains(&next);
        match (names, token.starts_with('{'), next.starts_with('{')) {
            (true, _, true) => {
                selectors.push(format!("{token}{next}"));
                rest = &after[1..];
            }
            (true, _, false) | (false, true, _) => selectors.push((*token).to_owned()),
            _ => {}
        }
    }
    selectors
}

/// What it compares and combines, each so that it is empty only where there is nothing to compare.
pub fn parts(query: &str) -> Vec<String> {
    let tokens = tokens(query);
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let (mut depth, mut rest) = (0, &tokens[..]);
    while let [token, after @ ..] = rest {
        rest = after;
        match *token {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if depth > 0 || !SETS.contains(&&*token.to_ascii_lowercase()) {
            part.push(*token);
            continue;
        }
        parts.push(std::mem::take(&mut part));
        while let [word, after @ ..] = rest
            && WITH_LABELS.contains(word)
        {
            rest = after_bracket(after);
        }
    }
    parts.push(part);
    let mut found = Vec::new();
    for part in parts {
        // One that is all in brackets may be made of others.
        match part.as_slice() {
            ["(", inner @ .., ")"] if after_bracket(&part).is_empty() => {
                found.extend(self::parts(&inner.join(" ")));
            }
            ["absent" | "absent_over_time", ..] => {}
            _ => found.push(without_filters(&part)),
        }
    }
    found
}

fn without_filters(tokens: &[&str]) -> String {
    let mut query = tokens.join(" ");
    for comparison in COMPARISONS {
        query = query.replace(&format!(" {comparison} "), &format!(" {comparison} bool "));
    }
    query.replace(" bool bool ", " bool ")
}

/// The query without its `offset`s; as it is where it has none.
pub fn now(query: &str) -> String {
    let tokens = tokens(query);
    if !tokens.contains(&"offset") {
        return query.to_owned();
    }
    let mut rest = &tokens[..];
    let mut kept = Vec::new();
    while let [token, after @ ..] = rest {
        rest = after;
        if *token == "offset" {
            rest = &after[1 + usize::from(after.first() == Some(&"-"))..];
        } else {
            kept.push(*token);
        }
    }
    kept.join(" ")
}

#[test]
fn selectors_are_told_from_functions_labels_and_words() {
    let query = r#"sum by (job, le) (rate(a_total{job=~"x|\"}y",le!="1"}[5m] offset 1h)) / on (job) group_left (le)
        count(b) > bool 0.5 or {__name__="c"} unless ignoring (d) chat:e:sum == 1e3 and absent(up) or vector(0)"#;
    let found = [
        r#"a_total{job=~"x|\"}y",le!="1"}"#,
        "b",
        r#"{__name__="c"}"#,
        "chat:e:sum",
        "up",
    ];
    assert_eq!(selectors(query), found);
}

#[test]
fn an_alert_is_taken_apart() {
    let query = "a == 0 unless on (job) (sum by (job) (b offset 5m) >= bool 1 or c) or absent(up == 1) and (d) > (e or f)";
    let found = [
        "a == bool 0",
        "sum by ( job ) ( b offset 5m ) >= bool 1",
        "c",
        "( d ) > bool ( e or f )",
    ];
    assert_eq!(parts(query), found);
    assert_eq!(now(found[1]), "sum by ( job ) ( b ) >= bool 1");
}
