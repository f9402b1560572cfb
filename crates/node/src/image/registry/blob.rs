//! Getting a blob: hashed while it is written, taken up where it broke off, believed only when its digest is right.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use bytes::Bytes;
use reqwest::{StatusCode, header::CONTENT_RANGE};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::{Registry, Trouble};
use crate::image::{
    digest::Digest,
    manifest::Descriptor,
    problem::{blocking, disk},
};

/// How many pieces wait between the network and the disk.
const PIECES_WAITING_MAX: usize = 64;

/// A blob that is to be had.
pub(in crate::image) struct Fetch<'a> {
    pub(in crate::image) registry: &'a Registry,
    pub(in crate::image) blob: &'a Descriptor,
    /// Where it is written; what is there already is believed to be its beginning, until its digest says otherwise.
    pub(in crate::image) path: &'a Path,
    /// Is told how many bytes are there.
    pub(in crate::image) progress: &'a (dyn Fn(u64) + Send + Sync),
}

/// A blob being written.
struct Writing {
    file: File,
    hash: Sha256,
    bytes: u64,
}

/// Gets a blob. What is there after a failure is a beginning of it, if anything. May be dropped at any time.
pub(in crate::image) async fn fetch(fetch: Fetch<'_>) -> Result<(), Trouble> {
    let path = fetch.path.to_owned();
    let size = fetch.blob.size;
    let mut writing = blocking(move || begin(&path, size).map_err(|error| disk("write", &path, &error)))
        .await
        .map_err(Trouble::Disk)?;
    // A beginning that another process left may be anything.
    let mut is_inherited = writing.bytes > 0;
    let mut attempt = 0;
    loop {
        let result;
        (writing, result) = advance(&fetch, writing).await?;
        match result {
            Ok(()) if writing.bytes == size => match finish(&fetch, writing).await {
                Err(Trouble::Wrong { .. }) if is_inherited => {
                    is_inherited = false;
                    writing = restart(&fetch).await?;
                }
                result => return result,
            },
            // The connection ended early, and politely.
            Ok(()) | Err(Trouble::Unreachable { .. }) if attempt < fetch.registry.access.attempts_max => {
                fetch.registry.wait(attempt).await;
                attempt += 1;
            }
            Ok(()) => {
                return Err(Trouble::unreachable(format!(
                    "{} ended the connection at byte {} of {size} of {}, {} times in all",
                    fetch.registry.host(),
                    writing.bytes,
                    fetch.blob.digest.short(),
                    attempt + 1
                )));
            }
            Err(Trouble::Unreachable { why }) => {
                return Err(Trouble::unreachable(format!(
                    "{why}, at byte {} of {size} of {}, attempt {}",
                    writing.bytes,
                    fetch.blob.digest.short(),
                    attempt + 1
                )));
            }
            Err(other) => {
                if matches!(other, Trouble::Wrong { .. }) {
                    clear(&fetch).await?;
                }
                return Err(other);
            }
        }
    }
}

/// Opens what is there, and hashes it.
fn begin(path: &Path, size: u64) -> io::Result<Writing> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    if file.metadata()?.len() > size {
        file.set_len(0)?;
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => {
                hash.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
    file.seek(SeekFrom::Start(bytes))?;
    Ok(Writing { file, hash, bytes })
}

async fn clear(fetch: &Fetch<'_>) -> Result<(), Trouble> {
    let path = fetch.path.to_owned();
    blocking(move || super::super::disk::remove(&path).map_err(|error| disk("remove", &path, &error)))
        .await
        .map_err(Trouble::Disk)
}

async fn restart(fetch: &Fetch<'_>) -> Result<Writing, Trouble> {
    clear(fetch).await?;
    let (path, size) = (fetch.path.to_owned(), fetch.blob.size);
    blocking(move || begin(&path, size).map_err(|error| disk("write", &path, &error)))
        .await
        .map_err(Trouble::Disk)
}

/// Checks the digest; a blob that has another is removed.
async fn finish(fetch: &Fetch<'_>, writing: Writing) -> Result<(), Trouble> {
    let digest = Digest::finish(writing.hash);
    if digest == fetch.blob.digest {
        return Ok(());
    }
    clear(fetch).await?;
    Err(Trouble::wrong(format!(
        "layer {} has the digest {digest} in truth",
        fetch.blob.digest
    )))
}

/// Goes on until the connection ends, one way or the other.
///
/// # Errors
///
/// Where the writing itself is lost; what is wrong with the connection is in the answer.
async fn advance(fetch: &Fetch<'_>, writing: Writing) -> Result<(Writing, Result<(), Trouble>), Trouble> {
    if writing.bytes == fetch.blob.size {
        return Ok((writing, Ok(())));
    }
    let mut response = match fetch.registry.blob(&fetch.blob.digest, writing.bytes).await {
        Ok(response) => response,
        Err(trouble) => return Ok((writing, Err(trouble))),
    };
    let start = match response.status() {
        StatusCode::PARTIAL_CONTENT => response
            .headers()
            .get(CONTENT_RANGE)
            .and_then(|value| range_start(value.to_str().ok()?)),
        StatusCode::RANGE_NOT_SATISFIABLE => None,
        _ => Some(0),
    };
    let writing = match start {
        Some(start) if start == writing.bytes => writing,
        Some(0) => restart(fetch).await?,
        _ => {
            let writing = restart(fetch).await?;
            let host = fetch.registry.host();
            return Ok((
                writing,
                Err(Trouble::unreachable(format!(
                    "{host} does not send what was asked for"
                ))),
            ));
        }
    };
    let size = fetch.blob.size;
    let mut received = writing.bytes;
    let (pieces, receiver) = mpsc::channel(PIECES_WAITING_MAX);
    let path = fetch.path.to_owned();
    let writer = tokio::spawn(blocking(move || {
        write(writing, receiver).map_err(|error| disk("write", &path, &error))
    }));
    let result = loop {
        match response.chunk().await {
            Ok(None) => break Ok(()),
            Ok(Some(piece)) => {
                received += piece.len() as u64;
                if received > size {
                    break Err(Trouble::wrong(format!(
                        "layer {} is longer than the {size} bytes that its manifest says",
                        fetch.blob.digest
                    )));
                }
                // The writer ends early only when the disk refuses, which it says itself.
                if pieces.send(piece).await.is_err() {
                    break Ok(());
                }
                (fetch.progress)(received);
            }
            Err(error) => break Err(fetch.registry.broken(&error)),
        }
    };
    drop(pieces);
    let writing = match writer.await {
        Ok(written) => written.map_err(Trouble::Disk)?,
        Err(error) => return Err(Trouble::unreachable(format!("the writer ended: {error}"))),
    };
    Ok((writing, result))
}

fn write(mut writing: Writing, mut pieces: mpsc::Receiver<Bytes>) -> io::Result<Writing> {
    while let Some(piece) = pieces.blocking_recv() {
        writing.file.write_all(&piece)?;
        writing.hash.update(&piece);
        writing.bytes += piece.len() as u64;
    }
    Ok(writing)
}

/// Reads where `bytes 5-9/10` starts.
fn range_start(text: &str) -> Option<u64> {
    text.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
