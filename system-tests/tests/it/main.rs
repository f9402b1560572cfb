//! Scenarios: a whole platform with the real sandbox, driven through its HTTP API.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod benchmarks;
mod crash;
mod ends;
mod fixture;
mod images;
mod isolates;
mod limits;
mod logs;
mod reuse;
mod runtimes;
mod wasm;
