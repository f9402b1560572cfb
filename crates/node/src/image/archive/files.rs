//! The files of an archive, unpacked under numbers: their names never reach the disk.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use vulcan_api::Problem;

use crate::image::{
    problem::{disk, invalid, unpacking},
    unpack::{Packed, read_packed},
};

/// The most files of an archive: an image has three and one per layer.
const FILES_LEN_MAX: usize = 10_000;
/// The most bytes of a JSON file in an archive.
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;

/// The files of an archive by their names.
pub(super) struct Files {
    files: HashMap<String, PathBuf>,
    /// Links by their names: former versions of Docker wrote a layer once and linked to it.
    links: HashMap<String, String>,
}

impl Files {
    /// Unpacks an archive, with gzip or without, into an empty folder. Blocks.
    pub(super) fn unpack(archive: &Path, folder: &Path, bytes_max: u64) -> Result<Self, Box<Problem>> {
        let mut files = Self {
            files: HashMap::new(),
            links: HashMap::new(),
        };
        let file = File::open(archive).map_err(|error| disk("read", archive, &error))?;
        let mut packed = read_packed(file).map_err(|error| unpacking("the archive", &error))?;
        let mut left = bytes_max;
        while let Some(entry) = packed.next().map_err(|error| unpacking("the archive", &error))? {
            if files.files.len() + files.links.len() >= FILES_LEN_MAX {
                return Err(invalid(
                    "the archive",
                    format!("it has more than {FILES_LEN_MAX} files"),
                ));
            }
            let Some(name) = tidy(&entry.name) else { continue };
            if let Some(target) = &entry.link {
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                if let Some(target) = tidy(&format!("{folder}/{target}")) {
                    files.links.insert(name, target);
                }
                continue;
            }
            if !entry.is_file {
                continue;
            }
            left = left
                .checked_sub(entry.bytes)
                .ok_or_else(|| invalid("the archive", format!("it has more than {bytes_max} bytes")))?;
            let path = folder.join(files.files.len().to_string());
            copy(&mut packed, entry.bytes, &path)?;
            files.files.insert(name, path);
        }
        Ok(files)
    }

    /// Returns where a file lies now.
    pub(super) fn find(&self, name: &str) -> Option<&Path> {
        let name = tidy(name)?;
        let name = self.links.get(&name).unwrap_or(&name);
        self.files.get(name).map(PathBuf::as_path)
    }

    /// Reads a small file.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, Box<Problem>> {
        let path = self
            .find(name)
            .ok_or_else(|| invalid("the archive", format!("it has no file '{name}'")))?;
        let metadata = fs::metadata(path).map_err(|error| disk("read", path, &error))?;
        if metadata.len() > DOCUMENT_BYTES_MAX {
            return Err(invalid(
                "the archive",
                format!("its file '{name}' has more than {DOCUMENT_BYTES_MAX} bytes"),
            ));
        }
        fs::read(path).map_err(|error| disk("read", path, &error))
    }
}

fn copy(packed: &mut Packed, bytes: u64, path: &Path) -> Result<(), Box<Problem>> {
    let mut file = File::create_new(path).map_err(|error| disk("write", path, &error))?;
    let mut buffer = vec![0; 256 << 10];
    let mut left = bytes;
    while left > 0 {
        let read = packed
            .read(&mut buffer)
            .map_err(|error| invalid("the archive", error))?;
        if read == 0 {
            return Err(invalid("the archive", "it ends inside of a file"));
        }
        io::Write::write_all(&mut file, &buffer[..read]).map_err(|error| disk("write", path, &error))?;
        left = left.saturating_sub(read as u64);
    }
    Ok(())
}

/// Takes the detours out of a name; `None` where it leads out of the archive, or nowhere.
fn tidy(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}
