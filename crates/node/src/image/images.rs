//! The store as the rest of the node sees it.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::mpsc;
use vulcan_api::{
    Clock, Image, ImageConfig, ImageEvent, ImageName, ImagePull, NodeName, ProblemKind, Runtime,
};
use vulcan_backend::{Backend, Root};
use vulcan_bus::ImageResult;

use super::{
    disk::Disk,
    layer::{Layer, root_folders},
    options::ImageOptions,
    problem::{blocking, refuse},
    record::ImageRecord,
    store::Store,
    teller::{Makers, Teller},
};

/// An image that was asked for, ready to be stood on.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    /// Its layers as folders; the image stays for as long as anybody holds it.
    pub(crate) root: Arc<Root>,
    /// What it says of its program.
    pub(crate) config: ImageConfig,
    /// Its layers, the lowest first.
    pub(crate) layers: Vec<Layer>,
}

/// What the store is made with.
pub(crate) struct Setup {
    pub(crate) folder: PathBuf,
    pub(crate) options: ImageOptions,
    pub(crate) node: NodeName,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where steps of builds run: classes that take a root, the preferred one first.
    pub(crate) builders: Vec<Arc<dyn Backend>>,
}

/// The images of a node.
pub(crate) struct Images {
    pub(super) setup: Setup,
    pub(super) store: Arc<Store>,
    pub(super) makers: Makers,
}

/// Where the events of a making go. Whoever listens may be gone, which is no error.
pub(crate) type Events = mpsc::Sender<ImageEvent>;

impl Images {
    /// Opens the store, and removes what a former process left half made.
    ///
    /// # Errors
    ///
    /// When its folder cannot be made or read.
    pub(crate) fn open(setup: Setup) -> std::io::Result<Arc<Self>> {
        let disk = Disk::open(setup.folder.clone())?;
        let store = Store::open(disk, Arc::clone(&setup.clock), setup.node.clone())?;
        store.clear_leftovers()?;
        Ok(Arc::new(Self {
            setup,
            store: Arc::new(store),
            makers: Makers::default(),
        }))
    }

    /// Has an image ready; pulls it where it is not here and not the platform's own. May be dropped at any time.
    ///
    /// # Errors
    ///
    /// A problem for the owner of the workload.
    pub(crate) async fn ready(&self, name: &ImageName) -> ImageResult<Ready> {
        if let Some(ready) = self.at_hand(name).await? {
            return Ok(ready);
        }
        if name.is_own() {
            return refuse(ProblemKind::ImageNotFound, missing(name));
        }
        let pull = ImagePull {
            image: name.clone(),
            credentials: None,
        };
        self.pull(pull, &Teller::default()).await?;
        match self.at_hand(name).await? {
            Some(ready) => Ok(ready),
            None => refuse(ProblemKind::ImageNotFound, format!("{name} was just removed")),
        }
    }

    /// Returns what programs of a runtime stand on where they name no image.
    pub(crate) fn default_of(&self, runtime: Runtime) -> Option<&ImageName> {
        self.setup.options.defaults.get(runtime.as_str())
    }

    /// Returns an image that is here, without asking anybody, and notes no use.
    pub(crate) fn find(&self, name: &ImageName) -> Option<Image> {
        self.store.find(name).map(|record| self.store.image(&record))
    }

    /// Returns the digest of an image that is here, by name or by digest.
    pub(crate) fn digest_of(&self, image: &str) -> Option<String> {
        self.resolve(image)
            .ok()
            .map(|(record, _)| record.digest.to_string())
    }

    /// Has an image ready that is here.
    async fn at_hand(&self, name: &ImageName) -> ImageResult<Option<Ready>> {
        let Some(record) = self.store.find(name) else {
            return Ok(None);
        };
        let Some(ready) = self.lend(&record) else {
            return Ok(None);
        };
        if self.store.used(&record.digest) {
            let (store, digest) = (Arc::clone(&self.store), record.digest);
            blocking(move || store.note_use(&digest)).await?;
        }
        Ok(Some(ready))
    }

    /// Lends an image to an instance.
    pub(super) fn lend(&self, record: &ImageRecord) -> Option<Ready> {
        // The lease before the layers: with it, nobody removes them.
        let lease = self.store.lease(&record.digest)?;
        let layers: Vec<Layer> = record
            .layers
            .iter()
            .map(|layer| self.store.layer(layer))
            .collect::<Option<_>>()?;
        let root = Root {
            digest: record.digest.to_string(),
            layers: root_folders(&layers),
            lease: Box::new(lease),
        };
        Some(Ready {
            root: Arc::new(root),
            config: record.config.clone(),
            layers,
        })
    }
}

/// Says that an image is not here, and how to have it.
pub(super) fn missing(name: &ImageName) -> String {
    if name.is_own() {
        format!("{name} is not here; it is made on this machine: run 'vulcan image bootstrap'")
    } else {
        format!("{name} is not here; run 'vulcan image pull {name}'")
    }
}
