//! Why a node could not start.

use std::{io, path::PathBuf};

/// Why a node could not start; nothing of it runs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process works with the same data directory.
    #[error("another vulcan (process {pid}) owns the data directory {}; stop it, or choose another --data-dir", directory.display())]
    Owned {
        /// The directory.
        directory: PathBuf,
        /// The owner's process id as it wrote it, "unknown" where it did not.
        pid: String,
    },
    /// A folder or file of the node cannot be used.
    #[error("could not {action} {}", path.display())]
    Directory {
        /// What was tried: "create", "lock".
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
    /// The node's database cannot be opened or brought up to date.
    #[error("could not open the node's database {}", path.display())]
    Database {
        /// Where.
        path: PathBuf,
        /// The database's word.
        #[source]
        source: sqlx::Error,
    },
}
