//! Threads for work that cannot be interrupted: few at a time, and given up after a deadline.

use std::{io, sync::Arc, thread, time::Duration};

use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

use crate::executor::stand_back;

/// How far compilers stand back behind everything else of the server.
const NICENESS: i32 = 10;
/// What Cranelift and the readers of text need; they bound their own depth.
const STACK_BYTES: usize = 8 * 1024 * 1024;

/// Why work was not done.
#[derive(Debug)]
pub(super) enum Late {
    /// All threads were busy with other work until the deadline.
    Busy,
    /// It was begun and not finished. It goes on, and holds its thread until it is over.
    Unfinished,
    /// The host has no more threads, or the work came to a sudden end.
    Broken(io::Error),
}

pub(super) struct Threads {
    permits: Arc<Semaphore>,
    deadline: Duration,
}

impl Threads {
    pub(super) fn new(most: usize, deadline: Duration) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(most.max(1))),
            deadline,
        }
    }

    /// Does work in a thread of its own, and waits for it until the deadline.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Late> {
        let acquire = Arc::clone(&self.permits).acquire_owned();
        let permit = timeout(self.deadline, acquire)
            .await
            .map_err(|_| Late::Busy)?
            .map_err(|_| Late::Broken(io::Error::other("the backend is closed")))?;
        let (tell, told) = oneshot::channel();
        thread::Builder::new()
            .name("vulcan-wasm-cc".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                stand_back(NICENESS);
                // Whoever waited may have given up.
                let _ = tell.send(work());
                drop(permit);
            })
            .map_err(Late::Broken)?;
        timeout(self.deadline, told)
            .await
            .map_err(|_| Late::Unfinished)?
            .map_err(|_| Late::Broken(io::Error::other("the compiler came to a sudden end")))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn work_that_takes_too_long_is_given_up_and_holds_its_thread() {
        let threads = Threads::new(1, SHORT);
        let (go_on, wait) = mpsc::channel::<()>();

        let unfinished = threads.run(move || wait.recv()).await;
        assert!(matches!(unfinished, Err(Late::Unfinished)));
        assert!(matches!(threads.run(|| ()).await, Err(Late::Busy)));

        drop(go_on);
        let done = async { while threads.run(|| ()).await.is_err() {} };
        timeout(Duration::from_secs(30), done).await.unwrap();
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_frees_its_thread() {
        let threads = Threads::new(1, Duration::from_secs(30));

        let broken = threads.run(|| panic!("on purpose")).await;

        assert!(matches!(broken, Err(Late::Broken(_))));
        assert_eq!(threads.run(|| 7).await.unwrap(), 7);
    }
}
