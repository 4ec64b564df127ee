//! The schema, as sea-orm migrations that run on Postgres and on SQLite.
//!
//! A migration that has been released is never edited: add the next one to [`Migrator`]. It only adds, so that the
//! release before goes on with it, in a rolling update and after a rollback; what that one still uses goes a release later.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::EntityTrait;
use sea_orm_migration::seaql_migrations;

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

    /// Those of ours: sea-orm refuses a database that has more, and then nobody could go back to the release before.
    async fn get_migration_models<C>(db: &C) -> Result<Vec<seaql_migrations::Model>, DbErr>
    where
        C: ConnectionTrait,
    {
        Self::install(db).await?;
        let mut applied = seaql_migrations::Entity::find().all(db).await?;
        let ours = Self::migrations();
        applied.retain(|model| ours.iter().any(|migration| migration.name() == model.version));
        Ok(applied)
    }
}
