//! One node: it takes assignments from the bus, has instances started for them by the backends, and reports what became
//! of them.
//!
//! Owns admission, the supervisors (one task per workload, the only writer of its instance), the logs, the cache of
//! compiled programs, and a small database with what must survive this process. Refuses to know HTTP, the control plane's
//! records, and any concrete backend.
//!
//! ```text
//! Assign ──▶ service ──admit──▶ supervisor ──start, invoke, stop──▶ backend
//!               │                  │   └──lines──▶ logs ◀──ReadLog── readers
//!               └◀─Acknowledge     └──end──▶ outbox ──Report──▶ control plane
//! ```

mod admission;
mod bare;
mod compile;
mod error;
mod handle;
mod host;
mod image;
mod images;
mod lifecycle;
mod lock;
mod logs;
mod measure;
mod metrics;
mod node;
mod options;
mod outbox;
mod outcome;
mod pool;
mod recovery;
mod roots;
mod service;
mod status;
mod store;
mod supervisor;

pub use error::Error;
pub use handle::Handle;
pub use image::{BuildOptions, ImageOptions};
pub use metrics::Metrics;
pub use options::{BenchmarkOptions, Capacity, CompileLimits, Intervals, Options};
pub use pool::{BlankName, PoolLimits};
pub use recovery::Recovery;
pub use service::start;
