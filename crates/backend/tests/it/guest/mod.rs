//! Claims about the host side of the guest protocol: against a scripted guest that lies, and against the real agent.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod agent;
mod hostile;
mod reuse;
mod scripted;
