//! How much memory the requests of strangers may hold at once: bodies that are read, and programs that wait.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one permit stands for.
const UNIT_BYTES: usize = 1024;

/// The memory that is left. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

/// Memory that is taken; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Share(OwnedSemaphorePermit);

impl Budget {
    /// Makes a budget of so many bytes, to the next 1024.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(
            (bytes / UNIT_BYTES).min(Semaphore::MAX_PERMITS),
        )))
    }

    /// Takes so many bytes, or `None` where they are not left. Never waits: who waits for memory holds some.
    pub(crate) fn take(&self, bytes: usize) -> Option<Share> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(units).ok().map(Share)
    }
}

impl Share {
    /// Adds another share of the same budget.
    pub(crate) fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_can_be_taken_again() {
        let budget = Budget::new(3 * UNIT_BYTES);
        let mut share = budget.take(1).unwrap();
        share.merge(budget.take(2 * UNIT_BYTES).unwrap());
        assert!(budget.take(1).is_none());
        drop(share);
        assert!(budget.take(3 * UNIT_BYTES).is_some());
    }
}
