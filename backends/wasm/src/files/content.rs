//! The bytes of one file: pages where something was written, holes elsewhere.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::quota::{Problem, Quota};

/// The unit in which space is taken.
const PAGE_BYTES: u64 = 4096;
const PAGE_LEN: usize = 4096;
/// What any file system would call too large: 8 EiB less one.
const LEN_MAX: u64 = i64::MAX as u64;

type Page = Box<[u8; PAGE_LEN]>;

/// A file's content. Whoever owns one gives its space back with [`Content::discard`].
#[derive(Debug)]
pub(crate) enum Content {
    /// As it came in a package, shared with every other instance that has it; copied when it is changed.
    Shared(Bytes),
    /// As it was written.
    Own { len: u64, pages: BTreeMap<u64, Page> },
}

impl Content {
    pub(crate) const fn empty() -> Self {
        Self::Own {
            len: 0,
            pages: BTreeMap::new(),
        }
    }

    /// Takes bytes of a package; they count like written ones.
    pub(crate) fn shared(bytes: Bytes, quota: &mut Quota) -> Result<Self, Problem> {
        quota.take(pages_of(bytes.len() as u64) * PAGE_BYTES)?;
        Ok(Self::Shared(bytes))
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Shared(bytes) => bytes.len() as u64,
            Self::Own { len, .. } => *len,
        }
    }

    /// Gives back the space.
    pub(crate) fn discard(&mut self, quota: &mut Quota) {
        quota.give_back(self.taken());
        *self = Self::empty();
    }

    fn taken(&self) -> u64 {
        match self {
            Self::Shared(bytes) => pages_of(bytes.len() as u64) * PAGE_BYTES,
            Self::Own { pages, .. } => pages.len() as u64 * PAGE_BYTES,
        }
    }

    /// Reads at a position; fewer bytes only at the end.
    pub(crate) fn read(&self, at: u64, into: &mut [u8]) -> usize {
        let Ok(left) = usize::try_from(self.len().saturating_sub(at)) else {
            return self.copy_out(at, into);
        };
        let count = left.min(into.len());
        self.copy_out(at, &mut into[..count])
    }

    fn copy_out(&self, at: u64, into: &mut [u8]) -> usize {
        match self {
            Self::Shared(bytes) => {
                let Ok(start) = usize::try_from(at) else { return 0 };
                let Some(from) = bytes.get(start..) else { return 0 };
                let count = from.len().min(into.len());
                into[..count].copy_from_slice(&from[..count]);
                count
            }
            Self::Own { pages, .. } => {
                let mut done = 0;
                while done < into.len() {
                    let (page, offset) = split(at + done as u64);
                    let count = (PAGE_LEN - offset).min(into.len() - done);
                    let target = &mut into[done..done + count];
                    match pages.get(&page) {
                        Some(bytes) => target.copy_from_slice(&bytes[offset..offset + count]),
                        None => target.fill(0),
                    }
                    done += count;
                }
                done
            }
        }
    }

    /// Writes at a position; fewer bytes where the space ends in the middle.
    pub(crate) fn write(&mut self, at: u64, from: &[u8], quota: &mut Quota) -> Result<usize, Problem> {
        let end = at
            .checked_add(from.len() as u64)
            .filter(|end| *end <= LEN_MAX)
            .ok_or(Problem::TooLarge)?;
        self.own()?;
        let Self::Own { len, pages } = self else {
            return Ok(0);
        };
        let mut done = 0;
        while done < from.len() {
            let (number, offset) = split(at + done as u64);
            let page = match page(pages, number, quota) {
                Ok(page) => page,
                Err(Problem::DiskFull) if done > 0 => break,
                Err(problem) => return Err(problem),
            };
            let count = (PAGE_LEN - offset).min(from.len() - done);
            page[offset..offset + count].copy_from_slice(&from[done..done + count]);
            done += count;
        }
        if !from.is_empty() {
            *len = (*len).max(end - (from.len() - done) as u64);
        }
        Ok(done)
    }

    /// Makes the file longer with a hole, or cuts it.
    pub(crate) fn set_len(&mut self, new: u64, quota: &mut Quota) -> Result<(), Problem> {
        if new > LEN_MAX {
            return Err(Problem::TooLarge);
        }
        self.own()?;
        let Self::Own { len, pages } = self else {
            return Ok(());
        };
        if new < *len {
            let gone = pages.split_off(&pages_of(new));
            quota.give_back(gone.len() as u64 * PAGE_BYTES);
            let (last, offset) = split(new);
            if let Some(page) = pages.get_mut(&last) {
                page[offset..].fill(0);
            }
        }
        *len = new;
        Ok(())
    }

    /// Takes the space of a range, all of it or nothing.
    pub(crate) fn reserve(&mut self, at: u64, count: u64, quota: &mut Quota) -> Result<(), Problem> {
        let end = at
            .checked_add(count)
            .filter(|end| *end <= LEN_MAX)
            .ok_or(Problem::TooLarge)?;
        self.own()?;
        let Self::Own { len, pages } = self else {
            return Ok(());
        };
        let range = at / PAGE_BYTES..pages_of(end);
        let there = pages.range(range.clone()).count() as u64;
        let missing = range.end.saturating_sub(range.start) - there;
        if missing
            .checked_mul(PAGE_BYTES)
            .is_none_or(|bytes| bytes > quota.free())
        {
            return Err(Problem::DiskFull);
        }
        for number in range {
            page(pages, number, quota)?;
        }
        *len = (*len).max(end);
        Ok(())
    }

    /// Makes the content the instance's own. What a package gave is counted already.
    fn own(&mut self) -> Result<(), Problem> {
        let Self::Shared(bytes) = self else {
            return Ok(());
        };
        let mut pages = BTreeMap::new();
        for (number, piece) in bytes.chunks(PAGE_LEN).enumerate() {
            let mut page: Page = Box::new([0; PAGE_LEN]);
            page[..piece.len()].copy_from_slice(piece);
            pages.insert(number as u64, page);
        }
        *self = Self::Own {
            len: bytes.len() as u64,
            pages,
        };
        Ok(())
    }
}

fn page<'a>(
    pages: &'a mut BTreeMap<u64, Page>,
    number: u64,
    quota: &mut Quota,
) -> Result<&'a mut Page, Problem> {
    match pages.entry(number) {
        std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
        std::collections::btree_map::Entry::Vacant(entry) => {
            quota.take(PAGE_BYTES)?;
            Ok(entry.insert(Box::new([0; PAGE_LEN])))
        }
    }
}

fn split(at: u64) -> (u64, usize) {
    let offset = usize::try_from(at % PAGE_BYTES).expect("a remainder is smaller than a page");
    (at / PAGE_BYTES, offset)
}

const fn pages_of(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::budget::Budget;

    fn quota(pages: u64) -> Quota {
        Quota::new(pages * PAGE_BYTES, Arc::new(Budget::new(u64::MAX)))
    }

    fn all(content: &Content) -> Vec<u8> {
        let mut bytes = vec![0xee; usize::try_from(content.len()).unwrap() + 10];
        let count = content.read(0, &mut bytes);
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn what_is_written_is_read_back_across_pages_and_holes() {
        let mut quota = quota(10);
        let mut content = Content::empty();

        assert_eq!(content.write(4_090, b"0123456789", &mut quota), Ok(10));

        let mut expected = vec![0; 4_090];
        expected.extend_from_slice(b"0123456789");
        assert_eq!(all(&content), expected);
        assert_eq!(quota.free(), 8 * PAGE_BYTES);
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_then_nothing() {
        let mut quota = quota(1);
        let mut content = Content::empty();

        assert_eq!(content.write(0, &[7; 5_000], &mut quota), Ok(4_096));
        assert_eq!(content.len(), 4_096);
        assert_eq!(content.write(4_096, &[7], &mut quota), Err(Problem::DiskFull));
    }

    #[test]
    fn a_file_that_was_cut_shows_nothing_of_before_when_it_grows_again() {
        let mut quota = quota(10);
        let mut content = Content::empty();
        content.write(0, &[7; 9_000], &mut quota).unwrap();

        content.set_len(3, &mut quota).unwrap();
        content.set_len(9_000, &mut quota).unwrap();

        let mut expected = vec![7; 3];
        expected.resize(9_000, 0);
        assert_eq!(all(&content), expected);
        assert_eq!(quota.free(), 9 * PAGE_BYTES);
    }

    #[test]
    fn shared_bytes_are_copied_when_they_are_changed() {
        let mut quota = quota(10);
        let bytes = Bytes::from_static(b"shared");
        let mut content = Content::shared(bytes.clone(), &mut quota).unwrap();

        content.write(0, b"S", &mut quota).unwrap();

        assert_eq!(all(&content), b"Shared");
        assert_eq!(bytes, "shared");
        content.discard(&mut quota);
        assert_eq!(quota.free(), 10 * PAGE_BYTES);
    }

    #[test]
    fn a_reservation_is_whole_or_nothing() {
        let mut quota = quota(4);
        let mut content = Content::empty();

        assert_eq!(
            content.reserve(0, 5 * PAGE_BYTES, &mut quota),
            Err(Problem::DiskFull)
        );
        assert_eq!(content.reserve(0, u64::MAX, &mut quota), Err(Problem::TooLarge));
        assert_eq!(quota.free(), 4 * PAGE_BYTES);
        assert_eq!(content.reserve(0, 4 * PAGE_BYTES, &mut quota), Ok(()));
        assert_eq!(content.len(), 4 * PAGE_BYTES);
    }

    #[test]
    fn a_hole_of_any_size_takes_nothing() {
        let mut quota = quota(1);
        let mut content = Content::empty();

        content.set_len(1 << 40, &mut quota).unwrap();

        assert_eq!(quota.free(), PAGE_BYTES);
        let mut end = [1; 4];
        assert_eq!(content.read((1 << 40) - 2, &mut end), 2);
        assert_eq!(content.read(1 << 41, &mut end), 0);
    }
}
