//! What a page of the project tells people to type, so that tests do just that.

use std::{fs, path::Path};

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
