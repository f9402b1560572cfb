//! What host and guest say to each other: frames, their limits, and how both agree on a version.
//!
//! ```text
//! host                                    guest (agent, PID 1)
//!   Hello {generation_min, _max}  ──▶
//!                                 ◀──  Welcome {generation}
//!   Invoke on channel 1           ──▶
//!   Data… (code, then input)      ──▶
//!                                 ◀──  Started, Stdout…, Stderr…, System…, Output…
//!                                 ◀──  Exited | Refused          channel 1 is over
//! ```
//!
//! Channel 0 carries the handshake and `Shutdown`; every request opens a channel of its own, numbered by the host.
//! Owns the byte layout. Refuses to know transports, processes and async runtimes: no I/O.
//! A guest is hostile: no length from it is believed beyond [`PAYLOAD_BYTES_MAX`], before anything is allocated.

mod codec;
mod frames;
mod version;

pub use codec::{Decoder, Direction, FromGuest, FromHost, HEADER_BYTES, PAYLOAD_BYTES_MAX, ProtocolError};
pub use frames::{
    CodeForm, Command, DATA_BYTES_MAX, Exec, ExitStatus, Exited, GuestError, GuestFrame, GuestRuntime, Hello,
    HostFrame, Invoke, InvokeMode, Prepare, ProgramMode, ReadFile, Refusal, RefusalCode, SignalRequest,
    Welcome, WriteFile,
};
pub use version::{GENERATION_MAX, GENERATION_MIN, negotiate};
