//! Which module may know which: only those that stand below it. What stands at the bottom knows nothing of chat.

use std::fs;
use std::path::Path;

/// From the bottom to the top.
const ORDER: [&str; 27] = [
    "clock",
    "ids",
    "ws",
    "protocol",
    "telemetry",
    "metrics",
    "memory",
    "health",
    "drain",
    "busiest",
    "tools",
    "limits",
    "auth",
    "store",
    "room",
    "relay",
    "journal",
    "publish",
    "replica",
    "session",
    "web",
    "http",
    "config",
    "data_dir",
    "app",
    "layers",
    "lib",
];

/// The module of a file of `src`, and the crate's modules that its code names, comments and tests aside.
fn imports(path: &str, text: &str) -> (String, Vec<String>) {
    let module = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: Vec<&str> = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    let code = code.join("\n");
    let mut named = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let list = match rest.strip_prefix('{') {
            // `crate::{limits, memory}`: names alone, so that this stays a line.
            Some(list) => list.split('}').next().unwrap_or_default().split(',').collect(),
            None => vec![rest],
        };
        let word = |text: &str| {
            text.trim()
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect::<String>()
        };
        named.extend(list.into_iter().map(word).filter(|name| !name.is_empty()));
    }
    named.retain(|name| name != module);
    (module.to_owned(), named)
}

fn level(module: &str) -> usize {
    let found = ORDER.iter().position(|name| *name == module);
    found.unwrap_or_else(|| panic!("{module} has no place in ORDER: which modules may it know?"))
}

fn files(folder: &Path, into: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn no_module_imports_upwards() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    let mut upwards = Vec::new();
    for path in paths {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        if name == "main.rs" {
            continue;
        }
        let (module, named) = imports(&name, &fs::read_to_string(&path).unwrap());
        let up = named.into_iter().filter(|other| level(other) >= level(&module));
        upwards.extend(up.map(|other| format!("src/{name} knows {other}")));
    }
    assert!(upwards.is_empty(), "{upwards:#?}");
}

#[test]
fn what_is_imported_is_seen() {
    let text = "use crate::ids::Seq; // crate::no\nuse crate::{limits, memory};\nlet x = crate::store::now();\n\
                #[cfg(test)]\nmod tests {\n use crate::app::X; }";
    let (module, named) = imports("room/log.rs", text);
    assert_eq!(
        (module.as_str(), named.join(" ")),
        ("room", "ids limits memory store".to_owned())
    );
}
