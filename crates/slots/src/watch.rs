//! Waiting until a descriptor is readable.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};
use vulcan_host::launcher::Launcher;

/// Something that has one and the same open descriptor as long as it lives.
pub(crate) trait HasSteadyFd: AsRawFd {}

impl HasSteadyFd for OwnedFd {}
// Its socket is set when it is made, and never given away.
impl HasSteadyFd for Launcher {}

/// Registers a descriptor with the runtime.
pub(crate) fn readable<T: HasSteadyFd>(inner: T) -> io::Result<AsyncFd<T>> {
    #[expect(
        unsafe_code,
        reason = "the runtime wants to be told that the descriptor stays"
    )]
    // SAFETY: the trait's implementors keep one descriptor open as long as they live, and `AsyncFd` owns `inner`.
    let fd = unsafe { AsyncFd::register_with_interest(inner, Interest::READABLE) };
    Ok(fd?)
}
