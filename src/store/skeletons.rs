//! Fills in how the names of accounts look, where a program that did not know it made them.

use std::collections::HashSet;

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{CaseStatement, Expr},
};

use super::entities::accounts::{Column, Entity};
use super::{Store, StoreError};
use crate::ids::Username;

/// Accounts that are filled in with one statement.
const AT_A_TIME: u64 = 500;
/// How often a batch is begun again because a sign-up, or another replica, was faster.
const ATTEMPTS: usize = 5;

impl Store {
    /// Fills in all that is missing. Several at once are safe.
    pub(super) async fn fill_skeletons(&self) -> Result<(), StoreError> {
        let mut lost = 0;
        loop {
            match self.run(async |line| Ok(fill_some(line).await?)).await {
                Ok(0) => return Ok(()),
                Ok(_) => lost = 0,
                Err(e) if lost < ATTEMPTS && e.is_taken() => lost += 1,
                Err(e) => return Err(e),
            }
        }
    }
}

async fn fill_some(db: &impl ConnectionTrait) -> Result<usize, DbErr> {
    let accounts: Vec<(i64, String)> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::Username])
        .filter(Column::Skeleton.is_null())
        .order_by_asc(Column::Id)
        .limit(AT_A_TIME)
        .into_tuple()
        .all(db)
        .await?;
    if accounts.is_empty() {
        return Ok(0);
    }
    let looks: Vec<(i64, String)> = accounts
        .into_iter()
        .map(|(id, name)| {
            (
                id,
                Username::parse(&name).map_or_else(|_| String::new(), |name| name.skeleton().to_owned()),
            )
        })
        .collect();
    let mut taken: HashSet<String> = Entity::find()
        .select_only()
        .column(Column::Skeleton)
        .filter(Column::Skeleton.is_in(looks.iter().map(|(_, look)| look.as_str())))
        .into_tuple()
        .all(db)
        .await?
        .into_iter()
        .collect();
    let (ids, mut skeletons) = (
        looks.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        CaseStatement::new(),
    );
    for (id, look) in looks {
        // A line break is in no name, so nobody is refused or found by this one.
        let skeleton = match look.is_empty() || !taken.insert(look.clone()) {
            true => format!("{look}\n{id}"),
            false => look,
        };
        skeletons = skeletons.case(Column::Id.eq(id), skeleton);
    }
    let filled = ids.len();
    Entity::update_many()
        .col_expr(Column::Skeleton, Expr::expr(skeletons))
        .filter(Column::Id.is_in(ids))
        .filter(Column::Skeleton.is_null())
        .exec(db)
        .await?;
    Ok(filled)
}
