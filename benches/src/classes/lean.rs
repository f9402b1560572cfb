//! A client that costs little: one connection, one request written at once, blocking.
//!
//! What is measured shares its processors with whoever measures.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde::Deserialize;
use tokio::time::Instant;
use vulcan_api::{StartKind, Status};

use crate::context::{Context as _, Failure};

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// The longest answer: a record without output.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A connection that sends the same request again and again.
pub(super) struct Lean {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

/// What an answer says.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) status: Status,
    #[serde(default)]
    pub(super) start: Option<StartKind>,
    #[serde(default)]
    error: serde_json::Value,
}

impl Lean {
    /// Connects to `address`, host and port, for requests with this body.
    ///
    /// # Errors
    ///
    /// When nobody listens.
    pub(super) fn connect(address: &str, body: &str) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).doing("connect to the server")?;
        stream.set_nodelay(true).doing("set up the connection")?;
        stream
            .set_read_timeout(Some(ANSWER_LIMIT))
            .doing("set up the connection")?;
        let request = format!(
            "POST /v1/workloads HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(Self {
            stream,
            request: request.into_bytes(),
            buffer: Vec::new(),
        })
    }

    /// Sends the request; returns what the answer says, and the milliseconds until its last byte.
    ///
    /// # Errors
    ///
    /// When the server refuses, or the workload does not complete.
    pub(super) fn call(&mut self) -> Result<(Answer, f64), Failure> {
        let start = Instant::now();
        let body = self.exchange().doing("call the server")?;
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let text = &self.buffer[body..];
        let answer: Answer = serde_json::from_slice(text).map_err(|_| {
            let head: String = String::from_utf8_lossy(text).chars().take(300).collect();
            Failure::new(format!("run a workload: {head}"))
        })?;
        if answer.status == Status::Completed {
            return Ok((answer, milliseconds));
        }
        Err(Failure::new(format!(
            "complete a workload: {} {}",
            answer.status, answer.error
        )))
    }

    /// Returns where in the buffer the answer's body begins; it is the rest of it.
    fn exchange(&mut self) -> io::Result<usize> {
        self.stream.write_all(&self.request)?;
        self.buffer.clear();
        let mut piece = [0; 16 * 1024];
        let mut whole = None;
        loop {
            let read = self.stream.read(&mut piece)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(&piece[..read]);
            if whole.is_none() {
                whole = extent(&self.buffer)?;
            }
            match whole {
                Some((body, end)) if self.buffer.len() >= end => return Ok(body),
                Some(_) | None if self.buffer.len() > ANSWER_BYTES_MAX => {
                    return Err(io::Error::other("the answer is too long"));
                }
                Some(_) | None => {}
            }
        }
    }
}

/// Returns where the body of an answer begins and ends, once its head is there.
fn extent(answer: &[u8]) -> io::Result<Option<(usize, usize)>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(head) = answer.windows(END.len()).position(|window| window == END) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&answer[..head]);
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let body = head + END.len();
    match length {
        Some(length) => Ok(Some((body, body + length))),
        None => Err(io::Error::other("the answer does not say its length")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_head_says() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-Length: 2\r\n\r\n{}";
        assert_eq!(extent(answer).unwrap(), Some((38, 40)));
        assert_eq!(extent(&answer[..30]).unwrap(), None);
        assert!(extent(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
