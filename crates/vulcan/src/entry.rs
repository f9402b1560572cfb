//! The way into the program: parsing, the runtime, and the one place where a failure is shown.

use std::{io::Write, process::ExitCode};

use clap::Parser;

use crate::{
    cli::{Cli, Command},
    commands,
    failure::{CommandResult, Exit, Failure},
    logging::{self, Plan},
};

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    // Before the exporter of spans makes its client.
    vulcan_client::install_tls_provider();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is no reason to complain, and there is no other.
            error.print().ok();
            return if error.use_stderr() { Exit::USAGE } else { Exit::OK }.into();
        }
    };
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !failure.is_silent() {
                std::io::stderr().write_all(failure.text().as_bytes()).ok();
            }
            failure.exit().into()
        }
    }
}

fn run(cli: Cli) -> CommandResult {
    let plan = match &cli.command {
        Command::Serve(_) => Plan {
            default_filter: "info",
            exports_spans: true,
        },
        // The embedded platform's own remarks would mix with the program's.
        _ => Plan {
            default_filter: "off",
            exports_spans: false,
        },
    };
    let _spans = logging::start(plan)?;
    let mut builder = match &cli.command {
        Command::Serve(_) | Command::Run(_) | Command::Benchmark(_) => {
            tokio::runtime::Builder::new_multi_thread()
        }
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(Exit::PLATFORM, "start the async runtime", &error))?;
    runtime.block_on(commands::dispatch(cli))
}
