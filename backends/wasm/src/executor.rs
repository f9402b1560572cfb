//! The threads that run guests: a runtime of their own, so that no thread of the server is ever held by a guest.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
};

/// How often a thread looks for time that has passed, in slices of guests: a spinning one has slices of a tick.
const SLICES_PER_LOOK: u32 = 4;
/// How many threads hash large modules.
const HASHERS_MAX: usize = 2;

/// Runs guests.
pub(crate) struct Executor {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

impl Executor {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// When the host has no more of them.
    pub(crate) fn start(threads: usize, niceness: i32) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .max_blocking_threads(HASHERS_MAX)
            .thread_name("vulcan-wasm")
            .event_interval(SLICES_PER_LOOK)
            .on_thread_start(move || stand_back(niceness))
            .enable_time()
            .build()?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
        })
    }

    /// Runs a future on these threads, whether anybody waits for it or not.
    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        self.handle.spawn(future)
    }

    /// Ends the threads; whatever still runs on them is dropped at its next pause.
    pub(crate) fn close(&self) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.close();
    }
}

/// Lets the server's own threads go first where both want a processor.
pub(crate) fn stand_back(niceness: i32) {
    // Laying priority down needs no rights; a host that refuses it loses nothing but the order.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), niceness);
}
