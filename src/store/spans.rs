//! A question to the database as its trace shows it, by the semantic conventions for databases.

use std::borrow::Cow;

use tracing::Instrument;
use tracing::field::{Empty, display};

use super::{Store, StoreError, sqlstate};

impl StoreError {
    /// What went wrong, for `error.type`: the SQLSTATE where the database said one, else the cause. `None`: it did its work.
    pub fn kind(&self) -> Option<Cow<'static, str>> {
        let cause = self.cause()?.name();
        let code = match self {
            Self::Database(e) => sqlstate(e),
            _ => None,
        };
        Some(code.map_or(Cow::Borrowed(cause), Cow::Owned))
    }
}

impl Store {
    /// Does this in a span of its own, which says whom it asked, and what was wrong.
    pub(super) async fn traced<T>(
        &self,
        operation: &'static str,
        collection: &'static str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let database = &self.database;
        let span = tracing::info_span!(
            "query",
            otel.name = %format_args!("{operation} {collection}"),
            otel.kind = "client",
            otel.status_code = Empty,
            db.system.name = database.system,
            db.namespace = database.namespace.as_str(),
            db.operation.name = operation,
            db.collection.name = collection,
            server.address = database.address.as_deref(),
            server.port = database.port,
            error.type = Empty,
        );
        let done = work.instrument(span.clone()).await;
        if let Some(kind) = done.as_ref().err().and_then(StoreError::kind) {
            span.record("error.type", display(&kind));
            span.record("otel.status_code", "error");
        }
        done
    }
}
