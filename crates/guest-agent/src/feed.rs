//! What is on its way into a program: standard input, or the jobs of a resident interpreter.

use std::os::fd::OwnedFd;

use crate::limits::STDIN_BYTES_MAX;

/// The writing end of a pipe or socket, and what waits for it.
#[derive(Debug)]
pub(crate) struct Feed {
    fd: OwnedFd,
    waiting: Vec<u8>,
    written: usize,
    /// What is still to come from the host; `None` when only its end tells.
    missing: Option<u64>,
    at_end: AtEnd,
}

/// What becomes of the descriptor behind the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtEnd {
    /// It is closed, which the program sees.
    Close,
    /// It stays for more.
    Stay,
}

/// Whether a feed is of further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fed {
    /// It may take more.
    Open,
    /// Everything was written that ever comes, or the program reads no more.
    Over,
}

impl Feed {
    pub(crate) const fn new(fd: OwnedFd, missing: Option<u64>, at_end: AtEnd) -> Self {
        Self {
            fd,
            waiting: Vec::new(),
            written: 0,
            missing,
            at_end,
        }
    }

    /// Returns the descriptor where something waits for it.
    pub(crate) fn to_poll(&self) -> Option<&OwnedFd> {
        (!self.waiting.is_empty()).then_some(&self.fd)
    }

    /// Returns whether the host must wait until the program has read. Announced bytes are held whole instead.
    pub(crate) const fn holds_host_up(&self) -> bool {
        self.missing.is_none() && self.waiting.len() > STDIN_BYTES_MAX
    }

    /// Begins the next message: these bytes, and then so many of the host's.
    pub(crate) fn begin(&mut self, head: &[u8], missing: u64) {
        self.waiting.extend_from_slice(head);
        self.missing = Some(missing);
    }

    /// Takes bytes of the host; what is beyond the announced length is nobody's.
    pub(crate) fn take(&mut self, data: &[u8]) {
        let length = match &mut self.missing {
            None => data.len(),
            Some(missing) => {
                let length = usize::try_from(*missing).unwrap_or(usize::MAX).min(data.len());
                *missing -= length as u64;
                length
            }
        };
        self.waiting.extend_from_slice(&data[..length]);
    }

    /// Marks what was taken as all.
    pub(crate) const fn end(&mut self) {
        self.missing = Some(0);
    }

    /// Writes as much as the program takes. A message whose rest is still to come waits for it where it is short.
    pub(crate) fn write(&mut self) -> Fed {
        while self.written < self.waiting.len() {
            match rustix::io::write(&self.fd, &self.waiting[self.written..]) {
                Ok(count) => self.written += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    if self.written > STDIN_BYTES_MAX / 2 {
                        self.waiting.drain(..self.written);
                        self.written = 0;
                    }
                    return Fed::Open;
                }
                // The program does not want to read any more.
                Err(_) => return Fed::Over,
            }
        }
        self.waiting.clear();
        self.written = 0;
        if self.missing == Some(0) && self.at_end == AtEnd::Close {
            Fed::Over
        } else {
            Fed::Open
        }
    }
}
