//! What a page of the project tells people to type, so that tests do just that.

use std::{fs, path::Path, time::Duration};

use crate::{
    postgres::program,
    process::{bound_to_us, run},
};

/// The lines of the fenced block of a page that has this name: "```sql name" begins it.
pub fn block(page: &str, name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(page);
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{page}: {e}"));
    let mut found = text.split("```").skip(1).step_by(2).filter_map(|block| {
        let (head, lines) = block.split_once('\n')?;
        (head.split(' ').nth(1) == Some(name)).then(|| unindented(lines))
    });
    let block = found
        .next()
        .unwrap_or_else(|| panic!("{page} has no block named {name}"));
    assert!(found.next().is_none(), "{page} has two blocks named {name}");
    block
}

/// A block of a list stands as far in as the list's text.
fn unindented(lines: &str) -> String {
    let indent = lines.len() - lines.trim_start_matches(' ').len();
    let line = |line: &str| line.get(indent..).unwrap_or_default().to_owned() + "\n";
    lines.trim_end().lines().map(line).collect()
}

/// Runs lines of a page by sh, up to the first that fails, in a folder, with the folder of `bin` first on the path.
pub async fn shell(script: &str, folder: &Path, bin: &Path, environment: &[(&str, &str)]) -> String {
    let mut command = bound_to_us(Path::new("sh"), "KILL");
    let mut path = Vec::from([bin.parent().expect("a folder").to_owned()]);
    path.extend(program("pg_dump").parent().map(Path::to_owned));
    path.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    command
        .args(["-euc", script])
        .current_dir(folder)
        .env("PATH", std::env::join_paths(path).expect("a path"))
        .envs(environment.iter().copied());
    let done = run(script.into(), command);
    tokio::time::timeout(Duration::from_secs(60), done)
        .await
        .expect("within a minute")
}
