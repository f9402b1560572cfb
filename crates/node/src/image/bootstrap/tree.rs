//! A folder of unpacked packages, made into a layer: what maintainer scripts would have done, without what an image has no use
//! for, and with times that the packages alone decide.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use crate::image::build::matches_path;

/// The folders that /usr is merged with: links in the lowest layer.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];
/// What mmdebstrap makes and no package has, and what is only for whoever administers a machine.
const REMOVED: [&str; 14] = [
    "dev",
    "etc/apt",
    "etc/dpkg",
    "etc/fstab",
    "etc/hostname",
    "etc/machine-id",
    "etc/resolv.conf",
    "run",
    "tmp",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/log",
    "usr/share/lintian",
];
/// What is there for people who read on the machine itself.
const READING: [&str; 8] = [
    "usr/share/bug",
    "usr/share/doc-base",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/menu",
    "usr/share/groff",
    "usr/share/linda",
];
/// Folders that every program may expect, with their modes.
const FOLDERS: [(&str, u32); 16] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("run/lock", 0o1777),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr/local/bin", 0o755),
    ("usr/local/lib", 0o755),
    ("usr/local/sbin", 0o755),
    ("var/cache", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
    ("work", 0o1777),
];
/// Files that maintainer scripts would have written. Names are resolved without a server; users are few.
const FILES: [(&str, &str); 6] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\nvulcan:x:1000:1000:vulcan:/home/vulcan:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    (
        "etc/group",
        "root:x:0:\ndaemon:x:1:\nadm:x:4:\ntty:x:5:\nwww-data:x:33:\nstaff:x:50:\nusers:x:100:\nvulcan:x:1000:\nnogroup:x:65534:\n",
    ),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n",
    ),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"),
    ("etc/resolv.conf", ""),
    ("etc/hostname", "vulcan\n"),
];
/// Links that maintainer scripts would have made.
const LINKS: [(&str, &str, &str); 4] = [
    ("usr/bin/awk", "mawk", "usr/bin/mawk"),
    ("usr/bin/which", "which.debianutils", "usr/bin/which.debianutils"),
    (
        "etc/localtime",
        "/usr/share/zoneinfo/Etc/UTC",
        "usr/share/zoneinfo/Etc/UTC",
    ),
    ("usr/bin/nawk", "mawk", "usr/bin/mawk"),
];
const CERTIFICATES: &str = "usr/share/ca-certificates/mozilla";
const CERTIFICATES_FILE: &str = "etc/ssl/certs/ca-certificates.crt";
/// The user that an image of ours has beside root.
const USER: u32 = 1000;

/// Where a layer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::image) enum Place {
    /// On nothing: it has everything that a root needs.
    Lowest,
    /// On a layer that has that.
    Upper,
}

/// Cleans a tree that only its packages have been unpacked into, and completes it. `removed` are patterns of paths that go as
/// well; what of them is not there is no error.
///
/// # Errors
///
/// When the disk cannot be read or written.
pub(in crate::image) fn clean(tree: &Path, removed: &[&str], place: Place, status: &str) -> io::Result<()> {
    for path in REMOVED.iter().chain(&READING) {
        remove(&tree.join(path))?;
    }
    remove_matching(tree, removed)?;
    keep_copyright(&tree.join("usr/share/doc"))?;
    match place {
        Place::Lowest => complete(tree)?,
        Place::Upper => {
            for link in MERGED {
                remove(&tree.join(link))?;
                remove_empty(&tree.join("usr").join(link))?;
            }
        }
    }
    let dpkg = tree.join("var/lib/dpkg");
    fs::create_dir_all(&dpkg)?;
    fs::write(dpkg.join("status"), status)?;
    for folder in [tree, &tree.join("var"), &tree.join("var/lib"), &dpkg] {
        fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    }
    fs::set_permissions(dpkg.join("status"), Permissions::from_mode(0o644))
}

/// Removes what matches one of some patterns.
fn remove_matching(tree: &Path, patterns: &[&str]) -> io::Result<()> {
    if patterns.is_empty() {
        return Ok(());
    }
    let mut matching = Vec::new();
    walk(tree, &mut |path, _| {
        let inside = path.strip_prefix(tree).unwrap_or(path).to_string_lossy();
        if patterns.iter().any(|pattern| matches_path(pattern, &inside)) {
            matching.push(path.to_owned());
        }
        Ok(())
    })?;
    // What is in a folder that matches comes before it.
    matching.iter().try_for_each(|path| remove(path))
}

/// Does what maintainer scripts of the lowest packages would have done.
fn complete(tree: &Path) -> io::Result<()> {
    for (path, mode) in FOLDERS {
        let path = tree.join(path);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    for (path, text) in FILES {
        let path = tree.join(path);
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(0o644))?;
    }
    for (link, to, needs) in LINKS {
        let link = tree.join(link);
        if fs::symlink_metadata(tree.join(needs)).is_ok() && fs::symlink_metadata(&link).is_err() {
            symlink(to, link)?;
        }
    }
    let home = tree.join("home/vulcan");
    fs::create_dir_all(&home)?;
    fs::set_permissions(&home, Permissions::from_mode(0o755))?;
    chown(&home, Some(USER), Some(USER))?;
    gather_certificates(tree)
}

/// Writes the file of all certificates, as update-ca-certificates(8) does.
fn gather_certificates(tree: &Path) -> io::Result<()> {
    let mut files = entries(&tree.join(CERTIFICATES))?;
    files.retain(|file| file.extension() == Some(OsStr::new("crt")));
    if files.is_empty() {
        return Ok(());
    }
    let mut all = Vec::new();
    for file in files {
        let text = fs::read(file)?;
        all.extend_from_slice(text.trim_ascii_end());
        all.push(b'\n');
    }
    let file = tree.join(CERTIFICATES_FILE);
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&file, all)?;
    fs::set_permissions(&file, Permissions::from_mode(0o644))
}

/// Keeps of a package's documents what must go along with its files: the licence. Links between packages' folders stay.
fn keep_copyright(documents: &Path) -> io::Result<()> {
    for package in entries(documents)? {
        if !fs::symlink_metadata(&package)?.is_dir() {
            continue;
        }
        for file in entries(&package)? {
            if file.file_name() != Some(OsStr::new("copyright")) {
                remove(&file)?;
            }
        }
        remove_empty(&package)?;
    }
    Ok(())
}

/// Sets the time of everything that is newer than `made`, when the folder was begun, to that of the newest thing that is not:
/// what is left are times of the packages. Returns that time, in seconds.
///
/// # Errors
///
/// When the disk cannot be read or written.
pub(in crate::image) fn settle_times(tree: &Path, made: i64) -> io::Result<i64> {
    let mut newest = 0;
    walk(tree, &mut |_, found| {
        // A folder's time changes with what happens in it.
        if !found.is_dir() && found.mtime() < made {
            newest = newest.max(found.mtime());
        }
        Ok(())
    })?;
    walk(tree, &mut |path, found| {
        let is_ours = found.is_dir() || found.mtime() >= made;
        let time = Timespec {
            tv_sec: if is_ours { newest } else { found.mtime() },
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        Ok(rustix::fs::utimensat(
            CWD,
            path,
            &times,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    })?;
    Ok(newest)
}

/// Visits everything below a folder, the deepest first, the folder itself last, in the order of names.
fn walk(folder: &Path, visit: &mut dyn FnMut(&Path, &fs::Metadata) -> io::Result<()>) -> io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    if found.is_dir() {
        for entry in entries(folder)? {
            walk(&entry, visit)?;
        }
    }
    visit(folder, &found)
}

/// Returns what is in a folder, by name; nothing where there is no folder.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let read = match fs::read_dir(folder) {
        Ok(read) => read,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut entries = read
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
}

fn remove(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        Err(error) => return Err(error),
    };
    if found.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

fn remove_empty(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error)
            if !matches!(
                error.kind(),
                ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound | ErrorKind::NotADirectory
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(tree: &Path, path: &str, text: &str, mtime: i64) {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let time = Timespec {
            tv_sec: mtime,
            tv_nsec: 5,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
    }

    #[test]
    fn an_upper_layer_has_its_packages_and_the_status_only() {
        let tree = tempfile::tempdir().unwrap();
        let tree = tree.path();
        for link in MERGED {
            fs::create_dir_all(tree.join("usr").join(link)).unwrap();
            symlink(format!("usr/{link}"), tree.join(link)).unwrap();
        }
        write(tree, "usr/bin/jq", "jq", 1000);
        write(tree, "usr/share/doc/jq/copyright", "free", 900);
        write(tree, "usr/share/doc/jq/README", "long", 900);
        write(tree, "var/lib/apt/lists/lock", "", 1);
        write(tree, "usr/share/man/man1/jq.1", "", 900);

        write(tree, "usr/share/jq/src/deep/testdata/x", "", 900);
        write(tree, "usr/share/jq/src/deep/a_test.go", "", 900);

        clean(
            tree,
            &[
                "usr/share/nothing",
                "usr/share/*/src/**/testdata",
                "usr/share/*/src/**/*_test.go",
            ],
            Place::Upper,
            "Package: jq\n",
        )
        .unwrap();

        let mut found = Vec::new();
        walk(tree, &mut |path, found_now| {
            if !found_now.is_dir() {
                found.push(path.strip_prefix(tree).unwrap().to_str().unwrap().to_owned());
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(
            found,
            ["usr/bin/jq", "usr/share/doc/jq/copyright", "var/lib/dpkg/status"]
        );
        assert!(!tree.join("usr/sbin").exists());
    }

    #[test]
    fn times_are_those_of_the_packages() {
        let tree = tempfile::tempdir().unwrap();
        let tree = tree.path();
        write(tree, "old", "", 1000);
        write(tree, "newest", "", 2000);
        write(tree, "made/here", "", 9000);
        symlink("old", tree.join("link")).unwrap();

        assert_eq!(settle_times(tree, 5000).unwrap(), 2000);

        let time = |path: &str| {
            let found = fs::symlink_metadata(tree.join(path)).unwrap();
            (found.mtime(), found.mtime_nsec())
        };
        assert_eq!(
            ["old", "newest", "made/here", "made", "link", ""].map(time),
            [(1000, 0), (2000, 0), (2000, 0), (2000, 0), (2000, 0), (2000, 0)]
        );
    }
}
