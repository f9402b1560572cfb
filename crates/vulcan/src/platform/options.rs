//! How a platform is started.

use std::{path::PathBuf, sync::Arc};

use vulcan_backend::Backend;

use super::Listen;
use crate::config::Config;

/// How a platform is started.
#[derive(Clone)]
pub struct PlatformOptions {
    /// Every setting.
    pub config: Config,
    /// Where records and logs are kept; made with mode 0700 where it is missing.
    pub data_dir: PathBuf,
    /// Where what can be made again is kept.
    pub cache_dir: PathBuf,
    /// Where to listen.
    pub listen: Listen,
    /// What tells this platform's leftovers on the host from those of any other; `None` derives it from `data_dir`.
    pub owner: Option<String>,
    /// What to isolate with; `None` takes every backend there is.
    pub backends: Option<Vec<Arc<dyn Backend>>>,
}

impl PlatformOptions {
    /// Returns options with every default.
    #[must_use]
    pub fn new(data_dir: PathBuf, cache_dir: PathBuf, listen: Listen) -> Self {
        Self {
            config: Config::default(),
            data_dir,
            cache_dir,
            listen,
            owner: None,
            backends: None,
        }
    }
}
