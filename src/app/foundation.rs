//! What everything stands on: Postgres and Redis, or the data folder of one machine.

use std::fs::File;
use std::io;

use super::StartError;
use crate::auth::SigningKey;
use crate::config::{Backend, ConfigError, Settings};
use crate::data_dir;
use crate::limits::SharedCounts;
use crate::store::Store;

/// What a backend brings.
pub struct Foundation {
    pub store: Store,
    pub key: SigningKey,
    pub redis: Option<(redis::Client, SharedCounts)>,
    /// Keeps a second process off the data folder.
    pub lock: Option<File>,
}

impl Foundation {
    /// Opens what the configuration names.
    pub async fn open(backend: Backend, settings: &Settings) -> Result<Self, StartError> {
        match backend {
            Backend::Clustered {
                database,
                redis,
                redis_url,
                key,
            } => {
                let store = Store::open(&database, settings.database_pool).await?;
                let pool = deadpool_redis::Config::from_url(redis_url)
                    .create_pool(Some(deadpool_redis::Runtime::Tokio1))?;
                let counts = SharedCounts::new(pool, settings.relay_prefix.clone());
                Ok(Self {
                    store,
                    key,
                    redis: Some((redis, counts)),
                    lock: None,
                })
            }
            Backend::Embedded { data_dir, key } => {
                let unusable =
                    |e: io::Error| ConfigError::DataDir(data_dir.display().to_string(), e.to_string());
                data_dir::make(&data_dir).map_err(unusable)?;
                let lock = data_dir::lock(&data_dir).await.map_err(unusable)?;
                let key = match key {
                    Some(key) => key,
                    None => data_dir::signing_key(&data_dir).map_err(unusable)?,
                };
                let store = Store::open_embedded(&data_dir::database(&data_dir)).await?;
                Ok(Self {
                    store,
                    key,
                    redis: None,
                    lock: Some(lock),
                })
            }
        }
    }
}
