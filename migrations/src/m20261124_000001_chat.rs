//! Accounts, rooms and messages.
//!
//! Everything of a room stands under its room id, so that `messages` can be partitioned by hash, or
//! distributed by room id, without changing a query. That is why a message carries its sender's name and
//! has no key of its own beside `(room_id, seq)`. Times are milliseconds since the Unix epoch.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(Accounts::Table)
                    .col(
                        ColumnDef::new(Accounts::Id)
                            .big_integer()
                            .not_null()
                            .auto_increment()
                            .primary_key(),
                    )
                    .col(ColumnDef::new(Accounts::Username).text().not_null())
                    // The username as it is compared (RFC 8266), beside the one that is shown.
                    .col(
                        ColumnDef::new(Accounts::UsernameKey)
                            .text()
                            .not_null()
                            .unique_key(),
                    )
                    .col(ColumnDef::new(Accounts::PasswordHash).text().not_null())
                    .col(ColumnDef::new(Accounts::CreatedAt).big_integer().not_null())
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table(Rooms::Table)
                    .col(ColumnDef::new(Rooms::Id).uuid().not_null().primary_key())
                    .col(ColumnDef::new(Rooms::Name).text().not_null())
                    .col(ColumnDef::new(Rooms::LastSeq).big_integer().not_null())
                    .col(ColumnDef::new(Rooms::CreatedAt).big_integer().not_null())
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table(Messages::Table)
                    .col(ColumnDef::new(Messages::RoomId).uuid().not_null())
                    .col(ColumnDef::new(Messages::Seq).big_integer().not_null())
                    .col(ColumnDef::new(Messages::Id).uuid().not_null())
                    .col(ColumnDef::new(Messages::SenderId).big_integer().not_null())
                    .col(ColumnDef::new(Messages::SenderName).text().not_null())
                    .col(ColumnDef::new(Messages::Nonce).text())
                    .col(ColumnDef::new(Messages::Body).text().not_null())
                    .col(ColumnDef::new(Messages::CreatedAt).big_integer().not_null())
                    .primary_key(Index::create().col(Messages::RoomId).col(Messages::Seq))
                    .to_owned(),
            )
            .await?;
        let db = manager.get_connection();
        // I4: a retry is one message, whatever replica it reaches.
        db.execute_unprepared(
            "CREATE UNIQUE INDEX messages_nonce ON messages (room_id, sender_id, nonce) WHERE nonce IS NOT NULL",
        )
        .await?;
        if manager.get_database_backend() == DatabaseBackend::Postgres {
            // Every message updates its room's row: room on the page keeps those updates off the index.
            db.execute_unprepared("ALTER TABLE rooms SET (fillfactor = 50)")
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table(Messages::Table).to_owned())
            .await?;
        manager
            .drop_table(Table::drop().table(Rooms::Table).to_owned())
            .await?;
        manager
            .drop_table(Table::drop().table(Accounts::Table).to_owned())
            .await
    }
}

#[derive(DeriveIden)]
enum Accounts {
    Table,
    Id,
    Username,
    UsernameKey,
    PasswordHash,
    CreatedAt,
}

#[derive(DeriveIden)]
enum Rooms {
    Table,
    Id,
    Name,
    LastSeq,
    CreatedAt,
}

#[derive(DeriveIden)]
enum Messages {
    Table,
    RoomId,
    Seq,
    Id,
    SenderId,
    SenderName,
    Nonce,
    Body,
    CreatedAt,
}
