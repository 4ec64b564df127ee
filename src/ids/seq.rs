//! Places in a room's log.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};

use serde::Serialize;
use uuid::Uuid;

/// A message's place in its room: 1, 2, 3 … with no holes (I2). Steps end at [`Seq::NONE`] and at the top of `u64`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Seq(pub u64);

impl Seq {
    /// The place before the first.
    pub const NONE: Self = Self(0);
    /// The largest that a client may name: what the database's `bigint` holds.
    pub const MAX: Self = Self(i64::MAX as u64);

    pub const fn from_db(column: i64) -> Self {
        Self(column as u64)
    }

    pub const fn to_db(self) -> i64 {
        self.0 as i64
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Add<u64> for Seq {
    type Output = Self;

    fn add(self, places: u64) -> Self {
        Self(self.0.saturating_add(places))
    }
}

impl AddAssign<u64> for Seq {
    fn add_assign(&mut self, places: u64) {
        *self = *self + places;
    }
}

impl Sub<u64> for Seq {
    type Output = Self;

    fn sub(self, places: u64) -> Self {
        Self(self.0.saturating_sub(places))
    }
}

impl SubAssign<u64> for Seq {
    fn sub_assign(&mut self, places: u64) {
        *self = *self - places;
    }
}

/// How many places one is ahead of another; 0 where it is not.
impl Sub for Seq {
    type Output = u64;

    fn sub(self, behind: Self) -> u64 {
        self.0.saturating_sub(behind.0)
    }
}

/// Which message stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub seq: Seq,
    pub id: Uuid,
}
