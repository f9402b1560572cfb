//! Where the platform's own log goes: standard error, as text for a terminal and as JSON for everything else.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// The variable that says what is logged.
const VARIABLE: &str = "VULCAN_LOG";

/// Starts logging. Without `VULCAN_LOG`, `default_filter` applies. A second call does nothing.
///
/// # Errors
///
/// A [`Failure`] when the variable cannot be understood.
pub(crate) fn start(default_filter: &str) -> Result<(), Failure> {
    let words = std::env::var(VARIABLE).unwrap_or_default();
    let words = if words.is_empty() { default_filter } else { &words };
    let filter = EnvFilter::builder().parse(words).map_err(|error| {
        Failure::usage(format!("could not understand {VARIABLE}={words}: {error}"))
            .hint("write for example info, or warn,vulcan_node=debug")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    // It fails where a subscriber is there: in tests, which share a process.
    if io::stderr().is_terminal() {
        builder.with_target(false).try_init().ok();
    } else {
        builder.json().flatten_event(true).try_init().ok();
    }
    Ok(())
}
