//! The launcher: a small static process that starts instances. See [`vulcan_host::launcher`].

use std::process::ExitCode;

fn main() -> ExitCode {
    vulcan_host::launcher::run()
}
