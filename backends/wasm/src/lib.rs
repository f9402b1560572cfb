//! The `wasm` class: Wasmtime in process, with pooled memories, interrupted by epochs.
//!
//! ```text
//! Wasm ── Platform ── Engine    pool of memories, tables, stacks       reserved once
//!                 ├── Loader    compiled modules, in memory and on disk
//!                 ├── Executor  threads for guests, apart from the server's
//!                 └── Ticker    the clock that ends a guest's turn
//!    │
//!    └─ start: take a slot ─▶ WasmInstance ─ invoke: load ─▶ a fresh store ─▶ call ─▶ judge
//! ```
//!
//! Owns engine, threads, caches and instances. The contract with guests is in docs/wasm.md. Refuses to know workloads, nodes,
//! and how code reaches it.

mod backend;
mod budget;
mod component;
mod engine;
mod executor;
mod files;
mod instance;
mod judge;
mod load;
mod meter;
mod options;
mod output;
mod run;
mod ticker;
mod wasi;

pub use backend::{Occupancy, Wasm};
pub use options::{ModuleLimits, Options};
