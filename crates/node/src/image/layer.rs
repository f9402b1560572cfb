//! Layers: had once, shared by all images that have them.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_util::sync::CancellationToken;
use vulcan_api::Timestamp;
use vulcan_bus::ImageResult;

use super::{
    Images,
    digest::{Digest, Hashing},
    disk::Scratch,
    pack::pack,
    problem::{blocking, disk, unpacking},
    record::{LayerOf, Packed},
    store::{Hold, Made, Store},
    unpack::{UnpackError, UnpackLimits},
};

/// What layers that are made here are packed with: quick, and smaller than gzip.
const MEDIA_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const ZSTD_LEVEL: i32 = 3;
const WRITE_BYTES: usize = 256 << 10;

/// A layer of the store. It stays for as long as anybody has the value.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// The digest of the layer as it travels.
    pub(crate) digest: Digest,
    /// The digest of its plain tar.
    pub(crate) diff_id: Digest,
    pub(crate) media_type: String,
    pub(crate) packed_bytes: u64,
    pub(crate) unpacked_bytes: u64,
    /// Where it is unpacked; never to be changed.
    pub(crate) folder: PathBuf,
    pub(super) _hold: Arc<Hold>,
}

impl PartialEq for Layer {
    fn eq(&self, other: &Self) -> bool {
        (&self.digest, &self.diff_id) == (&other.digest, &other.diff_id)
    }
}

impl Layer {
    pub(super) fn of(&self) -> LayerOf {
        LayerOf {
            digest: self.digest.clone(),
            diff_id: self.diff_id.clone(),
        }
    }
}

/// Returns the folders of layers, as a root is made of them. A layer that is there twice counts where it is higher: all that it
/// has hides the same of the lower one, and overlayfs takes no folder twice.
pub(super) fn root_folders(layers: &[Layer]) -> Vec<PathBuf> {
    layers
        .iter()
        .enumerate()
        .filter(|(index, layer)| {
            layers[index + 1..]
                .iter()
                .all(|higher| higher.folder != layer.folder)
        })
        .map(|(_, layer)| layer.folder.clone())
        .collect()
}

/// What a layer is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LayerSource {
    /// The writable side of an overlay: removed files are noted as overlayfs does. It is taken away.
    Folder(PathBuf),
}

impl Images {
    /// Makes a layer: a reproducible tar, sorted, with no time later than `epoch`, packed, and the unpacked folder. A layer that
    /// is here already is used. May be dropped at any time.
    ///
    /// # Errors
    ///
    /// A problem that says what of it cannot be used, or that the disk is full.
    pub(crate) async fn add_layer(&self, source: LayerSource, epoch: Timestamp) -> ImageResult<Layer> {
        let stop = CancellationToken::new();
        let _stop_when_dropped = stop.clone().drop_guard();
        let (store, limits) = (Arc::clone(&self.store), self.limits());
        blocking(move || make(&store, source, epoch, limits, &stop)).await
    }

    pub(super) const fn limits(&self) -> UnpackLimits {
        UnpackLimits {
            bytes_max: self.setup.options.unpacked_bytes_max,
            entries_max: self.setup.options.entries_max,
        }
    }

    /// Makes a folder on the filesystem of the store; gone when it is dropped, and at the next start.
    ///
    /// # Errors
    ///
    /// When the disk is full or does not work.
    pub(crate) fn scratch(&self) -> ImageResult<Scratch> {
        self.store.scratch()
    }

    /// Returns the kept result of a step of a build.
    pub(crate) fn step(&self, key: &Digest) -> Option<Layer> {
        self.store.step(key, self.setup.clock.now())
    }

    /// Keeps the result of a step of a build, until it is pruned or the room is needed.
    ///
    /// # Errors
    ///
    /// When the disk is full or does not work.
    pub(crate) async fn keep_step(&self, key: &Digest, layer: &Layer) -> ImageResult<()> {
        let (store, key, layer) = (Arc::clone(&self.store), key.clone(), layer.clone());
        blocking(move || store.put_step(&key, &layer)).await
    }
}

impl Store {
    pub(super) fn scratch(&self) -> ImageResult<Scratch> {
        self.disk
            .scratch()
            .map_err(|error| disk("make a folder in", self.disk.root(), &error))
    }
}

fn make(
    store: &Store,
    source: LayerSource,
    epoch: Timestamp,
    limits: UnpackLimits,
    stop: &CancellationToken,
) -> ImageResult<Layer> {
    let scratch = store.scratch()?;
    let LayerSource::Folder(folder) = source;
    let folder = take_folder(&folder, scratch.path())?;
    let blob = scratch.path().join("blob");
    let packed =
        pack_into(&blob, &folder, epoch, limits, stop).map_err(|error| unpacking("the layer", &error))?;
    let of = LayerOf {
        digest: packed.digest.clone(),
        diff_id: packed.diff_id.clone(),
    };
    if let Some(layer) = store.layer(&of) {
        return Ok(layer);
    }
    store.put_layer(Made {
        diff_id: packed.diff_id,
        unpacked_bytes: packed.unpacked_bytes,
        folder: &folder,
        packed: Packed {
            digest: packed.digest,
            media_type: MEDIA_TYPE.to_owned(),
            bytes: packed.bytes,
        },
        blob: Some(&blob),
    })
}

/// Makes the folder that a layer is unpacked into: what the root of an instance looks like.
pub(super) fn new_folder(scratch: &Path) -> ImageResult<PathBuf> {
    let folder = scratch.join("layer");
    fs::create_dir(&folder)
        .and_then(|()| fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)))
        .map_err(|error| disk("make", &folder, &error))?;
    Ok(folder)
}

/// Moves a folder next to where the layer is to be; one on another filesystem cannot be.
fn take_folder(from: &Path, scratch: &Path) -> ImageResult<PathBuf> {
    let to = scratch.join("layer");
    fs::rename(from, &to).map_err(|error| disk("take over", from, &error))?;
    let own = fs::symlink_metadata(&to).and_then(|metadata| {
        // An instance's user may have been given its root; a layer's root is root's.
        if rustix::process::geteuid().is_root() && (metadata.uid(), metadata.gid()) != (0, 0) {
            std::os::unix::fs::chown(&to, Some(0), Some(0))?;
        }
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))
    });
    own.map_err(|error| disk("change", &to, &error))?;
    Ok(to)
}

struct PackedLayer {
    diff_id: Digest,
    digest: Digest,
    bytes: u64,
    unpacked_bytes: u64,
}

fn pack_into(
    blob: &Path,
    folder: &Path,
    epoch: Timestamp,
    limits: UnpackLimits,
    stop: &CancellationToken,
) -> Result<PackedLayer, UnpackError> {
    let failed = |error| UnpackError::disk_at(blob, error);
    let file = File::create_new(blob).map_err(failed)?;
    let packed = Hashing::new(BufWriter::with_capacity(WRITE_BYTES, file));
    let zstd = zstd::Encoder::new(packed, ZSTD_LEVEL).map_err(failed)?;
    let plain = Hashing::new(BufWriter::with_capacity(WRITE_BYTES, zstd));
    let epoch_s = u64::try_from(epoch.as_millis() / 1000).unwrap_or(0);
    let (unpacked_bytes, mut plain) = pack(folder, epoch_s, limits, stop, plain)?;
    plain.flush().map_err(failed)?;
    let (zstd, diff_id, _) = plain.finish();
    let zstd = zstd.into_inner().map_err(|error| failed(error.into_error()))?;
    let (file, digest, bytes) = zstd.finish().map_err(failed)?.finish();
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok(PackedLayer {
        diff_id,
        digest,
        bytes,
        unpacked_bytes,
    })
}
