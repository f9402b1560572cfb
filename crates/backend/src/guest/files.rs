//! The answers to requests on files.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use vulcan_guest_protocol::GuestFrame;

use super::channels::Channel;
use crate::BackendError;

/// How long a file may take to be moved.
const FILE_DEADLINE: Duration = Duration::from_secs(60);

/// Why no file came.
#[derive(Debug)]
pub(super) enum Failure {
    /// The guest broke the protocol; the conversation must end.
    Protocol(String),
    /// Anything else.
    Error(BackendError),
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        Self::Error(error)
    }
}

pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(FILE_DEADLINE, answer)
        .await
        .unwrap_or(Err(Failure::Error(BackendError::Deadline {
            step: "moving a file",
            limit: FILE_DEADLINE,
        })))
}

pub(super) async fn read(mut channel: Channel, bytes_max: usize) -> Result<Bytes, Failure> {
    let mut bytes = BytesMut::new();
    loop {
        match channel.next().await? {
            GuestFrame::FileData(data) if bytes.len() + data.len() <= bytes_max => {
                bytes.extend_from_slice(&data);
            }
            GuestFrame::FileData(_) => {
                return Err(Failure::Protocol(format!(
                    "a file of more than the {bytes_max} bytes that were asked for"
                )));
            }
            GuestFrame::Done => return Ok(bytes.freeze()),
            other => return Err(refused(other)),
        }
    }
}

pub(super) async fn written(mut channel: Channel) -> Result<(), Failure> {
    match channel.next().await? {
        GuestFrame::Done => Ok(()),
        other => Err(refused(other)),
    }
}

fn refused(frame: GuestFrame) -> Failure {
    match frame {
        GuestFrame::Refused(refusal) => Failure::Error(BackendError::Refused {
            code: refusal.code,
            message: super::outcome::capped(refusal.message, super::outcome::MESSAGE_BYTES_MAX),
        }),
        GuestFrame::Welcome(_)
        | GuestFrame::Started
        | GuestFrame::Stdout(_)
        | GuestFrame::Stderr(_)
        | GuestFrame::System(_)
        | GuestFrame::Output(_)
        | GuestFrame::Exited(_)
        | GuestFrame::FileData(_)
        | GuestFrame::Done => Failure::Protocol("a frame that answers no request on a file".into()),
    }
}
