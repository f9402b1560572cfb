//! The `vulcan` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    vulcan::main()
}
