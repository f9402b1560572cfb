//! The stream to the host: frames in, frames out, never blocking.

use std::{io, os::fd::OwnedFd};

use vulcan_guest_protocol::{Direction, FromHost, GuestFrame, HostFrame, ProtocolError};

use crate::limits::{OUT_BYTES_MAX, OUT_BYTES_STOP};

const READ_BYTES: usize = 64 * 1024;

/// Why the agent ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The stream cannot be used.
    #[error("the stream to the host failed: {0}")]
    Stream(#[from] io::Error),
    /// The host is no host.
    #[error("the host broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    /// The first frame was no hello.
    #[error("the host did not begin with a hello")]
    NoHello,
}

/// The stream, and what waits on either side of it.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: OwnedFd,
    incoming: FromHost,
    outgoing: Vec<u8>,
    sent: usize,
    buffer: Box<[u8]>,
}

impl Connection {
    pub(crate) fn new(stream: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&stream, true)?;
        Ok(Self {
            stream,
            incoming: FromHost::default(),
            outgoing: Vec::new(),
            sent: 0,
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
        })
    }

    pub(crate) const fn stream(&self) -> &OwnedFd {
        &self.stream
    }

    /// Takes what has arrived; returns whether more may come.
    pub(crate) fn receive(&mut self) -> Result<bool, Error> {
        match rustix::io::read(&self.stream, &mut self.buffer[..]) {
            Ok(0) | Err(rustix::io::Errno::CONNRESET) => Ok(false),
            Ok(count) => {
                self.incoming.push(&self.buffer[..count]);
                Ok(true)
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    pub(crate) fn next_frame(&mut self) -> Result<Option<(u32, HostFrame)>, Error> {
        Ok(self.incoming.next_frame()?)
    }

    /// Queues a frame.
    pub(crate) fn send(&mut self, channel: u32, frame: &GuestFrame) -> Result<(), Error> {
        Ok(frame.encode(channel, &mut self.outgoing)?)
    }

    /// Writes as much as the host takes; returns whether the host is still there.
    pub(crate) fn flush(&mut self) -> Result<bool, Error> {
        while self.sent < self.outgoing.len() {
            match rustix::io::write(&self.stream, &self.outgoing[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => return Ok(false),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        if self.sent == self.outgoing.len() {
            self.outgoing.clear();
            self.sent = 0;
        } else if self.sent > OUT_BYTES_MAX / 2 {
            self.outgoing.drain(..self.sent);
            self.sent = 0;
        }
        Ok(true)
    }

    fn waiting_bytes(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting_bytes() > 0
    }

    /// Returns whether programs may say more.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting_bytes() < OUT_BYTES_MAX
    }

    /// Returns whether the host may ask for more.
    pub(crate) fn takes_requests(&self) -> bool {
        self.waiting_bytes() < OUT_BYTES_STOP
    }
}
