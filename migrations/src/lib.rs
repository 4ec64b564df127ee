//! The schema, as sea-orm migrations that run on Postgres and on SQLite.
//!
//! A migration that has been released is never edited: add the next one to [`Migrator`].

use sea_orm_migration::prelude::*;

pub use sea_orm_migration::MigratorTrait;

mod m20261124_000001_chat;
mod m20261125_000001_skeletons;

/// All migrations, oldest first.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261124_000001_chat::Migration),
            Box::new(m20261125_000001_skeletons::Migration),
        ]
    }
}
