//! The configuration: a TOML file, overridden by `VULCAN_*` variables, overridden by flags.
//!
//! ```text
//! defaults ◀── file ◀── environment ◀── flags
//! ```
//!
//! Every key is one row of [`keys`]: its name, what it is for, how it is read and written. All three sources go through it.
//! Refuses to know what the settings do.

mod classes;
mod file;
mod forms;
mod images;
mod keys;
mod load;
mod nearest;
mod settings;

pub use load::{ConfigError, Origin, load};
pub(crate) use settings::stable_hash;
pub use settings::{Config, Records, Server};
