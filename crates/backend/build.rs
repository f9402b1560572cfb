//! Builds the guest agent as a static binary, to be embedded.

use std::{env, path::Path};

fn main() -> std::io::Result<()> {
    let agent = vulcan_static_build::static_binary("vulcan-guest-agent", "vulcan-guest-agent");
    let out_dir = env::var_os("OUT_DIR").ok_or(std::io::ErrorKind::NotFound)?;
    std::fs::copy(agent, Path::new(&out_dir).join("vulcan-guest-agent"))?;
    Ok(())
}
