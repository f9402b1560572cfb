//! One process per data directory.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use crate::Error;

/// The right to a data directory; given back when it is dropped, and by the kernel when the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes `node.lock` in a directory, and writes this process's id into it.
    pub(crate) fn take(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("node.lock");
        let failed = |source: io::Error| Error::Directory {
            action: "lock",
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Error::Owned {
                    directory: directory.to_owned(),
                    pid: owner(&mut file),
                });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn owner(file: &mut File) -> String {
    // A process id has at most 7 digits (kernel: PID_MAX_LIMIT, 2²²).
    let mut text = String::new();
    match file.take(16).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}
