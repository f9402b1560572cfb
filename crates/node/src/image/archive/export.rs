//! From an image to an archive, streamed.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use serde::Serialize;
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;
use vulcan_api::{ImageArchive, ProblemKind};
use vulcan_bus::ImageResult;

use crate::image::{
    Images,
    add::encode,
    digest::Digest,
    layer::Layer,
    manifest::{DOCKER_MANIFEST, Descriptor, Index, Manifest, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST},
    problem::{blocking, disk, problem, refuse},
    record::ImageRecord,
    store::Store,
    unpack::plain,
};

/// How many bytes are sent at once.
const PIECE_BYTES: usize = 256 << 10;

type Sink = mpsc::Sender<ImageResult<Bytes>>;

impl Images {
    /// Sends an image as an archive; ends when nobody takes it any more.
    pub(in crate::image) async fn export(
        &self,
        image: &str,
        archive: ImageArchive,
        bytes: &Sink,
    ) -> ImageResult<()> {
        let (record, name) = self.resolve(image)?;
        // What is lent is not removed meanwhile.
        let Some(ready) = self.lend(&record) else {
            return refuse(ProblemKind::ImageNotFound, format!("{image} was just removed"));
        };
        let names = match name {
            Some(name) => vec![name.to_string()],
            None => record.names.iter().map(ToString::to_string).collect(),
        };
        let (store, sink) = (Arc::clone(&self.store), Pieces::new(bytes.clone()));
        blocking(move || {
            let exporting = Exporting {
                store: &store,
                record: &record,
                layers: &ready.layers,
                names: &names,
            };
            let mut tar = Builder::new(sink);
            match archive {
                ImageArchive::Oci => exporting.layout(&mut tar)?,
                ImageArchive::Docker => exporting.docker(&mut tar)?,
            }
            tar.into_inner()
                .and_then(|mut sink| sink.flush())
                .map_err(|error| exporting.failed(&error))
        })
        .await
    }
}

struct Exporting<'a> {
    store: &'a Store,
    record: &'a ImageRecord,
    layers: &'a [Layer],
    names: &'a [String],
}

impl Exporting<'_> {
    /// Writes an OCI image layout.
    fn layout(&self, tar: &mut Builder<Pieces>) -> ImageResult<()> {
        let (digest, manifest) = self.manifest()?;
        let mut named: Vec<Option<&String>> = self.names.iter().map(Some).collect();
        if named.is_empty() {
            named.push(None);
        }
        let descriptor = |name: Option<&String>| Descriptor {
            annotations: name.map(|name| {
                BTreeMap::from(
                    ["org.opencontainers.image.ref.name", "io.containerd.image.name"]
                        .map(|key| (key.to_owned(), name.clone())),
                )
            }),
            ..Descriptor::new(OCI_MANIFEST, &digest, manifest.len() as u64)
        };
        let index = encode(&Index {
            schema_version: 2,
            media_type: Some(OCI_INDEX.to_owned()),
            manifests: named.into_iter().map(descriptor).collect(),
        })?;
        self.write(tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        self.write(tar, "index.json", &index)?;
        self.write(tar, &blob_name(&digest), &manifest)?;
        let config = &self.record.config_digest;
        self.copy(tar, &blob_name(config), &self.store.disk.blob(config))?;
        let mut written = Vec::new();
        for layer in self.layers {
            if !written.contains(&&layer.digest) {
                self.copy(
                    tar,
                    &blob_name(&layer.digest),
                    &self.store.disk.blob(&layer.digest),
                )?;
                written.push(&layer.digest);
            }
        }
        Ok(())
    }

    /// Returns the manifest: its own, or, where that is Docker's, the same in OCI's words, which has another digest.
    fn manifest(&self) -> ImageResult<(Digest, Vec<u8>)> {
        let path = self.store.disk.blob(&self.record.digest);
        let own = std::fs::read(&path).map_err(|error| disk("read", &path, &error))?;
        let mut manifest: Manifest = serde_json::from_slice(&own).map_err(|error| {
            problem(
                ProblemKind::Internal,
                format!("{} is no manifest: {error}", path.display()),
            )
        })?;
        if manifest.media_type.as_deref() != Some(DOCKER_MANIFEST) {
            return Ok((self.record.digest.clone(), own));
        }
        manifest.media_type = Some(OCI_MANIFEST.to_owned());
        OCI_CONFIG.clone_into(&mut manifest.config.media_type);
        for layer in &mut manifest.layers {
            let form = if layer.media_type.ends_with("gzip") {
                "tar+gzip"
            } else {
                "tar"
            };
            layer.media_type = format!("application/vnd.oci.image.layer.v1.{form}");
        }
        let content = encode(&manifest)?;
        Ok((Digest::of(&content), content))
    }

    /// Writes what `docker load` reads: plain layers, and one list of images.
    fn docker(&self, tar: &mut Builder<Pieces>) -> ImageResult<()> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Saved<'a> {
            config: String,
            repo_tags: &'a [String],
            layers: Vec<String>,
        }
        let layer_name = |layer: &Layer| format!("{}/layer.tar", layer.diff_id.hex());
        let config = format!("{}.json", self.record.config_digest.hex());
        self.copy(tar, &config, &self.store.disk.blob(&self.record.config_digest))?;
        let scratch = self.store.scratch()?;
        let mut written = Vec::new();
        for layer in self.layers {
            if written.contains(&&layer.diff_id) {
                continue;
            }
            // A tar says how long a file is before it; only unpacking tells.
            let path = scratch.path().join(layer.diff_id.hex());
            let blob = self.store.disk.blob(&layer.digest);
            let mut file = File::create_new(&path).map_err(|error| disk("write", &path, &error))?;
            File::open(&blob)
                .and_then(plain)
                .and_then(|mut content| io::copy(&mut content, &mut file))
                .map_err(|error| disk("write", &path, &error))?;
            self.copy(tar, &layer_name(layer), &path)?;
            std::fs::remove_file(&path).map_err(|error| disk("remove", &path, &error))?;
            written.push(&layer.diff_id);
        }
        let saved = [Saved {
            config,
            repo_tags: self.names,
            layers: self.layers.iter().map(layer_name).collect(),
        }];
        self.write(tar, "manifest.json", &encode(&saved)?)
    }

    fn write(&self, tar: &mut Builder<Pieces>, name: &str, content: &[u8]) -> ImageResult<()> {
        tar.append_data(&mut header(content.len() as u64), name, content)
            .map_err(|error| self.failed(&error))
    }

    fn copy(&self, tar: &mut Builder<Pieces>, name: &str, path: &Path) -> ImageResult<()> {
        let file = File::open(path).map_err(|error| disk("read", path, &error))?;
        let bytes = file.metadata().map_err(|error| disk("read", path, &error))?.len();
        tar.append_data(&mut header(bytes), name, file)
            .map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Box<vulcan_api::Problem> {
        disk("send", &self.store.disk.blob(&self.record.digest), error)
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn header(bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes);
    header
}

/// Sends what is written to it, in pieces.
struct Pieces {
    sink: Sink,
    piece: Vec<u8>,
}

impl Pieces {
    const fn new(sink: Sink) -> Self {
        Self {
            sink,
            piece: Vec::new(),
        }
    }
}

impl Write for Pieces {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(buffer);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        self.sink
            .blocking_send(Ok(piece))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes it any more"))
    }
}
