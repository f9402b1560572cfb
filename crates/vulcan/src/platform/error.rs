//! Why a platform could not be started.

use std::{io, net::SocketAddr, path::PathBuf};

/// Why a platform could not be started; nothing of it runs. The text reads after "could not start the server: ".
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// The address is none.
    #[error("'{value}' is not an address to listen on")]
    Address {
        /// What was given.
        value: String,
    },
    /// Others than this machine could reach the server.
    #[error(
        "{address} can be reached from other machines, and there is no authentication yet: whoever reaches the server may run code"
    )]
    Exposed {
        /// What was given.
        address: SocketAddr,
    },
    /// Something else listens there.
    #[error("something else listens on {address} already")]
    AddressInUse {
        /// Where.
        address: String,
    },
    /// The address cannot be had.
    #[error("could not listen on {address}")]
    Bind {
        /// Where.
        address: String,
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
    /// A folder cannot be used.
    #[error("the folder {} cannot be used", .path.display())]
    Directory {
        /// Which one.
        path: PathBuf,
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
    /// A backend cannot be set up.
    #[error("the backends could not be set up")]
    Backends {
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
    /// The node cannot start.
    #[error("the node could not start")]
    Node {
        /// Why.
        #[source]
        source: vulcan_node::Error,
        /// Whether the disk has no room left.
        is_disk_full: bool,
    },
    /// The control plane cannot start.
    #[error("the control plane could not start")]
    Control {
        /// Why.
        #[source]
        source: vulcan_control::Error,
        /// Whether the disk has no room left.
        is_disk_full: bool,
    },
}

impl PlatformError {
    /// Returns whether the input is at fault, and not the machine.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Address { .. } | Self::Exposed { .. })
    }

    /// Returns what to do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Address { .. } => "write HOST:PORT, for example --listen 127.0.0.1:7070",
            Self::Exposed { .. } => {
                "listen on 127.0.0.1, and reach it from elsewhere through SSH: ssh -L 7070:127.0.0.1:7070 HOST"
            }
            Self::AddressInUse { .. } => "take a free port: --listen 127.0.0.1:0",
            Self::Directory { .. } => "choose other folders: --data-dir DIR, VULCAN_CACHE_DIR=DIR",
            Self::Node {
                is_disk_full: true, ..
            }
            | Self::Control {
                is_disk_full: true, ..
            } => "the disk is full: make room, or choose another --data-dir",
            Self::Node { .. } | Self::Control { .. } | Self::Bind { .. } | Self::Backends { .. } => {
                return None;
            }
        };
        Some(hint.to_owned())
    }
}
