//! What is in /dev.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What programs may need; the rest is links and folders.
const NEEDED: [&str; 7] = ["full", "null", "ptmx", "random", "tty", "urandom", "zero"];
const FOLDERS: [&str; 2] = ["/dev", "/dev/net"];

/// Removes devices that a kernel of the guest's own offers and no program needs. Where /dev is somebody else's, and read-only,
/// there are none.
pub(crate) fn remove_needless() {
    for device in FOLDERS.iter().flat_map(|folder| devices_in(Path::new(folder))) {
        let name = device.file_name().and_then(std::ffi::OsStr::to_str);
        if !name.is_some_and(|name| NEEDED.contains(&name)) {
            // One that stays is one of the kernel's that was asked for it: it is closed to all but its owner.
            fs::remove_file(&device).ok();
        }
    }
}

fn devices_in(folder: &Path) -> Vec<PathBuf> {
    use std::os::unix::fs::FileTypeExt as _;

    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_device = |entry: &fs::DirEntry| {
        entry
            .file_type()
            .is_ok_and(|kind| kind.is_char_device() || kind.is_block_device())
    };
    entries.filter(is_device).map(|entry| entry.path()).collect()
}
