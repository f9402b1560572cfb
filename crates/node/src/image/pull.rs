//! Pulling: from a name to an image that is here.

use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use tokio_util::sync::CancellationToken;
use vulcan_api::{Image, ImageName, ImagePull, ProblemKind, RegistryCredentials};
use vulcan_bus::ImageResult;

use super::{
    Images,
    digest::Digest,
    images::missing,
    layer::{Layer, new_folder},
    manifest::{Config, Descriptor, Index, Manifest, Platform},
    problem::{self, blocking, disk, invalid, problem, refuse},
    record::{ImageRecord, LayerOf, Packed, VERSION},
    registry::{Access, Fetch, Registry, Trouble, fetch},
    store::{Made, Store},
    teller::Teller,
    unpack::{Meaning, UnpackLimits, Unpacked, unpack},
};

/// The most layers of an image, as Docker has it: overlayfs and the names of mounts have limits.
const LAYERS_LEN_MAX: usize = 127;

/// An image as its manifest and config say it, checked as far as possible without its layers.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) digest: Digest,
    pub(super) manifest: Vec<u8>,
    pub(super) config_digest: Digest,
    pub(super) config: Vec<u8>,
    pub(super) parsed: Config,
    /// The lowest first.
    pub(super) layers: Vec<(Descriptor, Digest)>,
}

impl Plan {
    /// Checks that a manifest and a config belong together and to this machine.
    pub(super) fn new(manifest: Vec<u8>, config: Vec<u8>) -> Result<Self, NoPlan> {
        let parsed_manifest: Manifest = serde_json::from_slice(&manifest)
            .map_err(|error| NoPlan::Wrong(format!("its manifest is none: {error}")))?;
        let parsed: Config = serde_json::from_slice(&config)
            .map_err(|error| NoPlan::Wrong(format!("its config is none of a container image: {error}")))?;
        let platform = parsed.platform();
        if !platform.is_own() {
            return Err(NoPlan::Platform(vec![platform.to_string()]));
        }
        let (layers, diff_ids) = (parsed_manifest.layers, &parsed.rootfs.diff_ids);
        if layers.is_empty() || layers.len() != diff_ids.len() {
            return Err(NoPlan::Wrong(format!(
                "its manifest has {} layers, and its config {}",
                layers.len(),
                diff_ids.len()
            )));
        }
        if layers.len() > LAYERS_LEN_MAX {
            return Err(NoPlan::Wrong(format!(
                "it has {} layers, and {LAYERS_LEN_MAX} are allowed",
                layers.len()
            )));
        }
        Ok(Self {
            digest: Digest::of(&manifest),
            config_digest: Digest::of(&config),
            layers: layers.into_iter().zip(diff_ids.iter().cloned()).collect(),
            manifest,
            config,
            parsed,
        })
    }
}

/// Why an image cannot be used, whatever its layers are.
#[derive(Debug)]
pub(super) enum NoPlan {
    Wrong(String),
    /// For which machines there is one.
    Platform(Vec<String>),
}

impl NoPlan {
    pub(super) fn about(self, what: &str) -> Box<vulcan_api::Problem> {
        match self {
            Self::Wrong(why) => invalid(what, why),
            Self::Platform(others) => problem(
                ProblemKind::ImagePlatform,
                format!(
                    "{what} is not made for {}; there are: {}",
                    Platform::own(),
                    if others.is_empty() {
                        "none".to_owned()
                    } else {
                        others.join(", ")
                    }
                ),
            ),
        }
    }
}

impl Images {
    /// Pulls an image. What is here already is not pulled again. May be dropped at any time.
    pub(super) async fn pull(&self, pull: ImagePull, teller: &Teller) -> ImageResult<Image> {
        let name = pull.image;
        if name.is_own() {
            return refuse(ProblemKind::ImageNotFound, missing(&name));
        }
        let registry = self.registry(&name, pull.credentials).await?;
        teller
            .step(format!("{name}: asking {}", name.registry().unwrap_or_default()))
            .await;
        let plan = plan(&registry, &name).await?;
        let layers = self.pull_layers(&registry, &name, &plan, teller).await?;
        self.add_planned(plan, vec![name.clone()], layers, &name.to_string())
            .await
    }

    async fn registry(
        &self,
        name: &ImageName,
        credentials: Option<RegistryCredentials>,
    ) -> ImageResult<Registry> {
        let options = self.setup.options.clone();
        let name = name.clone();
        // Docker's file may send to a helper program, and the certificates are on disk.
        blocking(move || {
            let access = Access::to(name.registry().unwrap_or_default(), &options, credentials);
            Registry::new(&name, access).map_err(|trouble| trouble.about(&name))
        })
        .await
    }

    async fn pull_layers(
        &self,
        registry: &Registry,
        name: &ImageName,
        plan: &Plan,
        teller: &Teller,
    ) -> ImageResult<Vec<Layer>> {
        self.reserve(plan).await?;
        let pulling = Pulling {
            registry,
            name,
            teller,
        };
        let pulls: Vec<BoxFuture<'_, ImageResult<Layer>>> = plan
            .layers
            .iter()
            .map(|(blob, diff_id)| self.pull_layer(&pulling, blob, diff_id).boxed())
            .collect();
        stream::iter(pulls)
            .buffered(self.setup.options.pulls_at_once.max(1))
            .try_collect()
            .await
    }

    async fn pull_layer(
        &self,
        pulling: &Pulling<'_>,
        blob: &Descriptor,
        diff_id: &Digest,
    ) -> ImageResult<Layer> {
        let of = LayerOf {
            digest: blob.digest.clone(),
            diff_id: diff_id.clone(),
        };
        if let Some(layer) = self.store.layer(&of) {
            return Ok(layer);
        }
        let _maker = self.makers.lock(&blob.digest).await;
        // Somebody else may have made it while we waited.
        if let Some(layer) = self.store.layer(&of) {
            return Ok(layer);
        }
        let path = self.store.disk.partials().join(blob.digest.hex());
        let progress = pulling.teller.progress(blob.digest.to_string(), Some(blob.size));
        let fetched = fetch(Fetch {
            registry: pulling.registry,
            blob,
            path: &path,
            progress: &progress,
        });
        fetched.await.map_err(|trouble| trouble.about(pulling.name))?;
        let packing = Packing { blob, diff_id, path };
        self.unpack_blob(packing, &pulling.name.to_string(), pulling.teller)
            .await
    }

    /// Makes room for the packed layers that are not here; how large they are unpacked is known only later.
    pub(super) async fn reserve(&self, plan: &Plan) -> ImageResult<()> {
        let is_new = |(blob, diff_id): &&(Descriptor, Digest)| {
            let packings = self.store.packings(diff_id);
            !packings.iter().any(|packed| packed.digest == blob.digest)
        };
        let bytes: u64 = plan
            .layers
            .iter()
            .filter(is_new)
            .fold(0, |sum, (blob, _)| sum.saturating_add(blob.size));
        let (store, bytes_max) = (Arc::clone(&self.store), self.setup.options.disk_bytes_max);
        blocking(move || store.make_room(bytes, bytes_max)).await
    }

    /// Makes a layer of a blob whose digest was checked, and that lies in staging.
    pub(super) async fn unpack_blob(
        &self,
        packing: Packing<'_>,
        what: &str,
        teller: &Teller,
    ) -> ImageResult<Layer> {
        let stop = CancellationToken::new();
        let _stop_when_dropped = stop.clone().drop_guard();
        let (store, limits) = (Arc::clone(&self.store), self.limits());
        let (blob, diff_id) = (packing.blob.clone(), packing.diff_id.clone());
        let what = format!("{what}: layer {}", blob.digest.short());
        teller
            .step(format!("unpacking layer {}", blob.digest.short()))
            .await;
        let path = packing.path;
        let unpacking = Unpacking {
            store,
            blob,
            diff_id,
            path,
            what,
            limits,
        };
        let (layer, left_out) = blocking(move || unpack_into(&unpacking, &stop)).await?;
        if left_out > 0 {
            let note = format!(
                "{left_out} devices and pipes of layer {} were left out",
                layer.digest.short()
            );
            teller.step(note).await;
        }
        Ok(layer)
    }

    /// Adds an image whose layers are here.
    pub(super) async fn add_planned(
        &self,
        plan: Plan,
        names: Vec<ImageName>,
        layers: Vec<Layer>,
        what: &str,
    ) -> ImageResult<Image> {
        let options = &self.setup.options;
        let unpacked: u64 = layers.iter().map(|layer| layer.unpacked_bytes).sum();
        if unpacked > options.unpacked_bytes_max {
            let why = format!(
                "its layers have {unpacked} bytes unpacked, and {} are allowed",
                options.unpacked_bytes_max
            );
            drop(layers);
            self.collect_quietly().await;
            return Err(invalid(what, why));
        }
        let (store, bytes_max) = (Arc::clone(&self.store), options.disk_bytes_max);
        let added = blocking(move || {
            store.make_room(0, bytes_max)?;
            let now = store.clock.now();
            let record = ImageRecord {
                version: VERSION,
                digest: plan.digest.clone(),
                config_digest: plan.config_digest.clone(),
                names,
                platform: plan.parsed.platform().to_string(),
                layers: layers.iter().map(Layer::of).collect(),
                config: plan.parsed.program(),
                created_at: plan.parsed.created_at(),
                added_at: now,
                used_at: now,
            };
            let blobs: [(&Digest, &[u8]); 2] = [
                (&plan.digest, &plan.manifest),
                (&plan.config_digest, &plan.config),
            ];
            store.put_image(record, &blobs)
        })
        .await;
        match &added {
            Ok(_) => self.settle(),
            Err(_) => self.collect_quietly().await,
        }
        added
    }

    /// Removes what nothing refers to, after a failure that is told already.
    pub(super) async fn collect_quietly(&self) {
        let store = Arc::clone(&self.store);
        if let Err(problem) = blocking(move || store.collect()).await {
            tracing::warn!(error = problem.detail, "image store could not be tidied");
        }
    }
}

/// A pull that goes on.
struct Pulling<'a> {
    registry: &'a Registry,
    name: &'a ImageName,
    teller: &'a Teller,
}

/// A blob in staging.
pub(super) struct Packing<'a> {
    pub(super) blob: &'a Descriptor,
    pub(super) diff_id: &'a Digest,
    pub(super) path: std::path::PathBuf,
}

/// Finds out what an image consists of on this machine.
async fn plan(registry: &Registry, name: &ImageName) -> ImageResult<Plan> {
    let about = |trouble: Trouble| trouble.about(name);
    let reference = name.digest().or(name.tag()).unwrap_or("latest");
    let mut document = registry.manifest(reference).await.map_err(about)?;
    let mut kind = kind_of(&document.content).map_err(|why| about(Trouble::wrong(why)))?;
    if kind == Kind::Index {
        let chosen = choose(&document.content).map_err(|none| none.about(&name.to_string()))?;
        document = registry.manifest(chosen.as_str()).await.map_err(about)?;
        kind = kind_of(&document.content).map_err(|why| about(Trouble::wrong(why)))?;
    }
    if kind != Kind::Manifest {
        return Err(about(Trouble::wrong("its index leads to another index")));
    }
    let manifest: Manifest = serde_json::from_slice(&document.content)
        .map_err(|error| about(Trouble::wrong(format!("its manifest is none: {error}"))))?;
    let config = registry.small_blob(&manifest.config).await.map_err(about)?;
    Plan::new(document.content, config).map_err(|none| none.about(&name.to_string()))
}

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Manifest,
    Index,
}

/// Looks at what a document has, and not at what it is called: registries and archives differ in that.
pub(super) fn kind_of(content: &[u8]) -> Result<Kind, String> {
    let value: serde_json::Value =
        serde_json::from_slice(content).map_err(|error| format!("its manifest is no JSON: {error}"))?;
    match value["schemaVersion"].as_u64() {
        Some(1) => Err(
            "it has the old schema 1, which nobody should use any more; push it anew with a current tool"
                .to_owned(),
        ),
        Some(2) if value["manifests"].is_array() => Ok(Kind::Index),
        Some(2) if value["layers"].is_array() => Ok(Kind::Manifest),
        _ => Err("its manifest is of a kind that is not known here".to_owned()),
    }
}

/// Chooses this machine's manifest in an index.
pub(super) fn choose(index: &[u8]) -> Result<Digest, NoPlan> {
    let index: Index = serde_json::from_slice(index)
        .map_err(|error| NoPlan::Wrong(format!("its index is none: {error}")))?;
    let mut others = Vec::new();
    for manifest in index.manifests {
        match manifest.platform {
            // Attestations and the like are for no machine.
            Some(platform) if platform.os == "unknown" => {}
            Some(platform) if platform.is_own() => return Ok(manifest.digest),
            Some(platform) => others.push(platform.to_string()),
            None => return Ok(manifest.digest),
        }
    }
    Err(NoPlan::Platform(others))
}

/// An unpacking that goes on, with all that it needs on its thread.
struct Unpacking {
    store: Arc<Store>,
    blob: Descriptor,
    diff_id: Digest,
    path: std::path::PathBuf,
    /// What people are told of it.
    what: String,
    limits: UnpackLimits,
}

/// Unpacks a blob and moves both into their places. Blocks.
fn unpack_into(unpacking: &Unpacking, stop: &CancellationToken) -> ImageResult<(Layer, u64)> {
    let Unpacking {
        store,
        blob,
        diff_id,
        path,
        what,
        limits,
    } = unpacking;
    let scratch = store.scratch()?;
    let folder = new_folder(scratch.path())?;
    let archive = std::fs::File::open(path).map_err(|error| disk("read", path, &error))?;
    let unpacked = unpack(archive, &folder, Meaning::Layer, *limits, stop)
        .map_err(|error| problem::unpacking(what, &error))
        .and_then(|unpacked: Unpacked| {
            if unpacked.diff_id == *diff_id {
                return Ok(unpacked);
            }
            let why = format!("it unpacks to {}, and the image says {diff_id}", unpacked.diff_id);
            Err(invalid(what, why))
        });
    let unpacked = match unpacked {
        Ok(unpacked) => unpacked,
        Err(problem) => {
            // A blob that can never be unpacked is not kept; one that had no room is.
            if problem.slug() == ProblemKind::ImageInvalid.slug() && !stop.is_cancelled() {
                let _ = super::disk::remove(path);
            }
            return Err(problem);
        }
    };
    let layer = store.put_layer(Made {
        diff_id: unpacked.diff_id,
        unpacked_bytes: unpacked.bytes,
        folder: &folder,
        packed: Packed {
            digest: blob.digest.clone(),
            media_type: blob.media_type.clone(),
            bytes: blob.size,
        },
        blob: Some(path),
    })?;
    Ok((layer, unpacked.left_out))
}
