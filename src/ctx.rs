//! What a handler or a job is given: the database, time, chance, the secret key and the settings. Cheap to
//! clone; holds no state of its own.

use std::ops::Deref;
use std::sync::Arc;

use url::Url;

use crate::config::Config;
use crate::db::Db;
use crate::kernel::clock::Clock;
use crate::kernel::secret::SecretKey;
use crate::kernel::seed::Seed;
use crate::metrics::Metrics;
use crate::outbound::Outbound;

/// See the module.
#[derive(Clone)]
pub struct Ctx(Arc<Parts>);

/// What a [`Ctx`] consists of.
pub struct Parts {
    pub db: Db,
    pub clock: Clock,
    pub seed: Seed,
    pub key: SecretKey,
    pub config: Config,
    /// How the world reaches us: ends with `/`.
    pub public_url: Url,
    pub metrics: Metrics,
    /// The way out to webhook targets.
    pub to_webhooks: Outbound,
    /// The way out to carriers' REST and media.
    pub to_carriers: Outbound,
}

impl Ctx {
    pub fn new(parts: Parts) -> Ctx {
        Ctx(Arc::new(parts))
    }
}

impl Deref for Ctx {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
