//! The whole platform in one process: backends, node, control plane, listener.
//!
//! Owns their order at start and end. Refuses to know what any of them does.

mod error;
mod listen;
mod options;
mod running;

pub use error::PlatformError;
pub use listen::Listen;
pub use options::PlatformOptions;
pub(crate) use running::node_name;
pub use running::{Platform, Summary};
