//! Builds the launcher as a static binary, to be embedded.

use std::{env, path::Path};

fn main() -> std::io::Result<()> {
    let launcher = vulcan_static_build::static_binary("vulcan-host", "vulcan-launcher");
    let out_dir = env::var_os("OUT_DIR").ok_or(std::io::ErrorKind::NotFound)?;
    std::fs::copy(launcher, Path::new(&out_dir).join("vulcan-launcher"))?;
    Ok(())
}
