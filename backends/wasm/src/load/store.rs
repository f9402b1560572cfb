//! Compiled modules on disk, by the digest of the module and the configuration of the engine.
//!
//! They are native code that the server runs: each carries a code of authenticity (HMAC-SHA-256, RFC 2104) under a key that
//! only this folder holds, and one that does not match is removed and compiled again.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wasmtime::Engine;

/// The digest of a module.
pub(super) type Digest = [u8; 32];

const MAGIC: &[u8; 8] = b"vulcwasm";
const CODE_BYTES: usize = 32;
const HEAD_BYTES: usize = MAGIC.len() + CODE_BYTES;
const KEY_FILE: &str = "key";
const KEY_BYTES: usize = 32;
const EXTENSION: &str = "cwasm";
/// A file that was begun and not finished.
const EXTENSION_BEGUN: &str = "begun";
/// More than any artefact is: what is longer is none of ours.
const ARTEFACT_BYTES_MAX: u64 = 1 << 30;

/// A folder of compiled modules.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    /// What the engine's artefacts depend on beside the module.
    configuration: u64,
    bytes_max: u64,
}

impl Store {
    /// Opens a folder, and makes it and its key where they are not there.
    ///
    /// # Errors
    ///
    /// When it cannot be made, read or written.
    pub(super) fn open(folder: &Path, bytes_max: u64, engine: &Engine) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            key: key(&folder.join(KEY_FILE))?,
            configuration: hasher.finish(),
            folder: folder.to_owned(),
            bytes_max,
        })
    }

    /// Returns a compiled module that this folder's owner wrote; anything else is removed.
    pub(super) fn get(&self, digest: &Digest) -> Option<Vec<u8>> {
        let path = self.path(digest);
        match self.read(&path, digest) {
            Ok(artefact) => {
                // Only for the order in which they go.
                let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH + now()));
                Some(artefact)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), error = %error, "compiled module refused");
                self.remove(digest);
                None
            }
        }
    }

    /// Removes a compiled module.
    pub(super) fn remove(&self, digest: &Digest) {
        let _ = fs::remove_file(self.path(digest));
    }

    /// Keeps a compiled module. One that cannot be kept is compiled again some time: no error.
    pub(super) fn put(&self, digest: &Digest, artefact: &[u8]) {
        let path = self.path(digest);
        let bytes = artefact.len() as u64 + HEAD_BYTES as u64;
        if bytes > self.bytes_max {
            return;
        }
        self.make_room(bytes);
        if let Err(error) = self.write(&path, digest, artefact) {
            tracing::warn!(path = %path.display(), error = %error, "compiled module not kept");
        }
    }

    fn read(&self, path: &Path, digest: &Digest) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        if len < HEAD_BYTES as u64 || len > ARTEFACT_BYTES_MAX {
            return Err(io::Error::other(format!("it has {len} bytes")));
        }
        let mut head = [0; HEAD_BYTES];
        file.read_exact(&mut head)?;
        let mut artefact = Vec::new();
        file.take(ARTEFACT_BYTES_MAX).read_to_end(&mut artefact)?;
        let (magic, code) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(io::Error::other("it is of another kind"));
        }
        self.code(digest, &artefact)
            .verify_slice(code)
            .map_err(|_| io::Error::other("it was changed, or written by somebody else"))?;
        Ok(artefact)
    }

    fn write(&self, path: &Path, digest: &Digest, artefact: &[u8]) -> io::Result<()> {
        let begun = path.with_extension(EXTENSION_BEGUN);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&begun)?;
        file.write_all(MAGIC)?;
        file.write_all(&self.code(digest, artefact).finalize().into_bytes())?;
        file.write_all(artefact)?;
        fs::rename(&begun, path)
    }

    fn code(&self, digest: &Digest, artefact: &[u8]) -> Hmac<Sha256> {
        let mut code = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        code.update(digest);
        code.update(&self.configuration.to_le_bytes());
        code.update(artefact);
        code
    }

    /// Removes what was used longest ago until there is room, and whatever was never finished.
    fn make_room(&self, bytes: u64) {
        let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(metadata) = entry.metadata() else { continue };
            let extension = path.extension().and_then(|extension| extension.to_str());
            match extension {
                Some(EXTENSION) => kept.push((
                    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                    metadata.len(),
                    path,
                )),
                Some(EXTENSION_BEGUN) => drop(fs::remove_file(&path)),
                _ => {}
            }
        }
        kept.sort();
        let mut total: u64 = kept.iter().map(|(_, len, _)| len).sum();
        for (_, len, path) in kept {
            if total + bytes <= self.bytes_max {
                return;
            }
            let _ = fs::remove_file(path);
            total -= len;
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder
            .join(format!("{digest}-{:016x}.{EXTENSION}", self.configuration))
    }
}

/// Reads the folder's key, or makes one.
fn key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut key));
    match read {
        Ok(()) => return Ok(key),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
            ) => {}
        Err(error) => return Err(error),
    }
    let count = rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())?;
    if count != KEY_BYTES {
        return Err(io::Error::other("the host gave too few random bytes"));
    }
    let begun = path.with_extension(EXTENSION_BEGUN);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&begun)?.write_all(&key)?;
    fs::rename(&begun, path)?;
    Ok(key)
}

fn now() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    std::time::Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: Digest = [7; 32];

    fn store(folder: &Path, bytes_max: u64) -> Store {
        Store::open(folder, bytes_max, &Engine::default()).unwrap()
    }

    #[test]
    fn what_was_kept_is_found_by_the_next_server() {
        let folder = tempfile::tempdir().unwrap();
        store(folder.path(), 1_000).put(&DIGEST, b"artefact");

        assert_eq!(store(folder.path(), 1_000).get(&DIGEST).unwrap(), b"artefact");
        assert_eq!(store(folder.path(), 1_000).get(&[8; 32]), None);
    }

    #[test]
    fn nobody_else_may_look_into_it() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("wasm");
        let store = store(&inner, 1_000);
        store.put(&DIGEST, b"artefact");

        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&inner), 0o700);
        assert_eq!(mode(&store.path(&DIGEST)), 0o600);
        assert_eq!(mode(&inner.join(KEY_FILE)), 0o600);
    }

    #[test]
    fn an_artefact_that_was_changed_cut_or_moved_is_refused_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), 1_000);
        let path = store.path(&DIGEST);
        type Change = fn(&mut Vec<u8>);
        let changes: [Change; 4] = [
            |bytes| *bytes.last_mut().unwrap() ^= 1,
            |bytes| bytes[10] ^= 1,
            |bytes| bytes.truncate(45),
            Vec::clear,
        ];
        for change in changes {
            store.put(&DIGEST, b"artefact");
            let mut bytes = fs::read(&path).unwrap();
            change(&mut bytes);
            fs::write(&path, bytes).unwrap();

            assert_eq!(store.get(&DIGEST), None);
            assert!(!path.exists());
        }

        store.put(&DIGEST, b"artefact");
        fs::rename(&path, store.path(&[8; 32])).unwrap();
        assert_eq!(store.get(&[8; 32]), None);
    }

    #[test]
    fn an_artefact_under_another_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        store(folder.path(), 1_000).put(&DIGEST, b"artefact");
        fs::write(folder.path().join(KEY_FILE), [0; KEY_BYTES]).unwrap();

        assert_eq!(store(folder.path(), 1_000).get(&DIGEST), None);
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), 3 * 140);
        for (number, hour) in [(1, 3), (2, 1), (3, 2)] {
            store.put(&[number; 32], &[0; 100]);
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(hour * 3_600);
            File::open(store.path(&[number; 32]))
                .unwrap()
                .set_modified(time)
                .unwrap();
        }
        fs::write(folder.path().join("x.begun"), b"half").unwrap();

        store.put(&[4; 32], &[0; 100]);

        let there: Vec<bool> = (1..=4).map(|number| store.path(&[number; 32]).exists()).collect();
        assert_eq!(there, [true, false, true, true]);
        assert!(!folder.path().join("x.begun").exists());
    }
}
