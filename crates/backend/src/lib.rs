//! What an isolation backend is: its traits, the rules of an instance's life, the host side of the guest protocol, a
//! simulator, and the conformance suite that defines all of it.
//!
//! A backend knows how to start an isolated environment and give a byte stream into it, and little else. Refuses to know
//! nodes, the bus, and any concrete backend.

mod capture;
pub mod conformance;
mod error;
mod guest;
mod instance;
pub mod simulator;
mod traits;

pub use capture::{StdoutCapture, exit_error};
pub use error::{BackendError, Disposition};
pub use guest::{AGENT, GuestClient};
pub use instance::{Exited, Invocation, LogChunk, LogSink, Outcome, Root, StartRequest, Swept, Upper};
pub use traits::{
    Ability, Backend, Capabilities, Exec, ExecRequest, Files, Instance, Probe, Readying, RootForm,
};
pub use vulcan_guest_protocol::{ExitStatus, InvokeMode};
