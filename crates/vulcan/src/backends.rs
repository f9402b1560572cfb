//! The backends: one line each, and nowhere else is one named.

use std::{io, path::Path, sync::Arc};

use vulcan_backend::Backend;

use crate::{config::Config, paths};

/// Makes every backend. Starts nothing.
///
/// `owner` tells what belongs to this platform from what belongs to any other on the host, before and after a restart.
/// `cache_dir` is the platform's own: what a backend keeps there can be made again.
///
/// # Errors
///
/// What the operating system says when a backend cannot be set up.
pub(crate) fn all(config: &Config, owner: &str, cache_dir: &Path) -> io::Result<Vec<Arc<dyn Backend>>> {
    let mut backends = without_images(config, owner, cache_dir)?;
    backends.push(Arc::new(vulcan_backend_oci::Oci::container(
        config.container_options(owner, cache_dir),
    )?));
    backends.push(Arc::new(vulcan_backend_oci::Oci::gvisor(
        config.gvisor_options(owner, cache_dir),
    )?));
    Ok(backends)
}

/// Makes those backends whose instances stand on no image, which look at the host in a tenth of the time.
///
/// # Errors
///
/// As [`all`].
pub(crate) fn without_images(
    config: &Config,
    owner: &str,
    cache_dir: &Path,
) -> io::Result<Vec<Arc<dyn Backend>>> {
    Ok(vec![
        Arc::new(vulcan_backend_sandbox::Sandbox::new(
            config.sandbox_options(owner),
        )?),
        Arc::new(vulcan_backend_isolate::Isolate::new(
            config.isolate_options(owner, paths::data_dir_of(config).ok()),
        )?),
        Arc::new(vulcan_backend_wasm::Wasm::new(&config.wasm_options(cache_dir))?),
    ])
}
