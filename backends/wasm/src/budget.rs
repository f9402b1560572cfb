//! The memory of one instance: linear memories, tables and files share one limit.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use wasmtime::ResourceLimiter;

/// What the memory of one instance may be, and what of it is in use.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: u64,
    used: AtomicU64,
    peak: AtomicU64,
    refused: AtomicBool,
}

impl Budget {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            refused: AtomicBool::new(false),
        }
    }

    /// Takes a part of it; refuses what is beyond, and remembers that it did.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max)
            });
        match taken {
            Ok(before) => {
                self.peak.fetch_max(before + bytes, Ordering::Relaxed);
                true
            }
            Err(_) => {
                self.refused.store(true, Ordering::Relaxed);
                false
            }
        }
    }

    /// Gives back what was taken.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Returns the most that was in use at once.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Returns what is in use now.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Forgets former refusals, for the next program.
    pub(crate) fn begin(&self) {
        self.refused.store(false, Ordering::Relaxed);
    }

    /// Returns whether something was refused since [`Self::begin`].
    pub(crate) fn has_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }
}

/// What one store may have; the memory is the instance's, and given back with the store.
#[derive(Debug)]
pub(crate) struct Limiter {
    budget: Arc<Budget>,
    taken: u64,
    shape: Shape,
}

/// How many of each kind one store may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) instances: usize,
    pub(crate) memories: usize,
    pub(crate) tables: usize,
}

/// What Wasmtime keeps for each entry of a table.
const TABLE_ENTRY_BYTES: u64 = 16;

impl Limiter {
    pub(crate) fn new(budget: Arc<Budget>, shape: Shape) -> Self {
        Self {
            budget,
            taken: 0,
            shape,
        }
    }

    fn grow(&mut self, bytes: u64) -> bool {
        let is_given = self.budget.take(bytes);
        if is_given {
            self.taken += bytes;
        }
        is_given
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.budget.give_back(self.taken);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Beyond its own maximum it fails anyway, and that is no refusal of ours.
        let is_possible = maximum.is_none_or(|maximum| desired <= maximum);
        Ok(is_possible && self.grow((desired - current) as u64))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let is_possible = maximum.is_none_or(|maximum| desired <= maximum);
        Ok(is_possible && self.grow((desired - current) as u64 * TABLE_ENTRY_BYTES))
    }

    fn instances(&self) -> usize {
        self.shape.instances
    }

    fn tables(&self) -> usize {
        self.shape.tables
    }

    fn memories(&self) -> usize {
        self.shape.memories
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_took_is_given_back_with_it() {
        let budget = Arc::new(Budget::new(100));
        let shape = Shape {
            instances: 1,
            memories: 1,
            tables: 1,
        };
        let mut limiter = Limiter::new(Arc::clone(&budget), shape);

        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(60, 101, None).unwrap());
        assert!(budget.has_refused());
        drop(limiter);

        assert_eq!(budget.peak(), 60);
        assert!(budget.take(100));
    }

    #[test]
    fn a_modules_own_maximum_is_no_refusal_of_the_platform() {
        let budget = Arc::new(Budget::new(100));
        let shape = Shape {
            instances: 1,
            memories: 1,
            tables: 1,
        };
        let mut limiter = Limiter::new(Arc::clone(&budget), shape);

        assert!(!limiter.memory_growing(0, 60, Some(50)).unwrap());
        assert!(!budget.has_refused());
    }
}
