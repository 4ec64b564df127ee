//! The chat page as one document: its style and its scripts, which are files of their own for who reads them, stand in
//! it, so that one answer is all of the page. Made at start; no build step.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::asset::Asset;

/// In the order of what they need: each imports only from those before it.
const MODULES: &[(&str, &str)] = &[
    ("names", include_str!("names.js")),
    ("api", include_str!("api.js")),
    ("storage", include_str!("storage.js")),
    ("account", include_str!("account.js")),
    ("log", include_str!("log.js")),
    ("pages", include_str!("pages.js")),
    ("spoken", include_str!("spoken.js")),
    ("outbox", include_str!("outbox.js")),
    ("sender", include_str!("sender.js")),
    ("composer", include_str!("composer.js")),
    ("rooms", include_str!("rooms.js")),
    ("session", include_str!("session.js")),
    ("app", include_str!("app.js")),
];
const STYLE: &str = include_str!("app.css");
/// Says what is wrong where the modules do not run.
const GUARD: &str = include_str!("guard.js");

/// The page of a replica whose messages may have so many bytes.
pub fn page(message_max_bytes: usize) -> Asset {
    let script = joined(MODULES);
    let html = include_str!("index.html")
        .replace(
            "<link rel=\"stylesheet\" href=\"app.css\">",
            &format!("<style>{STYLE}</style>"),
        )
        .replace(
            "<script src=\"guard.js\"></script>",
            &format!("<script>{GUARD}</script>"),
        )
        .replace(
            "<script src=\"app.js\" type=\"module\"></script>",
            &format!("<script>{script}</script>"),
        )
        .replace(
            "data-max-bytes=\"\"",
            &format!("data-max-bytes=\"{message_max_bytes}\""),
        );
    let hash = |text: &str| format!("'sha256-{}'", digest(text.as_bytes()));
    // Nothing from elsewhere, and inline only what is known here.
    let policy = format!(
        "default-src 'none'; script-src {} {}; style-src {}; connect-src 'self' ws: wss:; img-src data:; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        hash(GUARD),
        hash(&script),
        hash(STYLE),
    );
    Asset::new(super::HTML, policy, html)
}

/// The modules as one script. Each is a function, and so has a scope of its own; what it exports, those after it take.
fn joined(modules: &[(&str, &str)]) -> String {
    let mut script = "\"use strict\";\n".to_owned();
    for (name, text) in modules {
        let mut exports = Vec::new();
        let mut body = String::new();
        for line in text.lines() {
            let line = match line.strip_prefix("export ") {
                Some(declaration) => {
                    exports.extend(declared(declaration));
                    declaration.to_owned()
                }
                None => imported(line).unwrap_or_else(|| line.to_owned()),
            };
            body.push_str(&line);
            body.push('\n');
        }
        // Writing to a String does not fail.
        let _ = write!(
            script,
            "const {name}_js = (() => {{\n{body}return {{ {} }};\n}})();\n",
            exports.join(", ")
        );
    }
    script
}

/// The name that `function f(…`, `class C {` or `const c = …` declares.
fn declared(declaration: &str) -> Option<&str> {
    let mut words = declaration.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
    words.find(|word| !["", "async", "function", "class", "const"].contains(word))
}

/// `import { a } from "./x.js";` as a line that takes `a` from what module x has returned.
fn imported(line: &str) -> Option<String> {
    let (names, module) = line.strip_prefix("import ")?.split_once(" from \"./")?;
    Some(format!("const {names} = {}_js;", module.strip_suffix(".js\";")?))
}

/// SHA-256 as Base64: what the policy and the tags go by.
pub(super) fn digest(bytes: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_become_one_script() {
        let a = "import { b, c } from \"./b.js\";\nexport async function f(x) {}\nexport class C extends D {}\n\
                 export const k = 1;\nconst hidden = 2;\n";
        let script = joined(&[("b", "export const b = 1;\nexport function* c() {}"), ("a", a)]);
        assert_eq!(
            script,
            "\"use strict\";\nconst b_js = (() => {\nconst b = 1;\nfunction* c() {}\nreturn { b, c };\n})();\n\
             const a_js = (() => {\nconst { b, c } = b_js;\nasync function f(x) {}\nclass C extends D {}\n\
             const k = 1;\nconst hidden = 2;\nreturn { f, C, k };\n})();\n"
        );
    }

    #[test]
    fn every_module_stands_in_the_script_after_those_it_needs() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/web");
        let files = std::fs::read_dir(folder).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut modules: Vec<_> = names
            .filter_map(|name| name.strip_suffix(".js").map(str::to_owned))
            .filter(|name| name != "guard")
            .collect();
        let mut listed = MODULES
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect::<Vec<_>>();
        for (at, (name, text)) in MODULES.iter().enumerate() {
            for line in text.lines().filter(|line| line.starts_with("import")) {
                let known = MODULES[..at]
                    .iter()
                    .any(|(before, _)| line.ends_with(&format!(" from \"./{before}.js\";")));
                assert!(known, "{name}.js: {line}");
            }
        }
        modules.sort();
        listed.sort();
        assert_eq!(modules, listed);
        let script = joined(MODULES);
        let left = script
            .lines()
            .find(|line| line.starts_with("import") || line.starts_with("export"));
        assert_eq!(left, None);
        // Either would end the script, or hide its end, in the middle of the document.
        for end in ["</script", "<!--"] {
            assert!(
                !script.contains(end) && !GUARD.contains(end) && !STYLE.contains("</style"),
                "{end}"
            );
        }
    }
}
