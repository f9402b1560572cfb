//! Executables on disk: content-checked, bounded, and replaced whole or not at all.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use vulcan_api::{Clock, Code};

/// Names what was compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// Returns the key of a Go program. Every part has its length before it, so that no two programs have the same text.
    pub(super) fn of_go(code: &Code) -> Self {
        let form = match code {
            Code::File { .. } => "file",
            Code::Archive { .. } => "archive",
            Code::Image(_) => "image",
        };
        let mut hash = Sha256::new();
        for part in [
            b"go-1",
            form.as_bytes(),
            code.entrypoint().as_bytes(),
            code.bytes(),
        ] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    fn file_name(self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut name, byte| {
            // Writing to a String cannot fail.
            let _ = write!(name, "{byte:02x}");
            name
        })
    }
}

/// What every file begins with; the digest of the rest follows, and then the rest.
const MAGIC: &[u8; 8] = b"VULCGO1\n";
const HEADER_BYTES: usize = MAGIC.len() + 32;
const TEMPORARY: &str = "tmp";

/// Executables by key, on disk. All methods block.
#[derive(Debug)]
pub(super) struct Cache {
    directory: PathBuf,
    bytes_max: u64,
    clock: Arc<dyn Clock>,
    /// Inode and length of files whose digest this process has checked: reading is enough for them.
    checked: Mutex<HashMap<Key, (u64, u64)>>,
}

impl Cache {
    /// How many checked files are remembered.
    const CHECKED_LEN_MAX: usize = 4096;

    pub(super) fn new(directory: PathBuf, bytes_max: u64, clock: Arc<dyn Clock>) -> Self {
        Self {
            directory,
            bytes_max,
            clock,
            checked: Mutex::default(),
        }
    }

    /// Removes what a former process did not finish.
    pub(super) fn tidy(&self) {
        for (path, _) in self.files() {
            if path.extension().is_some_and(|extension| extension == TEMPORARY) {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Returns an executable; a file that is not what it was is removed, and `None` returned.
    pub(super) fn load(&self, key: Key) -> Option<Bytes> {
        let path = self.directory.join(key.file_name());
        let mut file = File::open(&path).ok()?;
        match self.read(key, &mut file) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cached executable was dropped");
                let _ = fs::remove_file(path);
                None
            }
        }
    }

    fn read(&self, key: Key, file: &mut File) -> io::Result<Bytes> {
        let metadata = file.metadata()?;
        let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        file.read_to_end(&mut content)?;
        let identity = (metadata.ino(), metadata.len());
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.get(&key) != Some(&identity) {
            drop(checked);
            check(&content)?;
            checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
            if checked.len() >= Self::CHECKED_LEN_MAX {
                checked.clear();
            }
            checked.insert(key, identity);
        }
        drop(checked);
        // The time of the last use decides what goes first; without it, a useful file may go.
        let _ = file.set_modified(self.now());
        Ok(Bytes::from(content).slice(HEADER_BYTES..))
    }

    /// Keeps an executable, and removes the least recently used ones beyond the limit.
    pub(super) fn store(&self, key: Key, executable: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let path = self.directory.join(key.file_name());
        let temporary = path.with_extension(TEMPORARY);
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(MAGIC)?;
        file.write_all(&Sha256::digest(executable))?;
        file.write_all(executable)?;
        file.set_modified(self.now())?;
        fs::rename(&temporary, &path)?;
        self.evict(&path);
        Ok(())
    }

    fn evict(&self, newest: &Path) {
        let mut files = self.files();
        files.sort_by_key(|(_, metadata)| metadata.modified().unwrap_or(UNIX_EPOCH));
        let mut sum: u64 = files.iter().map(|(_, metadata)| metadata.len()).sum();
        for (path, metadata) in files {
            if sum <= self.bytes_max {
                return;
            }
            if path != newest && fs::remove_file(&path).is_ok() {
                sum -= metadata.len();
            }
        }
    }

    fn files(&self) -> Vec<(PathBuf, fs::Metadata)> {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
            .collect()
    }

    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(u64::try_from(self.clock.now().as_millis()).unwrap_or(0))
    }
}

fn check(content: &[u8]) -> io::Result<()> {
    let broken = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    let rest = content
        .strip_prefix(MAGIC)
        .ok_or_else(|| broken("it is no cached executable"))?;
    let (digest, executable) = rest
        .split_at_checked(32)
        .ok_or_else(|| broken("it is cut short"))?;
    if Sha256::digest(executable)[..] == *digest {
        Ok(())
    } else {
        Err(broken("its digest is not that of its content"))
    }
}

#[cfg(test)]
mod tests {
    use vulcan_api::{ManualClock, Timestamp};

    use super::*;

    fn key(text: &str) -> Key {
        Key::of_go(&Code::File {
            name: "main.go".to_owned(),
            bytes: Bytes::copy_from_slice(text.as_bytes()),
        })
    }

    fn cache(directory: &Path, bytes_max: u64) -> (Cache, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
        (
            Cache::new(directory.join("go"), bytes_max, Arc::<ManualClock>::clone(&clock)),
            clock,
        )
    }

    #[test]
    fn what_is_stored_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let (cache, _) = cache(directory.path(), 1 << 20);
        assert_eq!(cache.load(key("a")), None);
        cache.store(key("a"), b"elf").unwrap();
        assert_eq!(cache.load(key("a")).as_deref(), Some(&b"elf"[..]));
        assert_eq!(cache.load(key("b")), None);
    }

    #[test]
    fn a_changed_file_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let (first, _) = cache(directory.path(), 1 << 20);
        first.store(key("a"), b"elf").unwrap();
        let path = directory.path().join("go").join(key("a").file_name());
        let mut content = fs::read(&path).unwrap();
        *content.last_mut().unwrap() ^= 1;
        fs::write(&path, content).unwrap();

        assert_eq!(first.load(key("a")), None);
        assert!(!path.exists());
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let directory = tempfile::tempdir().unwrap();
        let (cache, clock) = cache(directory.path(), 2 * (HEADER_BYTES as u64 + 3));
        for name in ["a", "b"] {
            clock.advance_millis(1000);
            cache.store(key(name), b"elf").unwrap();
        }
        clock.advance_millis(1000);
        assert!(cache.load(key("a")).is_some());
        clock.advance_millis(1000);
        cache.store(key("c"), b"elf").unwrap();

        let kept: Vec<bool> = ["a", "b", "c"]
            .iter()
            .map(|name| cache.load(key(name)).is_some())
            .collect();
        assert_eq!(kept, [true, false, true]);
    }

    #[test]
    fn the_form_and_the_entrypoint_are_part_of_the_key() {
        let bytes = Bytes::from_static(b"x");
        let file = Code::File {
            name: "main.go".to_owned(),
            bytes: bytes.clone(),
        };
        let archive = Code::Archive {
            entrypoint: "main.go".to_owned(),
            bytes: bytes.clone(),
        };
        let other = Code::File {
            name: "other.go".to_owned(),
            bytes,
        };
        assert_ne!(Key::of_go(&file), Key::of_go(&archive));
        assert_ne!(Key::of_go(&file), Key::of_go(&other));
    }
}
