//! API.md's tables of errors and close codes beside what the server can send: `src/protocol/error.rs`, and where the
//! rest of the source uses it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use chat_gateway::protocol::{Close, ErrorType};
use strum::VariantArray;

/// The rows of the table that begins with this header, cell by cell.
fn table(page: &str, header: &str) -> Vec<Vec<String>> {
    let rows = page.lines().skip_while(|line| *line != header).skip(2);
    let rows: Vec<_> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|row| {
            let cells = row.trim_matches('|').split(" | ");
            cells
                .map(|cell| cell.trim_matches(['|', ' ']).to_owned())
                .collect()
        })
        .collect();
    assert!(!rows.is_empty(), "API.md has a table {header}");
    rows
}

/// The rows of a table by what stands in backticks, or alone, in their first cells: a row may be of several.
fn by_name(page: &str, header: &str) -> Vec<(String, Vec<String>)> {
    let rows = table(page, header).into_iter();
    rows.flat_map(|row| {
        let names: Vec<_> = row[0]
            .split(", ")
            .map(|name| name.trim_matches('`').to_owned())
            .collect();
        names.into_iter().map(move |name| (name, row.clone()))
    })
    .collect()
}

/// What each close code means and what to do, as API.md has it: `any other` is none of them.
pub fn closes(page: &str) -> Vec<(u16, String, String)> {
    let rows = by_name(page, "| code | means | what to do |").into_iter();
    rows.filter_map(|(name, row)| Some((name.parse().ok()?, row[1].clone(), row[2].clone())))
        .collect()
}

/// Every source file below `folder`, without its tests.
fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a file");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            found.push((path, code.to_owned()));
        }
    }
}

/// Whether a file outside the list itself names this variant, also as `Self` where something becomes one.
fn is_used(sources: &[(PathBuf, String)], list: &str, variant: &str) -> bool {
    let names = |code: &str, path: &str| {
        code.split(path)
            .skip(1)
            .any(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
    };
    sources.iter().any(|(path, code)| {
        let converts = code.contains(&format!(" for {list} {{"));
        !path.ends_with("protocol/error.rs")
            && (names(code, &format!("{list}::{variant}"))
                || converts && names(code, &format!("Self::{variant}")))
    })
}

fn source() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found
}

/// Each type of an error is in a table, with its status, and says that it is reserved exactly if nothing sends it.
pub fn of_errors(page: &str) {
    let over_http = by_name(page, "| type | status | means | what to do |");
    let in_sessions = by_name(page, "| error | what to do |");
    let source = source();
    let mut known = BTreeSet::new();
    for error in ErrorType::VARIANTS {
        let (name, used) = (error.name(), is_used(&source, "ErrorType", &format!("{error:?}")));
        known.insert(name.to_owned());
        let rows: Vec<_> = over_http
            .iter()
            .chain(&in_sessions)
            .filter(|(row, _)| row == name)
            .map(|(_, row)| row)
            .collect();
        assert!(!rows.is_empty(), "API.md has no row of {name}");
        for row in rows {
            assert_ne!(
                row.join(" ").to_lowercase().contains("reserved"),
                used,
                "{name}: {row:?}"
            );
        }
        if let Some((_, row)) = over_http.iter().find(|(row, _)| row == name) {
            assert_eq!(row[1], error.status().to_string(), "the status of {name}");
        }
    }
    for (name, _) in over_http.iter().chain(&in_sessions) {
        assert!(known.contains(name), "API.md has {name}, the server has not");
    }
}

/// Each close code is in the table, and each of the table is one that something sends (or, 1006, nobody can).
pub fn of_close_codes(page: &str) {
    let source = source();
    let mut sent: BTreeSet<u16> = [1006].into();
    for close in Close::VARIANTS {
        assert!(
            is_used(&source, "Close", &format!("{close:?}")),
            "nothing sends {close:?}"
        );
        sent.insert(close.code());
    }
    let told: BTreeSet<u16> = closes(page).into_iter().map(|(code, ..)| code).collect();
    assert_eq!(told, sent);
}

/// Where the table asks for a first wait, the page that the server ships waits as long.
pub fn of_waits(page: &str) {
    let session = include_str!("../../src/web/session.js");
    for (code, _, advice) in closes(page) {
        let Some((_, wait)) = advice.split_once("a first wait of ") else {
            continue;
        };
        let seconds = wait.split(' ').next().unwrap_or_default();
        let waits = format!("{code}: {seconds}_000");
        assert!(
            session.contains(&waits),
            "src/web/session.js does not have {waits}"
        );
    }
}
