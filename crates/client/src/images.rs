//! Images: what is told while one is made, archives that go up in pieces, and archives that come down.

use std::{io, sync::Arc, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, stream};
use http::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Body, RequestBuilder, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use vulcan_api::{
    Image, ImageArchive, ImageBootstrap, ImageBuild, ImageEvent, ImageList, ImageName, ImagePrune, ImagePull,
    ImageReference, ImagesRemoved,
};

use crate::{
    Client, ClientError,
    client::{ANSWER_LIMIT, Inner},
    http::Call,
};

/// How long the head of an answer may take that is told in pieces.
const HEAD_LIMIT: Duration = Duration::from_secs(120);
/// An answer in pieces that is silent for so long is given up: the server sends a sign of life far more often.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long images may take to be removed.
const REMOVE_LIMIT: Duration = Duration::from_secs(16 * 60);
/// The longest event; one with every layer of an image is far shorter.
const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How much of an archive is read at once.
const PIECE_BYTES: usize = 256 * 1024;

/// What is told while an image is made, in order. Dropping it ends the making.
#[derive(Debug)]
pub struct ImageEvents {
    inner: Arc<Inner>,
    what: &'static str,
    response: Response,
    buffer: BytesMut,
    is_over: bool,
}

impl ImageEvents {
    /// Returns the next event; `None` after [`ImageEvent::Done`], [`ImageEvent::Failed`] or an error. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; [`ClientError::Malformed`] when the events end without their last one.
    pub async fn next(&mut self) -> Option<Result<ImageEvent, ClientError>> {
        if self.is_over {
            return None;
        }
        let event = self.event().await;
        self.is_over = match &event {
            Ok(ImageEvent::Done { .. } | ImageEvent::Failed { .. }) | Err(_) => true,
            Ok(ImageEvent::Step { .. } | ImageEvent::Progress { .. } | ImageEvent::Log { .. }) => false,
        };
        Some(event)
    }

    /// Returns what was made, without a look at anything in between.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; [`ClientError::Problem`] when it failed.
    pub async fn finish(mut self) -> Result<Vec<Image>, ClientError> {
        while let Some(event) = self.next().await {
            match event? {
                ImageEvent::Done { images } => return Ok(images),
                ImageEvent::Failed { problem } => return Err(ClientError::Problem(problem)),
                ImageEvent::Step { .. } | ImageEvent::Progress { .. } | ImageEvent::Log { .. } => {}
            }
        }
        Err(self.call().malformed("events without an end"))
    }

    async fn event(&mut self) -> Result<ImageEvent, ClientError> {
        loop {
            if let Some(line) = self.line() {
                if line.is_empty() {
                    continue;
                }
                return serde_json::from_slice(&line)
                    .map_err(|error| self.call().malformed(format!("an event: {error}")));
            }
            if self.buffer.len() > EVENT_BYTES_MAX {
                return Err(self.call().malformed("an event that is too long"));
            }
            // Cancel-safe: a chunk is either still in the connection or in the buffer.
            match tokio::time::timeout(SILENCE_MAX, self.response.chunk()).await {
                Ok(Ok(Some(bytes))) => self.buffer.extend_from_slice(&bytes),
                Ok(Ok(None)) => return Err(self.call().malformed("events that end without their last one")),
                Ok(Err(error)) => return Err(self.call().network(error)),
                Err(_) => return Err(self.call().timeout()),
            }
        }
    }

    fn line(&mut self) -> Option<BytesMut> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let line = self.buffer.split_to(end);
        self.buffer.advance(1);
        Some(line)
    }

    fn call(&self) -> Call<'_> {
        self.inner.call(self.what, SILENCE_MAX)
    }
}

impl Client {
    /// Returns every image that is here.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn images(&self) -> Result<ImageList, ClientError> {
        let request = self.0.get("v1/images");
        self.0.call("list the images", ANSWER_LIMIT).json(request).await
    }

    /// Returns one image.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn image(&self, image: &ImageReference) -> Result<Image, ClientError> {
        let request = self.0.get(&path(image));
        self.0
            .call("send the image's record", ANSWER_LIMIT)
            .json(request)
            .await
    }

    /// Removes a name, and the image with its last one; by digest, all its names.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn image_remove(&self, image: &ImageReference) -> Result<ImagesRemoved, ClientError> {
        let request = self.0.http.delete(self.0.url(&path(image)));
        self.0.call("remove the image", REMOVE_LIMIT).json(request).await
    }

    /// Removes what nobody needs.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn image_prune(&self, prune: &ImagePrune) -> Result<ImagesRemoved, ClientError> {
        let request = self.0.http.post(self.0.url("v1/images/prune")).json(prune);
        self.0.call("remove images", REMOVE_LIMIT).json(request).await
    }

    /// Pulls an image out of its registry.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; a failure that comes later is an event.
    pub async fn image_pull(&self, pull: &ImagePull) -> Result<ImageEvents, ClientError> {
        let request = self.0.http.post(self.0.url("v1/images/pull")).json(pull);
        self.events("pull the image", request).await
    }

    /// Makes the platform's own images.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; a failure that comes later is an event.
    pub async fn image_bootstrap(&self, bootstrap: &ImageBootstrap) -> Result<ImageEvents, ClientError> {
        let request = self.0.http.post(self.0.url("v1/images/bootstrap"));
        self.events("make the images", request.json(bootstrap)).await
    }

    /// Builds an image; `context` is a tar archive, with gzip or without.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; a failure that comes later is an event.
    pub async fn image_build(
        &self,
        build: &ImageBuild,
        context: impl AsyncRead + Send + 'static,
    ) -> Result<ImageEvents, ClientError> {
        let request = self.0.http.post(self.0.url("v1/images/build"));
        let request = request.query(&build_query(build));
        self.events("build the image", with_archive(request, context))
            .await
    }

    /// Takes in an image out of an archive, with gzip or without: an OCI layout, or what `docker save` writes.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; a failure that comes later is an event.
    pub async fn image_import(
        &self,
        name: Option<&ImageName>,
        archive: impl AsyncRead + Send + 'static,
    ) -> Result<ImageEvents, ClientError> {
        let mut request = self.0.http.post(self.0.url("v1/images/import"));
        if let Some(name) = name {
            request = request.query(&[("name", name.to_string())]);
        }
        self.events("import the image", with_archive(request, archive))
            .await
    }

    /// Writes an image as a tar archive, and returns its size in bytes. What is written after a failure is not whole.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; [`ClientError::Write`] when `writer` refuses.
    pub async fn image_export(
        &self,
        image: &ImageReference,
        archive: ImageArchive,
        mut writer: impl AsyncWrite + Unpin,
    ) -> Result<u64, ClientError> {
        let request = self.0.get(&format!("{}/export", path(image)));
        let request = match archive {
            ImageArchive::Oci => request,
            ImageArchive::Docker => request.query(&[("archive", "docker")]),
        };
        let call = self.0.call("send the image", HEAD_LIMIT);
        let mut response = call.within(call.accepted(request)).await?;
        let call = self.0.call("send the image", SILENCE_MAX);
        let mut written = 0;
        let refused = |source: io::Error| ClientError::Write { source };
        while let Some(bytes) = call
            .within(async { response.chunk().await.map_err(|error| call.network(error)) })
            .await?
        {
            writer.write_all(&bytes).await.map_err(refused)?;
            written += bytes.len() as u64;
        }
        writer.flush().await.map_err(refused)?;
        Ok(written)
    }

    async fn events(&self, what: &'static str, request: RequestBuilder) -> Result<ImageEvents, ClientError> {
        let call = self.0.call(what, HEAD_LIMIT);
        let request = request.header(ACCEPT, "application/x-ndjson");
        let response = call.within(call.accepted(request)).await?;
        Ok(ImageEvents {
            inner: Arc::clone(&self.0),
            what,
            response,
            buffer: BytesMut::new(),
            is_over: false,
        })
    }
}

fn build_query(build: &ImageBuild) -> Vec<(&'static str, String)> {
    let ImageBuild {
        name,
        file,
        args,
        target,
        no_cache,
    } = build;
    let mut query = vec![("name", name.to_string()), ("file", file.clone())];
    query.extend(
        args.iter()
            .map(|(name, value)| ("arg", format!("{name}={value}"))),
    );
    query.extend(target.iter().map(|target| ("target", target.clone())));
    query.extend(no_cache.then(|| ("no_cache", "true".to_owned())));
    query
}

fn with_archive(request: RequestBuilder, archive: impl AsyncRead + Send + 'static) -> RequestBuilder {
    let request = request.header(CONTENT_TYPE, "application/x-tar");
    request.body(Body::wrap_stream(pieces(archive)))
}

fn pieces(archive: impl AsyncRead + Send + 'static) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold(Box::pin(archive), |mut archive| async move {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        let count = archive.read_buf(&mut piece).await?;
        Ok((count > 0).then(|| (piece.freeze(), archive)))
    })
}

/// Writes an image's path. A name has slashes and colons, which are encoded.
fn path(image: &ImageReference) -> String {
    let mut path = String::from("v1/images/");
    for byte in image.to_string().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_the_path() {
        let path_of = |text: &str| path(&text.parse().unwrap());
        assert_eq!(
            path_of("localhost/alpine"),
            "v1/images/localhost%2Falpine%3Alatest"
        );
        assert_eq!(
            path_of("[::1]:5000/a"),
            "v1/images/%5B%3A%3A1%5D%3A5000%2Fa%3Alatest"
        );
        assert_eq!(path_of("sha256:0123456789ab"), "v1/images/sha256%3A0123456789ab");
    }
}
