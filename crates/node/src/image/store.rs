//! What the store has, in memory and on disk: layers, images, results of build steps, and who holds what.
//!
//! One writer at a time changes the disk; memory follows the disk. What is found in memory is held at once, so that nobody
//! collects it meanwhile. All methods that write block.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use vulcan_api::{Clock, Image, ImageLayer, ImageName, NodeName, ProblemKind, Timestamp};
use vulcan_bus::ImageResult;

use super::{
    digest::Digest,
    disk::{Disk, Noted},
    layer::Layer,
    problem::{disk, refuse},
    record::{ImageRecord, LayerOf, LayerRecord, Packed, StepRecord, VERSION},
};

pub(super) struct Store {
    pub(super) disk: Disk,
    pub(super) clock: Arc<dyn Clock>,
    node: NodeName,
    /// Which boot of the machine this is.
    boot: String,
    state: Arc<Mutex<State>>,
    /// Whoever changes the disk.
    pub(super) writing: Mutex<()>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) images: BTreeMap<Digest, ImageRecord>,
    pub(super) layers: BTreeMap<Digest, LayerRecord>,
    pub(super) steps: BTreeMap<Digest, StepRecord>,
    /// Layers that somebody works with, by their diff id.
    pub(super) holds: HashMap<Digest, u32>,
    /// Images that instances use.
    pub(super) leases: HashMap<Digest, u32>,
}

/// Keeps a layer or an image for as long as it lives.
pub(super) struct Hold {
    state: Arc<Mutex<State>>,
    what: Held,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Held {
    Layer(Digest),
    Image(Digest),
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold")
            .field("what", &self.what)
            .finish_non_exhaustive()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        let (counts, digest) = match &self.what {
            Held::Layer(digest) => (&mut state.holds, digest),
            Held::Image(digest) => (&mut state.leases, digest),
        };
        if let Some(count) = counts.get_mut(digest) {
            *count -= 1;
            if *count == 0 {
                counts.remove(digest);
            }
        }
    }
}

/// Nothing is left half done under this lock, so that a panic elsewhere does no harm.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A layer that was made: where it is, and what is to be known of it.
pub(super) struct Made<'a> {
    pub(super) diff_id: Digest,
    pub(super) unpacked_bytes: u64,
    pub(super) folder: &'a Path,
    pub(super) packed: Packed,
    /// The packed bytes; `None` where they are among the blobs already.
    pub(super) blob: Option<&'a Path>,
}

impl Store {
    pub(super) fn open(disk: Disk, clock: Arc<dyn Clock>, node: NodeName) -> std::io::Result<Self> {
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default();
        let mut state = State::default();
        for layer in disk.records::<LayerRecord>(Noted::Layer)? {
            let may_be_empty = layer.unsynced_boot.as_ref().is_some_and(|of| *of != boot);
            if layer.version == VERSION && !may_be_empty && disk.layer(&layer.diff_id).is_dir() {
                state.layers.insert(layer.diff_id.clone(), layer);
            } else {
                tracing::warn!(layer = %layer.diff_id, "layer was dropped: it may not be whole");
                disk.forget(Noted::Layer, &layer.diff_id)?;
            }
        }
        for image in disk.records::<ImageRecord>(Noted::Image)? {
            let is_whole = image.layers.iter().all(|layer| {
                state
                    .packed(layer)
                    .is_some_and(|packed| disk.blob(&packed.digest).exists())
            });
            if image.version == VERSION && is_whole {
                state.images.insert(image.digest.clone(), image);
            } else {
                tracing::warn!(image = %image.digest, "image was dropped: a layer of it is gone");
                disk.forget(Noted::Image, &image.digest)?;
            }
        }
        for step in disk.records::<StepRecord>(Noted::Step)? {
            if step.version == VERSION && state.packed(&step.layer).is_some() {
                state.steps.insert(step.key.clone(), step);
            } else {
                disk.forget(Noted::Step, &step.key)?;
            }
        }
        Ok(Self {
            disk,
            clock,
            node,
            boot,
            state: Arc::new(Mutex::new(state)),
            writing: Mutex::default(),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Returns a layer that is here in just this packing, and holds it.
    pub(super) fn layer(&self, layer: &LayerOf) -> Option<Layer> {
        let mut state = self.state();
        let record = state.layers.get(&layer.diff_id)?;
        let packed = state.packed(layer)?.clone();
        let unpacked_bytes = record.unpacked_bytes;
        Some(Layer {
            diff_id: layer.diff_id.clone(),
            digest: packed.digest,
            media_type: packed.media_type,
            packed_bytes: packed.bytes,
            unpacked_bytes,
            folder: self.disk.layer(&layer.diff_id),
            _hold: Arc::new(self.hold(&mut state, Held::Layer(layer.diff_id.clone()))),
        })
    }

    /// Returns a layer's packings, by its diff id.
    pub(super) fn packings(&self, diff_id: &Digest) -> Vec<Packed> {
        let state = self.state();
        let record = state.layers.get(diff_id);
        record.map(|layer| layer.packed.clone()).unwrap_or_default()
    }

    fn hold(&self, state: &mut State, what: Held) -> Hold {
        let (counts, digest) = match &what {
            Held::Layer(digest) => (&mut state.holds, digest),
            Held::Image(digest) => (&mut state.leases, digest),
        };
        *counts.entry(digest.clone()).or_default() += 1;
        Hold {
            state: Arc::clone(&self.state),
            what,
        }
    }

    /// Keeps an image for an instance; `None` where it is gone.
    pub(super) fn lease(&self, digest: &Digest) -> Option<Hold> {
        let mut state = self.state();
        state
            .images
            .contains_key(digest)
            .then(|| self.hold(&mut state, Held::Image(digest.clone())))
    }

    /// Moves a layer that was made into its place. Another maker may have been quicker: then its folder stays, and this one's
    /// packing is noted beside the others.
    pub(super) fn put_layer(&self, made: Made<'_>) -> ImageResult<Layer> {
        let _writing = lock(&self.writing);
        let mut record = self.state().layers.get(&made.diff_id).cloned();
        let is_new = record.is_none();
        let record = record.get_or_insert_with(|| LayerRecord {
            version: VERSION,
            diff_id: made.diff_id.clone(),
            unpacked_bytes: made.unpacked_bytes,
            packed: Vec::new(),
            unsynced_boot: None,
        });
        record.unsynced_boot = Some(self.boot.clone());
        let place = self.disk.layer(&made.diff_id);
        if let Some(blob) = made.blob {
            let to = self.disk.blob(&made.packed.digest);
            fs::rename(blob, &to).map_err(|error| disk("store", &to, &error))?;
        }
        if is_new {
            // Nobody notes a folder without a record: it is what a crash left.
            super::disk::remove(&place)
                .and_then(|()| fs::rename(made.folder, &place))
                .map_err(|error| disk("store", &place, &error))?;
        }
        if !record
            .packed
            .iter()
            .any(|packed| packed.digest == made.packed.digest)
        {
            record.packed.push(made.packed.clone());
        }
        self.disk
            .note(Noted::Layer, &made.diff_id, record)
            .map_err(|error| disk("note the layer", &place, &error))?;
        self.state().layers.insert(made.diff_id.clone(), record.clone());
        let of = LayerOf {
            digest: made.packed.digest,
            diff_id: made.diff_id,
        };
        match self.layer(&of) {
            Some(layer) => Ok(layer),
            None => refuse(ProblemKind::Internal, format!("layer {} was lost", of.digest)),
        }
    }

    /// Waits until all layers that are here now are on the disk, and notes that they are.
    pub(super) fn settle(&self) -> ImageResult<()> {
        let unsynced: Vec<Digest> = {
            let state = self.state();
            let is_unsynced = |layer: &&LayerRecord| layer.unsynced_boot.is_some();
            let layers = state.layers.values().filter(is_unsynced);
            layers.map(|layer| layer.diff_id.clone()).collect()
        };
        if unsynced.is_empty() {
            return Ok(());
        }
        let root = self.disk.root();
        fs::File::open(root)
            .and_then(|folder| Ok(rustix::fs::syncfs(folder)?))
            .map_err(|error| disk("sync", root, &error))?;
        let _writing = lock(&self.writing);
        for diff_id in unsynced {
            // It may have gone meanwhile.
            let Some(mut layer) = self.state().layers.get(&diff_id).cloned() else {
                continue;
            };
            layer.unsynced_boot = None;
            self.disk
                .note(Noted::Layer, &diff_id, &layer)
                .map_err(|error| disk("note the layer in", root, &error))?;
            self.state().layers.insert(diff_id, layer);
        }
        Ok(())
    }

    /// Notes an image whose layers the caller holds, and gives it its names, which others lose.
    pub(super) fn put_image(
        &self,
        mut record: ImageRecord,
        blobs: &[(&Digest, &[u8])],
    ) -> ImageResult<Image> {
        let _writing = lock(&self.writing);
        for (digest, content) in blobs {
            self.disk
                .write_blob(digest, content)
                .map_err(|error| disk("store", &self.disk.blob(digest), &error))?;
        }
        let former = self.state().images.get(&record.digest).cloned();
        if let Some(former) = former {
            record.added_at = former.added_at;
            record.names.extend(former.names);
        }
        record.names.sort();
        record.names.dedup();
        self.note_image(&record)?;
        let others: Vec<ImageRecord> = {
            let state = self.state();
            let is_other = |other: &&ImageRecord| {
                other.digest != record.digest && other.names.iter().any(|name| record.names.contains(name))
            };
            state.images.values().filter(is_other).cloned().collect()
        };
        for mut other in others {
            other.names.retain(|name| !record.names.contains(name));
            self.note_image(&other)?;
        }
        Ok(self.image(&record))
    }

    /// Writes an image's record, and takes it into memory. The caller is the writer.
    pub(super) fn note_image(&self, record: &ImageRecord) -> ImageResult<()> {
        self.disk
            .note(Noted::Image, &record.digest, record)
            .map_err(|error| disk("note the image", self.disk.root(), &error))?;
        self.state().images.insert(record.digest.clone(), record.clone());
        Ok(())
    }

    /// Returns the image with a name, or the one whose digest the name has.
    pub(super) fn find(&self, name: &ImageName) -> Option<ImageRecord> {
        let state = self.state();
        state.find(name).cloned()
    }

    /// Notes that an image is used now; in memory, and on disk where the note there is old.
    pub(super) fn used(&self, digest: &Digest) -> bool {
        let now = self.clock.now();
        let mut state = self.state();
        let Some(record) = state.images.get_mut(digest) else {
            return false;
        };
        let is_old = now.millis_since(record.used_at) > USE_NOTED_EVERY_MS;
        record.used_at = now;
        is_old
    }

    /// Writes down when an image was used.
    pub(super) fn note_use(&self, digest: &Digest) -> ImageResult<()> {
        let _writing = lock(&self.writing);
        let record = self.state().images.get(digest).cloned();
        record.map_or(Ok(()), |record| self.note_image(&record))
    }

    /// Returns an image as people see it.
    pub(super) fn image(&self, record: &ImageRecord) -> Image {
        let state = self.state();
        let layers: Vec<ImageLayer> = record
            .layers
            .iter()
            .map(|layer| ImageLayer {
                digest: layer.digest.to_string(),
                packed_bytes: state.packed(layer).map_or(0, |packed| packed.bytes),
                unpacked_bytes: state
                    .layers
                    .get(&layer.diff_id)
                    .map_or(0, |layer| layer.unpacked_bytes),
            })
            .collect();
        Image {
            names: record.names.clone(),
            digest: record.digest.to_string(),
            node: self.node.clone(),
            platform: record.platform.clone(),
            packed_bytes: layers.iter().map(|layer| layer.packed_bytes).sum(),
            unpacked_bytes: layers.iter().map(|layer| layer.unpacked_bytes).sum(),
            layers,
            config: record.config.clone(),
            created_at: record.created_at,
            added_at: record.added_at,
            used_at: record.used_at,
            in_use: state.leases.get(&record.digest).copied().unwrap_or(0),
        }
    }

    /// Returns the result of a step of a build, and notes its use.
    pub(super) fn step(&self, key: &Digest, now: Timestamp) -> Option<Layer> {
        let layer = {
            let mut state = self.state();
            let step = state.steps.get_mut(key)?;
            step.used_at = now;
            step.layer.clone()
        };
        self.layer(&layer)
    }

    /// Keeps the result of a step of a build.
    pub(super) fn put_step(&self, key: &Digest, layer: &Layer) -> ImageResult<()> {
        let _writing = lock(&self.writing);
        let step = StepRecord {
            version: VERSION,
            key: key.clone(),
            layer: layer.of(),
            used_at: self.clock.now(),
        };
        self.disk
            .note(Noted::Step, key, &step)
            .map_err(|error| disk("note the step", self.disk.root(), &error))?;
        self.state().steps.insert(key.clone(), step);
        Ok(())
    }
}

/// Names this boot of the machine (`man 4 random`).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// How old the note of an image's last use may be, in milliseconds: it decides what goes first when room is needed.
const USE_NOTED_EVERY_MS: u64 = 3_600_000;

impl State {
    /// Returns a layer's packing.
    pub(super) fn packed(&self, layer: &LayerOf) -> Option<&Packed> {
        self.layers
            .get(&layer.diff_id)?
            .packed
            .iter()
            .find(|packed| packed.digest == layer.digest)
    }

    pub(super) fn find(&self, name: &ImageName) -> Option<&ImageRecord> {
        let named = self.images.values().find(|image| image.names.contains(name));
        named.or_else(|| {
            self.images
                .values()
                .find(|image| name.digest() == Some(image.digest.as_str()))
        })
    }
}
