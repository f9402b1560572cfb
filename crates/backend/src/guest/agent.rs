//! The guest agent, embedded.

/// The guest agent: a static executable that takes the protocol's stream as file descriptor 3.
pub const AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vulcan-guest-agent"));
