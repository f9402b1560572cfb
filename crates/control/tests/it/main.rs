//! The control plane from outside: over a real listener, with a node that does what each test says.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod archives;
mod benchmarks;
mod connections;
mod drain;
mod idempotency;
mod images;
mod lists;
mod logs;
mod node;
mod node_images;
mod pages;
mod platform;
mod problems;
mod recovery;
mod storage;
mod workloads;
