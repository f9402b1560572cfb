//! Images that are made here, out of layers of the store.

use std::sync::Arc;

use vulcan_api::{Image, ImageConfig, ImageName, ProblemKind, Timestamp};
use vulcan_bus::ImageResult;

use super::{
    Images,
    digest::Digest,
    layer::Layer,
    manifest::{Config, Descriptor, Manifest, OCI_CONFIG, OCI_MANIFEST, Platform},
    problem::{blocking, problem},
    record::{ImageRecord, VERSION},
};

/// An image that is to be.
#[derive(Debug, Clone)]
pub(crate) struct NewImage {
    /// What it is to be called; whoever had these names loses them.
    pub(crate) names: Vec<ImageName>,
    /// The lowest first; at least one.
    pub(crate) layers: Vec<Layer>,
    pub(crate) config: ImageConfig,
    /// When it was made, as it says itself: part of its digest.
    pub(crate) created: Option<Timestamp>,
}

impl Images {
    /// Adds an image; one with the same content is the same image.
    ///
    /// # Errors
    ///
    /// When the disk is full or does not work.
    pub(crate) async fn add(&self, new: NewImage) -> ImageResult<Image> {
        let (store, bytes_max) = (Arc::clone(&self.store), self.setup.options.disk_bytes_max);
        let added = blocking(move || {
            store.make_room(0, bytes_max)?;
            let config = encode(&Config::new(&new.config, &new.layers, new.created))?;
            let config_digest = Digest::of(&config);
            let manifest = encode(&Manifest {
                schema_version: 2,
                media_type: Some(OCI_MANIFEST.to_owned()),
                config: Descriptor::new(OCI_CONFIG, &config_digest, config.len() as u64),
                layers: new
                    .layers
                    .iter()
                    .map(|layer| Descriptor::new(&layer.media_type, &layer.digest, layer.packed_bytes))
                    .collect(),
            })?;
            let digest = Digest::of(&manifest);
            let now = store.clock.now();
            let record = ImageRecord {
                version: VERSION,
                digest: digest.clone(),
                config_digest: config_digest.clone(),
                names: new.names,
                platform: Platform::own().to_string(),
                layers: new.layers.iter().map(Layer::of).collect(),
                config: new.config,
                created_at: new.created,
                added_at: now,
                used_at: now,
            };
            let image = store.put_image(record, &[(&digest, &manifest), (&config_digest, &config)]);
            // Held until here: from now on the image keeps them.
            drop(new.layers);
            image
        })
        .await;
        self.settle();
        added
    }

    /// Has what is here written to the disk in the background: an image can be used before that.
    pub(super) fn settle(&self) {
        let store = Arc::clone(&self.store);
        // Whoever ends the runtime waits for it; cut off, the layers are made again after the next boot.
        drop(tokio::task::spawn_blocking(move || {
            if let Err(problem) = store.settle() {
                tracing::warn!(error = problem.detail, "layers may not be on the disk yet");
            }
        }));
    }
}

pub(super) fn encode<T: serde::Serialize>(value: &T) -> ImageResult<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| {
        problem(
            ProblemKind::Internal,
            format!("a manifest could not be written: {error}"),
        )
    })
}
