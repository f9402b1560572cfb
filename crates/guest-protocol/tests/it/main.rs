//! The protocol as the other side sees it.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod codec;
mod schema;
