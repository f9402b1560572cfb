//! The byte layout: a header of 12 bytes, little-endian, and a payload.
//!
//! ```text
//! 0        4         8      9        12            12 + length
//! │ length │ channel │ kind │ 0 0 0 │ payload … │
//! ```
//!
//! Structured payloads are JSON, so that a guest in any language can speak; bulk payloads are raw bytes.

use serde::{Serialize, de::DeserializeOwned};

use crate::frames::{GuestFrame, HostFrame};

/// The length of a header.
pub const HEADER_BYTES: usize = 12;
/// The longest payload that is accepted; a longer one ends the conversation.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

/// Says how the other side broke the protocol; the conversation cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// A payload is longer than [`PAYLOAD_BYTES_MAX`].
    #[error("a frame announces {length} bytes; the most is {PAYLOAD_BYTES_MAX}")]
    PayloadTooLong {
        /// What the header announced.
        length: u64,
    },
    /// A kind of frame that this side does not take.
    #[error("a frame of the unknown kind {kind}")]
    UnknownKind {
        /// The number in the header.
        kind: u8,
    },
    /// Reserved bytes of the header are not zero.
    #[error("the reserved bytes of a header are not zero")]
    ReservedBytes,
    /// A structured payload cannot be read.
    #[error("a frame of kind {kind} has a payload that cannot be read")]
    Payload {
        /// The number in the header.
        kind: u8,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Both sides speak generations that do not meet.
    #[error("no common protocol generation: they speak {} to {}", theirs.0, theirs.1)]
    NoCommonGeneration {
        /// The oldest and newest generation of the other side.
        theirs: (u16, u16),
    },
}

impl PartialEq for ProtocolError {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

/// One direction of the conversation: which frames exist, and their kinds.
pub trait Direction: Sized {
    /// Appends header and payload to `bytes`.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::PayloadTooLong`] when the frame does not fit; `bytes` is then as it was.
    fn encode(&self, channel: u32, bytes: &mut Vec<u8>) -> Result<(), ProtocolError>;

    /// Reads a frame from its kind and payload.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::UnknownKind`] and [`ProtocolError::Payload`].
    fn decode(kind: u8, payload: &[u8]) -> Result<Self, ProtocolError>;
}

/// A decoder of what a host sends.
pub type FromHost = Decoder<HostFrame>;
/// A decoder of what a guest sends.
pub type FromGuest = Decoder<GuestFrame>;

/// Cuts a byte stream into frames.
///
/// Holds at most one incomplete frame and what was read behind it.
#[derive(Debug)]
pub struct Decoder<F> {
    bytes: Vec<u8>,
    start: usize,
    frames: std::marker::PhantomData<F>,
}

impl<F> Default for Decoder<F> {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            frames: std::marker::PhantomData,
        }
    }
}

impl<F: Direction> Decoder<F> {
    /// Takes bytes as they arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next whole frame and its channel, or `None` until more bytes arrive.
    ///
    /// # Errors
    ///
    /// Any [`ProtocolError`]; the stream cannot be trusted after one.
    pub fn next_frame(&mut self) -> Result<Option<(u32, F)>, ProtocolError> {
        let rest = &self.bytes[self.start..];
        let Some((header, rest)) = rest.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let [l0, l1, l2, l3, c0, c1, c2, c3, kind, reserved @ ..] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let length_bytes = length as usize;
        if length_bytes > PAYLOAD_BYTES_MAX {
            return Err(ProtocolError::PayloadTooLong {
                length: length.into(),
            });
        }
        if reserved != [0; 3] {
            return Err(ProtocolError::ReservedBytes);
        }
        let Some(payload) = rest.get(..length_bytes) else {
            return Ok(None);
        };
        let frame = F::decode(kind, payload)?;
        self.start += HEADER_BYTES + length_bytes;
        Ok(Some((u32::from_le_bytes([c0, c1, c2, c3]), frame)))
    }

    /// Returns how many bytes are held.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.bytes.len() - self.start
    }
}

fn header(kind: u8, channel: u32, payload_bytes: usize) -> Result<[u8; HEADER_BYTES], ProtocolError> {
    let length = u32::try_from(payload_bytes)
        .ok()
        .filter(|_| payload_bytes <= PAYLOAD_BYTES_MAX)
        .ok_or(ProtocolError::PayloadTooLong {
            length: payload_bytes as u64,
        })?;
    let [l0, l1, l2, l3] = length.to_le_bytes();
    let [c0, c1, c2, c3] = channel.to_le_bytes();
    Ok([l0, l1, l2, l3, c0, c1, c2, c3, kind, 0, 0, 0])
}

fn put(kind: u8, channel: u32, payload: &[u8], bytes: &mut Vec<u8>) -> Result<(), ProtocolError> {
    let header = header(kind, channel, payload.len())?;
    bytes.reserve(HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(payload);
    Ok(())
}

fn put_json<T: Serialize>(
    kind: u8,
    channel: u32,
    payload: &T,
    bytes: &mut Vec<u8>,
) -> Result<(), ProtocolError> {
    let json = serde_json::to_vec(payload).map_err(|source| ProtocolError::Payload { kind, source })?;
    put(kind, channel, &json, bytes)
}

fn json<T: DeserializeOwned>(kind: u8, payload: &[u8]) -> Result<T, ProtocolError> {
    serde_json::from_slice(payload).map_err(|source| ProtocolError::Payload { kind, source })
}

impl HostFrame {
    /// Returns the header of a `Data` frame whose payload the caller sends by itself, so that bulk bytes are not copied.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::PayloadTooLong`] when the payload does not fit.
    pub fn data_header(channel: u32, payload_bytes: usize) -> Result<[u8; HEADER_BYTES], ProtocolError> {
        header(6, channel, payload_bytes)
    }
}

impl Direction for HostFrame {
    fn encode(&self, channel: u32, bytes: &mut Vec<u8>) -> Result<(), ProtocolError> {
        match self {
            Self::Hello(hello) => put_json(1, channel, hello, bytes),
            Self::Invoke(invoke) => put_json(2, channel, invoke, bytes),
            Self::Exec(exec) => put_json(3, channel, exec, bytes),
            Self::ReadFile(read) => put_json(4, channel, read, bytes),
            Self::WriteFile(write) => put_json(5, channel, write, bytes),
            Self::Data(data) => put(6, channel, data, bytes),
            Self::DataEnd => put(7, channel, &[], bytes),
            Self::Signal(signal) => put_json(8, channel, signal, bytes),
            Self::Shutdown => put(9, channel, &[], bytes),
            Self::Prepare(prepare) => put_json(10, channel, prepare, bytes),
        }
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Self, ProtocolError> {
        match kind {
            1 => json(kind, payload).map(Self::Hello),
            2 => json(kind, payload).map(Self::Invoke),
            3 => json(kind, payload).map(Self::Exec),
            4 => json(kind, payload).map(Self::ReadFile),
            5 => json(kind, payload).map(Self::WriteFile),
            6 => Ok(Self::Data(payload.to_vec())),
            7 => Ok(Self::DataEnd),
            8 => json(kind, payload).map(Self::Signal),
            9 => Ok(Self::Shutdown),
            10 => json(kind, payload).map(Self::Prepare),
            _ => Err(ProtocolError::UnknownKind { kind }),
        }
    }
}

impl Direction for GuestFrame {
    fn encode(&self, channel: u32, bytes: &mut Vec<u8>) -> Result<(), ProtocolError> {
        match self {
            Self::Welcome(welcome) => put_json(64, channel, welcome, bytes),
            Self::Started => put(65, channel, &[], bytes),
            Self::Stdout(data) => put(66, channel, data, bytes),
            Self::Stderr(data) => put(67, channel, data, bytes),
            Self::System(text) => put(68, channel, text, bytes),
            Self::Output(data) => put(69, channel, data, bytes),
            Self::Exited(exited) => put_json(70, channel, exited, bytes),
            Self::FileData(data) => put(71, channel, data, bytes),
            Self::Done => put(72, channel, &[], bytes),
            Self::Refused(refusal) => put_json(73, channel, refusal, bytes),
        }
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Self, ProtocolError> {
        match kind {
            64 => json(kind, payload).map(Self::Welcome),
            65 => Ok(Self::Started),
            66 => Ok(Self::Stdout(payload.to_vec())),
            67 => Ok(Self::Stderr(payload.to_vec())),
            68 => Ok(Self::System(payload.to_vec())),
            69 => Ok(Self::Output(payload.to_vec())),
            70 => json(kind, payload).map(Self::Exited),
            71 => Ok(Self::FileData(payload.to_vec())),
            72 => Ok(Self::Done),
            73 => json(kind, payload).map(Self::Refused),
            _ => Err(ProtocolError::UnknownKind { kind }),
        }
    }
}
