//! The file of one log, from its writer's side.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use super::format::{HEADER, RECORD_BYTES_MAX};

/// A file that grows by whole records; it exists once something was appended.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: Option<File>,
    len: u64,
}

impl LogFile {
    /// Makes a log without a file.
    pub(super) const fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            len: 0,
        }
    }

    /// Goes on with a log that a former assignment of the same workload began, if there is one.
    pub(super) fn resume(path: PathBuf) -> io::Result<Self> {
        let mut log = Self::new(path);
        match fs::metadata(&log.path) {
            Ok(_) => log.open()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(log)
    }

    /// Returns how long the file is; it always ends with a whole record.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether appending makes no file.
    pub(super) const fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Appends whole records. After an error the file is as long as it was.
    pub(super) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.open()?;
        }
        let file = self.file.as_mut().expect("it was opened above");
        match file.write_all(records) {
            Ok(()) => {
                self.len += records.len() as u64;
                Ok(())
            }
            Err(error) => {
                // A half record would be read as garbage. If even this fails, readers still end at `len`.
                let _ = file.set_len(self.len);
                Err(error)
            }
        }
    }

    fn open(&mut self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = match options.open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The folders are made when they are first needed; there are at most 1,024 of them.
                fs::create_dir_all(self.path.parent().unwrap_or(&self.path))?;
                options.open(&self.path)?
            }
            opened => opened?,
        };
        let len = file.metadata()?.len();
        self.len = whole_len(&mut file, len)?;
        if self.len < len {
            file.set_len(self.len)?;
        }
        if self.len == 0 {
            file.write_all(HEADER)?;
            self.len = HEADER.len() as u64;
        }
        self.file = Some(file);
        Ok(())
    }
}

/// Returns where the last whole record of a file ends; a process that was killed may have left a part of one.
fn whole_len(file: &mut File, len: u64) -> io::Result<u64> {
    if len == 0 {
        return Ok(0);
    }
    let from = len.saturating_sub(RECORD_BYTES_MAX as u64);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(RECORD_BYTES_MAX as u64).read_to_end(&mut tail)?;
    let end = tail
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| from + at as u64 + 1);
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_goes_on_after_the_last_whole_record() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ab/wl.log");
        let mut first = LogFile::new(path.clone());
        first.append(b"[1]\n").unwrap();
        let len = first.len();
        fs::write(&path, [&fs::read(&path).unwrap()[..], b"[2"].concat()).unwrap();

        let mut second = LogFile::resume(path.clone()).unwrap();

        assert_eq!(second.len(), len);
        second.append(b"[3]\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"vulcan-log 1\n[1]\n[3]\n");
    }

    #[test]
    fn a_log_without_a_byte_has_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let log = LogFile::resume(directory.path().join("ab/wl.log")).unwrap();
        assert_eq!(log.len(), 0);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
