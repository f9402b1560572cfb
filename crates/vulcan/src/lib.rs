//! The `vulcan` command: it parses, wires and prints, and is the only room that names concrete backends.
//!
//! [`Platform`] is the whole platform in one process: what `vulcan serve` runs, what `vulcan run` starts where there is no
//! server, and what the system tests drive. Refuses to know business rules.

mod archive;
mod backends;
mod cli;
mod commands;
mod config;
mod embedded;
mod entry;
mod failure;
mod live;
mod logging;
mod mode;
mod paths;
mod platform;
mod program;
mod server;
mod signals;
mod terminal;
mod units;
mod words;

pub use config::{Config, ConfigError, Origin, Records, Server, load};
pub use entry::main;
pub use failure::EXIT_CODES;
pub use platform::{Listen, Platform, PlatformError, PlatformOptions, Summary};
