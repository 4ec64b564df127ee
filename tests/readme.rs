//! The README's table of settings says what `--help` says.
#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Each setting with its default, empty where there is none.
type Settings = BTreeMap<String, String>;

/// From clap's `[env: NAME=] [default: value]`.
async fn settings_in_help() -> Settings {
    let mut help = testkit::command(env!("CARGO_BIN_EXE_chat-gateway"));
    help.arg("--help").env_clear();
    let help = testkit::ended("--help", Duration::from_secs(20), help).await;
    assert!(help.status.success());
    let text = String::from_utf8(help.stdout).expect("help is UTF-8");
    // It is wrapped at the width of a terminal, which may be inside the brackets.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.split("[env: ")
        .skip(1)
        .map(|chunk| {
            let name = chunk.split(['=', ']']).next().unwrap_or_default();
            let default = chunk
                .split_once("[default: ")
                // An address has brackets of its own.
                .and_then(|(_, rest)| rest.split("] ").next())
                .map(|default| default.trim_end_matches(']'));
            (name.to_owned(), default.unwrap_or_default().to_owned())
        })
        .collect()
}

/// From rows like "| `NAME` | default | what it is |".
fn settings_in_readme() -> Settings {
    include_str!("../README.md")
        .lines()
        .filter_map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
            let default = cells.next()?;
            let is_setting = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
            is_setting.then(|| (name.to_owned(), default.to_owned()))
        })
        .collect()
}

#[tokio::test]
async fn the_table_of_settings_is_what_help_lists() {
    let (help, readme) = (settings_in_help().await, settings_in_readme());
    assert!(
        help.len() > 20,
        "found {} settings in --help: has its format changed?",
        help.len()
    );
    assert_eq!(readme, help, "left: README.md, right: --help");
}

/// The pages for people who run it, as paths.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = [
        "README.md",
        "API.md",
        "CHANGELOG.md",
        "helm/chat-gateway/README.md",
    ]
    .map(|page| root.join(page))
    .to_vec();
    let deploy = fs::read_dir(root.join("deploy")).expect("deploy/");
    let files = deploy.flatten().map(|entry| entry.path());
    pages.extend(files.filter(|file| file.extension().is_some_and(|end| end == "md")));
    pages
}

/// A heading as a link names it: GitHub's rule.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn whatever_a_page_links_is_there() {
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains(' ') && !link.starts_with("http")) {
            let (file, part) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.with_file_name(file),
            };
            let shown = page.display();
            assert!(target.exists(), "{shown} links {link}, which is not there");
            if !part.is_empty() {
                let linked = fs::read_to_string(&target).expect("a page");
                let found = linked
                    .lines()
                    .any(|line| line.starts_with('#') && anchor(line) == part);
                assert!(found, "{shown} links {link}: no such heading");
            }
        }
    }
}

/// What a page tells people to type is what a test runs: where blocks have names, each has, and a test asks for it by that.
#[test]
fn each_block_of_the_pages_is_run_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests: String = ["cluster", "contract", "prometheus", "telemetry"]
        .iter()
        .flat_map(|folder| fs::read_dir(root.join("tests").join(folder)).expect("tests"))
        .flatten()
        .filter_map(|file| fs::read_to_string(file.path()).ok())
        .collect();
    // The examples of API.md have a runner of their own.
    for page in pages().iter().filter(|page| !page.ends_with("API.md")) {
        let text = fs::read_to_string(page).expect("a page");
        let heads = text
            .split("```")
            .skip(1)
            .step_by(2)
            .filter_map(|block| block.lines().next());
        let name = |head: &str| head.split(' ').nth(1).unwrap_or_default().to_owned();
        if heads.clone().all(|head| name(head).is_empty()) {
            continue;
        }
        for head in heads {
            let name = name(head);
            let asked = !name.is_empty() && tests.contains(&format!("\"{name}\""));
            assert!(asked, "{}: no test runs the block '{head}'", page.display());
        }
    }
}

#[test]
fn the_readme_tells_of_what_starts_it_all() {
    let readme = include_str!("../README.md");
    for command in ["tests/run", "deploy/three-replicas", "deploy/compose.yaml"] {
        assert!(readme.contains(command), "README.md does not tell of {command}");
    }
}

/// What `tests/version` says of the project's files, of which one reads otherwise.
async fn version(changed: Option<(&str, &str, &str)>, args: &[&str]) -> (bool, String) {
    let (from, to) = (
        Path::new(env!("CARGO_MANIFEST_DIR")),
        tempfile::tempdir().expect("a folder"),
    );
    for file in [
        "Cargo.toml",
        "CHANGELOG.md",
        "helm/chat-gateway/Chart.yaml",
        "tests/version",
    ] {
        let mut text = fs::read_to_string(from.join(file)).expect("a file");
        if let Some((_, old, new)) = changed.filter(|(name, ..)| *name == file) {
            assert!(text.contains(old), "{file} has no {old}");
            text = text.replacen(old, new, 1);
        }
        fs::create_dir_all(to.path().join(file).parent().expect("a folder")).expect("made");
        fs::write(to.path().join(file), text).expect("written");
    }
    let mut bash = testkit::command("bash");
    bash.arg(to.path().join("tests/version")).args(args);
    let output = testkit::ended("tests/version", Duration::from_secs(20), bash).await;
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).trim().to_owned(),
    )
}

#[tokio::test]
async fn program_chart_and_changelog_are_of_one_version() {
    let ours = env!("CARGO_PKG_VERSION");
    assert_eq!(version(None, &[]).await, (true, ours.to_owned()));
    let top = format!("## [{ours}]");
    for (file, old, new) in [
        (
            "Cargo.toml",
            format!("version = \"{ours}\""),
            "version = \"0.0.1\"",
        ),
        (
            "helm/chat-gateway/Chart.yaml",
            format!("appVersion: \"{ours}\""),
            "appVersion: \"0.0.1\"",
        ),
        ("CHANGELOG.md", top.clone(), "## [0.0.1]"),
        ("CHANGELOG.md", format!("{top} - "), "## some day "),
    ] {
        let (agree, said) = version(Some((file, &old, new)), &[]).await;
        assert!(!agree, "{file}: {said}");
    }
    let heading = include_str!("../CHANGELOG.md")
        .lines()
        .find(|line| line.starts_with(&top))
        .expect("a heading");
    for (day, is_released) in [("Unreleased", false), ("2026-12-01", true)] {
        let dated = format!("{top} - {day}");
        let changed = Some(("CHANGELOG.md", heading, dated.as_str()));
        assert_eq!(version(changed, &["--released"]).await.0, is_released, "{day}");
        assert!(version(changed, &[]).await.0, "{day}");
    }
}
