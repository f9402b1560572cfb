//! The backends: one line each, and nowhere else is one named.

use std::{io, sync::Arc};

use vulcan_backend::Backend;

use crate::config::Config;

/// Makes every backend. Starts nothing.
///
/// `owner` tells what belongs to this platform from what belongs to any other on the host, before and after a restart.
///
/// # Errors
///
/// What the operating system says when a backend cannot be set up.
pub(crate) fn all(config: &Config, owner: &str) -> io::Result<Vec<Arc<dyn Backend>>> {
    Ok(vec![Arc::new(vulcan_backend_sandbox::Sandbox::new(
        config.sandbox_options(owner),
    )?)])
}
