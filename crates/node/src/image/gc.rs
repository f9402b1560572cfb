//! What goes: what nothing refers to, and, where room is needed, what was not used for the longest time.
//!
//! Images refer to layers; so do results of build steps, and whoever works with one. Instances refer to images.

use std::{collections::HashSet, fs};

use vulcan_api::{ImageName, ImagesRemoved, ProblemKind};
use vulcan_bus::ImageResult;

use super::{
    digest::Digest,
    disk::Noted,
    problem::{disk, problem},
    record::ImageRecord,
    store::{State, Store, lock},
};

/// How long a blob that was broken off is kept for the next attempt, in milliseconds.
const PARTIAL_AGE_MAX_MS: u64 = 7 * 24 * 3_600_000;

impl State {
    /// Returns what blobs and unpacked layers take, each counted once.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.layers
            .values()
            .map(|layer| layer.unpacked_bytes + layer.packed.iter().map(|packed| packed.bytes).sum::<u64>())
            .sum()
    }

    /// Returns the layers that nothing refers to.
    fn idle_layers(&self) -> Vec<Digest> {
        let images = self.images.values().flat_map(|image| &image.layers);
        let steps = self.steps.values().map(|step| &step.layer);
        let used: HashSet<&Digest> = images
            .chain(steps)
            .map(|layer| &layer.diff_id)
            .chain(self.holds.keys())
            .collect();
        self.layers
            .keys()
            .filter(|diff_id| !used.contains(diff_id))
            .cloned()
            .collect()
    }

    /// Returns the file names of blobs that something refers to.
    fn used_blobs(&self) -> HashSet<String> {
        let of_images = self
            .images
            .values()
            .flat_map(|image| [&image.digest, &image.config_digest]);
        let of_layers = self.layers.values().flat_map(|layer| &layer.packed);
        of_images
            .chain(of_layers.map(|packed| &packed.digest))
            .map(|digest| digest.hex().to_owned())
            .collect()
    }

    fn is_leased(&self, image: &ImageRecord) -> bool {
        self.leases.contains_key(&image.digest)
    }
}

impl Store {
    /// Removes layers and blobs that nothing refers to.
    pub(super) fn collect(&self) -> ImageResult<()> {
        let _writing = lock(&self.writing);
        self.collect_layers()?;
        let used = self.state().used_blobs();
        let blobs = self.disk.blobs();
        let entries = fs::read_dir(&blobs).map_err(|error| disk("read", &blobs, &error))?;
        for entry in entries.flatten() {
            if !used.contains(&*entry.file_name().to_string_lossy()) {
                let path = entry.path();
                super::disk::remove(&path).map_err(|error| disk("remove", &path, &error))?;
            }
        }
        Ok(())
    }

    fn collect_layers(&self) -> ImageResult<()> {
        let idle = {
            let mut state = self.state();
            let idle = state.idle_layers();
            // Out of memory first: nobody finds one that is going.
            for diff_id in &idle {
                state.layers.remove(diff_id);
            }
            idle
        };
        if idle.is_empty() {
            return Ok(());
        }
        let scratch = self.scratch()?;
        for diff_id in idle {
            let place = self.disk.layer(&diff_id);
            self.disk
                .forget(Noted::Layer, &diff_id)
                .and_then(
                    |()| match fs::rename(&place, scratch.path().join(diff_id.hex())) {
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                        result => result,
                    },
                )
                .map_err(|error| disk("remove", &place, &error))?;
        }
        Ok(())
    }

    /// Removes what a crash left: folders of layers without a record, and blobs that were broken off long ago.
    pub(super) fn clear_leftovers(&self) -> std::io::Result<()> {
        let known: HashSet<String> = {
            let state = self.state();
            state
                .layers
                .keys()
                .map(|diff_id| diff_id.hex().to_owned())
                .collect()
        };
        for entry in fs::read_dir(self.disk.layers())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() && !known.contains(&name) {
                super::disk::remove(&entry.path())?;
            }
        }
        self.clear_partials(|age_ms, _| age_ms > PARTIAL_AGE_MAX_MS)
    }

    /// Removes blobs that were broken off, by their age and file name.
    pub(super) fn clear_partials(&self, goes: impl Fn(u64, &str) -> bool) -> std::io::Result<()> {
        let now = u64::try_from(self.clock.now().as_millis()).unwrap_or(0);
        for entry in fs::read_dir(self.disk.partials())? {
            let entry = entry?;
            let written_ms = entry
                .metadata()?
                .modified()?
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
            if goes(
                now.saturating_sub(written_ms),
                &entry.file_name().to_string_lossy(),
            ) {
                super::disk::remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Takes an image away. The caller has checked that it may go.
    fn drop_image(&self, image: &ImageRecord, removed: &mut ImagesRemoved) -> ImageResult<()> {
        let _writing = lock(&self.writing);
        {
            let mut state = self.state();
            if state.is_leased(image) {
                return Err(in_use(&image.digest));
            }
            state.images.remove(&image.digest);
        }
        self.disk
            .forget(Noted::Image, &image.digest)
            .map_err(|error| disk("remove the image from", self.disk.root(), &error))?;
        removed.names.extend(image.names.iter().cloned());
        removed.digests.push(image.digest.to_string());
        Ok(())
    }

    /// Takes a name away, and the image with its last one; without a name, all of them.
    pub(super) fn remove(&self, image: &ImageRecord, name: Option<&ImageName>) -> ImageResult<ImagesRemoved> {
        let before = self.state().disk_bytes();
        let mut removed = ImagesRemoved::default();
        match name {
            Some(name) if image.names.len() > 1 => {
                let _writing = lock(&self.writing);
                let mut image = image.clone();
                image.names.retain(|own| own != name);
                self.note_image(&image)?;
                removed.names.push(name.clone());
            }
            _ => self.drop_image(image, &mut removed)?,
        }
        self.collect()?;
        removed.freed_bytes = before.saturating_sub(self.state().disk_bytes());
        Ok(removed)
    }

    /// Removes results of build steps, and the images that `goes` says and no instance uses.
    pub(super) fn prune(&self, goes: impl Fn(&ImageRecord) -> bool) -> ImageResult<ImagesRemoved> {
        let before = self.state().disk_bytes();
        let mut removed = ImagesRemoved::default();
        let (images, steps): (Vec<ImageRecord>, Vec<Digest>) = {
            let state = self.state();
            let goes = |image: &&ImageRecord| goes(image) && !state.is_leased(image);
            (
                state.images.values().filter(goes).cloned().collect(),
                state.steps.keys().cloned().collect(),
            )
        };
        for key in &steps {
            self.drop_step(key)?;
        }
        for image in &images {
            // One that is used since is not an error: it stays.
            match self.drop_image(image, &mut removed) {
                Err(problem) if problem.slug() == ProblemKind::ImageInUse.slug() => {}
                result => result?,
            }
        }
        self.collect()?;
        removed.freed_bytes = before.saturating_sub(self.state().disk_bytes());
        Ok(removed)
    }

    fn drop_step(&self, key: &Digest) -> ImageResult<()> {
        let _writing = lock(&self.writing);
        self.state().steps.remove(key);
        self.disk
            .forget(Noted::Step, key)
            .map_err(|error| disk("remove the step from", self.disk.root(), &error))
    }

    /// Makes room for `bytes` more below `bytes_max`: results of build steps and images without a name first, then what was not
    /// used for the longest time. Images of the platform's own stay: no registry has them.
    ///
    /// # Errors
    ///
    /// When there is not enough that may go.
    pub(super) fn make_room(&self, bytes: u64, bytes_max: u64) -> ImageResult<()> {
        let is_enough = || self.state().disk_bytes().saturating_add(bytes) <= bytes_max;
        if is_enough() {
            return Ok(());
        }
        self.collect()?;
        while !is_enough() {
            let step = {
                let state = self.state();
                let oldest = state.steps.values().min_by_key(|step| step.used_at);
                oldest.map(|step| step.key.clone())
            };
            if let Some(key) = step {
                self.drop_step(&key)?;
            } else if let Some(image) = self.least_used() {
                tracing::info!(image = %image.digest, "image was removed to make room");
                self.drop_image(&image, &mut ImagesRemoved::default())?;
            } else {
                return Err(problem(
                    ProblemKind::ImageStorageFull,
                    format!(
                        "the images in use take {} MiB, {} MiB more are needed, and {} MiB is the limit: remove images, or raise images.disk_bytes_max",
                        self.state().disk_bytes() >> 20,
                        bytes.div_ceil(1 << 20),
                        bytes_max >> 20
                    ),
                ));
            }
            self.collect()?;
        }
        Ok(())
    }

    fn least_used(&self) -> Option<ImageRecord> {
        let state = self.state();
        state
            .images
            .values()
            .filter(|image| !state.is_leased(image) && !image.names.iter().any(ImageName::is_own))
            .min_by_key(|image| (!image.names.is_empty(), image.used_at))
            .cloned()
    }
}

fn in_use(digest: &Digest) -> Box<vulcan_api::Problem> {
    problem(
        ProblemKind::ImageInUse,
        format!(
            "image {} is used by instances; stop them first, or wait for their end",
            digest.short()
        ),
    )
}
