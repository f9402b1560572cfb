//! The sandbox class on this host: the conformance suite, and what is the sandbox's own.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod harness;
mod own;

/// The definition of a backend, rule by rule.
mod conformance {
    vulcan_backend::conformance_suite!(crate::harness::SandboxHarness::new());
}
