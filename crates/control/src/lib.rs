//! The control plane: it takes workloads in over HTTP, places them on nodes over the bus, and keeps their records.
//!
//! ```text
//! http (one file per operation) ─▶ app ─▶ driver (one task: scheduler + entries) ─▶ bus
//!                                   │        │
//!                                   └─ board ┴─▶ store (SQLite, one writing task)
//! ```
//!
//! Refuses to know concrete backends, paths of the host and the guest protocol.

mod app;
mod benchmark;
mod board;
mod budget;
mod causes;
mod driver;
mod http;
mod inventory;
mod metrics;
mod options;
mod scheduler;
mod service;
mod store;
mod sweeper;

pub use driver::Recovery;
pub use http::{openapi_json, router, serve};
pub use metrics::SharedRegistry;
pub use options::{Error, Options, Retention};
pub use service::{DATABASE_FILE, Handle, new_registry, start};
pub use store::Error as StoreError;
