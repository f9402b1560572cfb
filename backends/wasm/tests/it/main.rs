//! The wasm class on this host: the conformance suite, the attacks that WebAssembly can perform, and what is this class' own.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod archive;
mod attacks;
mod bench;
mod bombs;
mod errors;
mod harness;
mod own;
mod stage;

/// The definition of a backend, rule by rule.
mod conformance {
    vulcan_backend::conformance_suite!(crate::harness::WasmHarness::new());
}
