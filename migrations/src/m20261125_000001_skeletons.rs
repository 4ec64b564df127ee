//! How names look (UTS 39), beside how they are compared, so that of two names that look alike one can be signed up.
//!
//! The column is filled by the program, which knows how; null: not yet, as in an account that a replica of the release
//! before made. Of accounts that look alike already the oldest has its look, the others one that no name can have.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        for statement in [
            "ALTER TABLE accounts ADD COLUMN skeleton text",
            "CREATE UNIQUE INDEX accounts_skeleton ON accounts (skeleton)",
            "CREATE INDEX accounts_without_skeleton ON accounts (id) WHERE skeleton IS NULL",
        ] {
            db.execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        for statement in [
            "DROP INDEX accounts_without_skeleton",
            "DROP INDEX accounts_skeleton",
            "ALTER TABLE accounts DROP COLUMN skeleton",
        ] {
            db.execute_unprepared(statement).await?;
        }
        Ok(())
    }
}
