//! Failing and freezing on demand.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::BackendError;

/// A step of an instance's life that can be made to fail or to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// [`crate::Backend::start`].
    Start,
    /// [`crate::Instance::invoke`].
    Invoke,
    /// [`crate::Instance::stop`].
    Stop,
}

type Failure = Box<dyn FnOnce() -> BackendError + Send>;

/// What is to go wrong at one step.
pub(super) struct Fault {
    failures: Mutex<VecDeque<Failure>>,
    holds: watch::Sender<usize>,
    waiting: watch::Sender<usize>,
}

impl Fault {
    pub(super) fn new() -> Self {
        Self {
            failures: Mutex::default(),
            holds: watch::Sender::new(0),
            waiting: watch::Sender::new(0),
        }
    }

    pub(super) fn push(&self, failure: Failure) {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(failure);
    }

    /// Waits while the step is held, and then fails if it is to fail.
    pub(super) async fn pass(&self) -> Result<(), BackendError> {
        if *self.holds.borrow() > 0 {
            let _waiting = Counted::new(&self.waiting);
            let mut holds = self.holds.subscribe();
            // The sender lives as long as `self`.
            let _ = holds.wait_for(|holds| *holds == 0).await;
        }
        let failure = self
            .failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        failure.map_or(Ok(()), |failure| Err(failure()))
    }
}

/// Keeps a step from going on until it is dropped.
#[must_use = "the step goes on when the hold is dropped"]
pub struct Hold(Arc<Fault>);

impl Hold {
    pub(super) fn new(fault: Arc<Fault>) -> Self {
        fault.holds.send_modify(|holds| *holds += 1);
        Self(fault)
    }

    /// Waits until `count` calls wait at the step.
    pub async fn reached(&self, count: usize) {
        let mut waiting = self.0.waiting.subscribe();
        // The sender lives as long as `self`.
        let _ = waiting.wait_for(|waiting| *waiting >= count).await;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holds.send_modify(|holds| *holds -= 1);
    }
}

/// Adds one for as long as it lives, also when the waiting future is dropped.
struct Counted<'a>(&'a watch::Sender<usize>);

impl<'a> Counted<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
