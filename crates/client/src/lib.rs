//! The typed HTTP client of the platform: the Rust SDK.
//!
//! Owns the connection, the deadlines, the reading of answers and the resumption of log streams. Refuses to know how the
//! server works: it speaks the API's types and nothing else.

mod client;
mod endpoint;
mod error;
mod http;
mod images;
mod logs;
mod query;
mod sse;
mod tls;

pub use client::Client;
pub use endpoint::{Endpoint, EndpointError};
pub use error::ClientError;
pub use images::ImageEvents;
pub use logs::{LogOptions, LogTail};
pub use query::{ListQuery, RunOptions};
pub use tls::install_tls_provider;
