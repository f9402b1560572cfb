//! What is kept in memory, bounded by bytes; what was used longest ago goes first.

use std::{collections::HashMap, hash::Hash, sync::Arc};

/// A bounded map.
#[derive(Debug)]
pub(super) struct Lru<K, V> {
    bytes_max: u64,
    bytes: u64,
    clock: u64,
    entries: HashMap<K, Kept<V>>,
}

#[derive(Debug)]
struct Kept<V> {
    value: Arc<V>,
    bytes: u64,
    used_at: u64,
}

impl<K: Hash + Eq + Copy, V> Lru<K, V> {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            clock: 0,
            entries: HashMap::new(),
        }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<Arc<V>> {
        self.clock += 1;
        let kept = self.entries.get_mut(key)?;
        kept.used_at = self.clock;
        Some(Arc::clone(&kept.value))
    }

    /// Keeps a value, unless it is larger than all that may be kept.
    pub(super) fn put(&mut self, key: K, value: Arc<V>, bytes: u64) {
        if bytes > self.bytes_max {
            return;
        }
        self.clock += 1;
        let kept = Kept {
            value,
            bytes,
            used_at: self.clock,
        };
        self.bytes += bytes;
        if let Some(replaced) = self.entries.insert(key, kept) {
            self.bytes -= replaced.bytes;
        }
        while self.bytes > self.bytes_max {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self
            .entries
            .iter()
            .min_by_key(|(_, kept)| kept.used_at)
            .map(|(key, _)| *key);
        if let Some(kept) = oldest.and_then(|key| self.entries.remove(&key)) {
            self.bytes -= kept.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let mut lru = Lru::new(100);
        for key in 0..3 {
            lru.put(key, Arc::new(key), 40);
            lru.get(&0);
        }

        let kept: Vec<bool> = (0..3).map(|key| lru.get(&key).is_some()).collect();

        assert_eq!(kept, [true, false, true]);
        assert_eq!(lru.bytes, 80);
    }

    #[test]
    fn what_is_too_large_is_not_kept_and_drives_nothing_out() {
        let mut lru = Lru::new(100);
        lru.put(1, Arc::new(()), 100);

        lru.put(2, Arc::new(()), 101);

        assert!(lru.get(&1).is_some());
        assert!(lru.get(&2).is_none());
    }

    #[test]
    fn a_value_that_is_put_again_counts_once() {
        let mut lru = Lru::new(100);
        for _ in 0..3 {
            lru.put(1, Arc::new(()), 60);
        }
        assert_eq!(lru.bytes, 60);
    }
}
