//! The routes as they are declared beside their code: what 405 and spans say of them.

use std::sync::LazyLock;

use serde_json::Value;

use crate::web;

static ALL: LazyLock<Vec<Declared>> = LazyLock::new(|| {
    let mut all = read(&super::service().spec());
    all.push(Declared {
        pattern: "/".to_owned(),
        methods: web::PAGE_METHODS.to_owned(),
    });
    // `/users/me` goes before `/users/{id}`.
    all.sort_by_key(|route| route.pattern.matches('{').count());
    all
});

/// A route of the surface for clients.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Declared {
    /// As in `/api/v1/rooms/{room}/messages`.
    pub pattern: String,
    /// For `Allow`.
    pub methods: String,
}

impl Declared {
    /// The route that a path would be of if it were not refused, or that poem's own pattern is of, which numbers what a
    /// path has to fill in.
    pub fn of(path: &str) -> Option<&'static Self> {
        ALL.iter().find(|route| route.fits(path))
    }

    fn fits(&self, path: &str) -> bool {
        let (mut ours, mut theirs) = (self.pattern.split('/'), path.split('/'));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some(ours), Some(theirs)) if ours == theirs || ours.starts_with('{') => {}
                _ => return false,
            }
        }
    }
}

/// What the OpenAPI document has.
fn read(document: &str) -> Vec<Declared> {
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    let paths = document["paths"].as_object().into_iter().flatten();
    paths
        .map(|(pattern, operations)| {
            let methods = operations
                .as_object()
                .into_iter()
                .flatten()
                .map(|(method, _)| method);
            let methods = methods.map(|method| match method.as_str() {
                "get" => "GET, HEAD".to_owned(),
                other => other.to_ascii_uppercase(),
            });
            Declared {
                pattern: pattern.clone(),
                methods: methods.collect::<Vec<_>>().join(", "),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_its_route() {
        let of = |path| Declared::of(path).map(|route| (route.pattern.as_str(), route.methods.as_str()));
        let messages = Some(("/api/v1/rooms/{room}/messages", "GET, HEAD, POST"));
        assert_eq!(of("/api/v1/rooms/a%2Fb/messages"), messages);
        assert_eq!(of("/api/v1/rooms/:param0/messages"), messages);
        assert_eq!(of("/api/v1/rooms//messages"), messages, "with no name of a room");
        assert_eq!(of("/api/v1/users"), Some(("/api/v1/users", "POST")));
        assert_eq!(of("/api/v1/users/me"), Some(("/api/v1/users/me", "GET, HEAD")));
        assert_eq!(of("/"), Some(("/", web::PAGE_METHODS)));
        assert_eq!(of("/api/v1/rooms/a/b/messages"), None);
        assert_eq!(of("/api/v1"), None);
    }
}
