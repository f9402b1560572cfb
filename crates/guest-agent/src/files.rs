//! Files that the host reads and writes.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags},
    process::{Gid, Uid},
};
use vulcan_guest_protocol::{DATA_BYTES_MAX, GuestFrame, ReadFile, Refusal, WriteFile};

use crate::{places::Places, refusal};

/// A file on its way to the host.
#[derive(Debug)]
pub(crate) struct Reading {
    path: String,
    file: File,
    room: u64,
}

impl Reading {
    /// Opens a regular file; anything else could block the agent.
    pub(crate) fn open(request: ReadFile) -> Result<Self, Refusal> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = open_regular(&request.path, flags, Mode::empty())?;
        let size = file
            .metadata()
            .map_err(|error| refusal::io(format_args!("read {}", request.path), &error))?
            .len();
        if size > request.bytes_max {
            return Err(too_large(&request.path, request.bytes_max));
        }
        Ok(Self {
            path: request.path,
            file,
            room: request.bytes_max,
        })
    }

    /// Returns the next frame; [`GuestFrame::Done`] and [`GuestFrame::Refused`] are the last.
    pub(crate) fn next_frame(&mut self) -> GuestFrame {
        let mut data = vec![0; DATA_BYTES_MAX];
        match self.file.read(&mut data) {
            Ok(0) => GuestFrame::Done,
            // A file may grow while it is read, and files of /proc have no size.
            Ok(count) if count as u64 > self.room => GuestFrame::Refused(too_large(&self.path, self.room)),
            Ok(count) => {
                self.room -= count as u64;
                data.truncate(count);
                GuestFrame::FileData(data)
            }
            Err(error) => GuestFrame::Refused(refusal::io(format_args!("read {}", self.path), &error)),
        }
    }
}

/// A file on its way from the host.
#[derive(Debug)]
pub(crate) struct Writing {
    path: String,
    file: File,
    missing: u64,
}

impl Writing {
    /// Opens the file; one that is made now is the code's.
    pub(crate) fn open(request: WriteFile, places: &Places) -> Result<Self, Refusal> {
        let is_new = !Path::new(&request.path).exists();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(request.mode & 0o777);
        let file = open_regular(&request.path, flags, mode)?;
        // An existing file keeps its mode at open; and it is cut only now that it is known to be a file.
        let owner = places.code.as_ref().filter(|_| is_new);
        let owner = owner.map(|code| (Uid::from_raw(code.uid), Gid::from_raw(code.gid)));
        rustix::fs::ftruncate(&file, 0)
            .and_then(|()| rustix::fs::fchmod(&file, mode))
            .and_then(|()| match owner {
                Some((uid, gid)) => rustix::fs::fchown(&file, Some(uid), Some(gid)),
                None => Ok(()),
            })
            .map_err(|error| refusal::io(format_args!("write {}", request.path), &error.into()))?;
        Ok(Self {
            path: request.path,
            file,
            missing: request.bytes,
        })
    }

    /// Takes the next bytes.
    pub(crate) fn take(&mut self, data: &[u8]) -> Result<(), Refusal> {
        self.missing = self
            .missing
            .checked_sub(data.len() as u64)
            .ok_or_else(|| refusal::invalid(format!("more bytes for {} than were announced", self.path)))?;
        self.file
            .write_all(data)
            .map_err(|error| refusal::io(format_args!("write {}", self.path), &error))
    }

    pub(crate) const fn is_complete(&self) -> bool {
        self.missing == 0
    }
}

fn open_regular(path: &str, flags: OFlags, mode: Mode) -> Result<File, Refusal> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(refusal::invalid(format!("'{path}' is not an absolute path")));
    }
    let fd: OwnedFd = rustix::fs::open(path, flags, mode)
        .map_err(|error| refusal::io(format_args!("open {path}"), &error.into()))?;
    let file = File::from(fd);
    let metadata = file
        .metadata()
        .map_err(|error| refusal::io(format_args!("open {path}"), &error))?;
    if metadata.is_file() {
        Ok(file)
    } else {
        Err(refusal::invalid(format!("{path} is not a regular file")))
    }
}

fn too_large(path: &str, bytes_max: u64) -> Refusal {
    refusal::too_large(format!("{path} is longer than {bytes_max} bytes"))
}
