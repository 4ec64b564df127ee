//! People's accounts.

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect,
};

use super::{Cause, Store, StoreError, entities::accounts};
use crate::clock::now_millis;
use crate::ids::{User, UserId, Username};

/// An account as login needs it.
#[derive(Debug)]
pub struct Account {
    pub user: User,
    /// A PHC string.
    pub password_hash: String,
}

impl Store {
    /// Creates an account. [`StoreError::Taken`]: the name is in use.
    pub async fn create_account(
        &self,
        username: &Username,
        password_hash: String,
    ) -> Result<User, StoreError> {
        let row = accounts::ActiveModel {
            username: Set(username.shown().to_owned()),
            username_key: Set(username.key().to_owned()),
            skeleton: Set(Some(username.skeleton().to_owned())),
            password_hash: Set(password_hash),
            created_at: Set(now_millis()),
            ..Default::default()
        };
        let mut stored = self.insert_account(row.clone()).await;
        if let Err(e) = &stored
            && e.cause() == Some(Cause::Behind)
            && self.heal_account_ids().await
        {
            stored = self.insert_account(row).await;
        }
        let row = stored?;
        Ok(User {
            id: UserId(row.id),
            username: row.username.into(),
        })
    }

    async fn insert_account(&self, row: accounts::ActiveModel) -> Result<accounts::Model, StoreError> {
        let work = self.run(async |line| {
            let stored = row.insert(line).await.map_err(StoreError::from);
            stored.map_err(|e| match e.is_taken() {
                true => StoreError::Taken,
                false => e,
            })
        });
        self.traced("INSERT", "accounts", work).await
    }

    /// The account of that name, however it is spelled; without one, the account whose name looks like it.
    pub async fn find_account(&self, username: &Username) -> Result<Option<Account>, StoreError> {
        let work = self.run(async |line| {
            let found = accounts::Entity::find().filter(
                Condition::any()
                    .add(accounts::Column::UsernameKey.eq(username.key()))
                    .add(accounts::Column::Skeleton.eq(username.skeleton())),
            );
            // Two at most: both columns are unique.
            Ok(found.all(line).await?)
        });
        let found = self.traced("SELECT", "accounts", work).await?;
        let row = found
            .into_iter()
            .min_by_key(|row| row.username_key != username.key());
        Ok(row.map(|row| Account {
            user: User {
                id: UserId(row.id),
                username: row.username.into(),
            },
            password_hash: row.password_hash,
        }))
    }

    /// The account's name as typed at sign-up, and when that was, milliseconds since the Unix epoch; `None`: it does not exist any more (its token may outlive it).
    pub async fn named_account(&self, id: UserId) -> Result<Option<(String, i64)>, StoreError> {
        let work = self.run(async |line| {
            let found = accounts::Entity::find_by_id(id.0)
                .select_only()
                .columns([accounts::Column::Username, accounts::Column::CreatedAt])
                .into_tuple();
            Ok(found.one(line).await?)
        });
        self.traced("SELECT", "accounts", work).await
    }
}
