//! From an archive to images.

use std::{collections::BTreeMap, fs::File, io, path::Path, sync::Arc};

use serde::Deserialize;
use tokio::{io::AsyncWriteExt as _, sync::mpsc};
use vulcan_api::{Image, ImageName, Problem, ProblemKind};
use vulcan_bus::{ImageResult, UploadPiece};

use super::files::Files;
use crate::image::{
    Images,
    add::encode,
    digest::{Digest, Hashing},
    disk::Scratch,
    manifest::{Config, Descriptor, Index, Manifest, OCI_CONFIG, OCI_MANIFEST},
    problem::{blocking, disk, invalid, problem},
    pull::{Kind, Packing, Plan, choose, kind_of},
    record::LayerOf,
    teller::Teller,
    unpack::media_type_of,
};

const WHAT: &str = "the archive";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// One image of an archive.
struct Found {
    plan: Plan,
    names: Vec<ImageName>,
    /// Where the files of its layers lie, in the order of the plan.
    files: Vec<std::path::PathBuf>,
}

impl Images {
    /// Takes images out of an archive of either shape. May be dropped at any time.
    pub(in crate::image) async fn import(
        &self,
        name: Option<ImageName>,
        archive: mpsc::Receiver<UploadPiece>,
        teller: &Teller,
    ) -> ImageResult<Vec<Image>> {
        let scratch = Arc::new(self.scratch()?);
        let options = &self.setup.options;
        let path = receive(&scratch, archive, options.disk_bytes_max, teller).await?;
        let (holder, bytes_max) = (Arc::clone(&scratch), options.disk_bytes_max);
        let found = blocking(move || {
            let folder = holder.path().join("files");
            std::fs::create_dir(&folder).map_err(|error| disk("make", &folder, &error))?;
            let files = Files::unpack(&path, &folder, bytes_max)?;
            // Its place is needed for what comes out of it.
            std::fs::remove_file(&path).map_err(|error| disk("remove", &path, &error))?;
            find(&files, name)
        })
        .await?;
        let mut images = Vec::new();
        for one in found {
            images.push(self.import_one(one, teller).await?);
        }
        Ok(images)
    }

    async fn import_one(&self, found: Found, teller: &Teller) -> ImageResult<Image> {
        let name = found
            .names
            .first()
            .map_or_else(|| found.plan.digest.to_string(), ToString::to_string);
        teller.step(format!("{name}: {} layers", found.files.len())).await;
        self.reserve(&found.plan).await?;
        let mut layers = Vec::new();
        for ((blob, diff_id), path) in found.plan.layers.iter().zip(found.files) {
            let _maker = self.makers.lock(&blob.digest).await;
            let of = LayerOf {
                digest: blob.digest.clone(),
                diff_id: diff_id.clone(),
            };
            let layer = match self.store.layer(&of) {
                Some(layer) => layer,
                None => {
                    let packing = Packing { blob, diff_id, path };
                    self.unpack_blob(packing, &name, teller).await?
                }
            };
            layers.push(layer);
        }
        self.add_planned(found.plan, found.names, layers, &name).await
    }
}

/// Writes an upload into a file.
async fn receive(
    scratch: &Scratch,
    mut archive: mpsc::Receiver<UploadPiece>,
    bytes_max: u64,
    teller: &Teller,
) -> ImageResult<std::path::PathBuf> {
    let path = scratch.path().join("archive");
    let failed = |error: io::Error| disk("write", &path, &error);
    let mut file = tokio::fs::File::create_new(&path).await.map_err(failed)?;
    let progress = teller.progress("archive".to_owned(), None);
    let mut bytes = 0;
    loop {
        match archive.recv().await {
            Some(UploadPiece::Bytes(piece)) => {
                bytes += piece.len() as u64;
                if bytes > bytes_max {
                    return Err(invalid(WHAT, format!("it has more than {bytes_max} bytes")));
                }
                file.write_all(&piece).await.map_err(failed)?;
                progress(bytes);
            }
            Some(UploadPiece::End) => {
                file.flush().await.map_err(failed)?;
                return Ok(path);
            }
            None => return Err(invalid(WHAT, "the upload was broken off; send it again")),
        }
    }
}

fn find(files: &Files, name: Option<ImageName>) -> ImageResult<Vec<Found>> {
    let mut found = if files.find("index.json").is_some() {
        of_layout(files)?
    } else if files.find("manifest.json").is_some() {
        of_docker(files)?
    } else {
        return Err(invalid(
            WHAT,
            "it has neither the index.json of an OCI layout nor the manifest.json of docker save",
        ));
    };
    match (name, found.as_mut_slice()) {
        (_, []) => return Err(invalid(WHAT, "it has no image")),
        (Some(name), [one]) => one.names = vec![name],
        (Some(_), several) => {
            return Err(problem(
                ProblemKind::InvalidParameter,
                format!(
                    "the archive has {} images, and one name was given: leave it out",
                    several.len()
                ),
            ));
        }
        (None, several) => {
            if several.iter().any(|one| one.names.is_empty()) {
                return Err(problem(
                    ProblemKind::InvalidParameter,
                    "the archive does not say what its image is called: give it a name",
                ));
            }
        }
    }
    Ok(found)
}

fn of_layout(files: &Files) -> ImageResult<Vec<Found>> {
    let index: Index = parse(&files.read("index.json")?, "index.json")?;
    let mut found: BTreeMap<Digest, Found> = BTreeMap::new();
    for descriptor in index.manifests {
        // Attestations and the like.
        if descriptor
            .platform
            .as_ref()
            .is_some_and(|platform| platform.os == "unknown")
        {
            continue;
        }
        let names = names_of(&descriptor);
        let mut manifest = checked(files, &descriptor.digest)?;
        if kind_of(&manifest).map_err(|why| invalid(WHAT, why))? == Kind::Index {
            let chosen = choose(&manifest).map_err(|none| none.about(WHAT))?;
            manifest = checked(files, &chosen)?;
        }
        let parsed: Manifest = parse(&manifest, "manifest")?;
        let config = checked(files, &parsed.config.digest)?;
        let plan = Plan::new(manifest, config).map_err(|none| none.about(WHAT))?;
        let paths = plan
            .layers
            .iter()
            .map(|(blob, _)| {
                let path = find_blob(files, &blob.digest)?;
                let digest = digest_of(path)?;
                if digest.0 == blob.digest && digest.1 == blob.size {
                    return Ok(path.to_owned());
                }
                let why = format!(
                    "its blob {} has the digest {} and {} bytes in truth",
                    blob.digest, digest.0, digest.1
                );
                Err(invalid(WHAT, why))
            })
            .collect::<ImageResult<_>>()?;
        let one = found.entry(plan.digest.clone()).or_insert(Found {
            plan,
            names: Vec::new(),
            files: paths,
        });
        one.names.extend(names);
    }
    Ok(found.into_values().collect())
}

/// A name as tools write it; one that is only a tag says nothing of whose.
fn names_of(descriptor: &Descriptor) -> Option<ImageName> {
    let annotations = descriptor.annotations.as_ref()?;
    let full = annotations.get(CONTAINERD_NAME);
    let name = full.or_else(|| annotations.get(REF_NAME).filter(|name| name.contains([':', '/'])));
    name?.parse().ok()
}

fn find_blob<'a>(files: &'a Files, digest: &Digest) -> ImageResult<&'a Path> {
    files
        .find(&format!("blobs/sha256/{}", digest.hex()))
        .ok_or_else(|| invalid(WHAT, format!("its blob {digest} is not there")))
}

/// Reads a small blob, and checks its digest.
fn checked(files: &Files, digest: &Digest) -> ImageResult<Vec<u8>> {
    let content = files.read(&format!("blobs/sha256/{}", digest.hex()))?;
    let own = Digest::of(&content);
    if own == *digest {
        Ok(content)
    } else {
        Err(invalid(
            WHAT,
            format!("its blob {digest} has the digest {own} in truth"),
        ))
    }
}

/// One image in what `docker save` writes.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn of_docker(files: &Files) -> ImageResult<Vec<Found>> {
    let saved: Vec<Saved> = parse(&files.read("manifest.json")?, "manifest.json")?;
    saved.into_iter().map(|saved| of_saved(files, saved)).collect()
}

/// Such an archive has no manifest of its own: it is made here, always the same for the same content.
fn of_saved(files: &Files, saved: Saved) -> ImageResult<Found> {
    let config = files.read(&saved.config)?;
    let parsed: Config = parse(&config, "config")?;
    let mut layers = Vec::new();
    let mut paths = Vec::new();
    for name in &saved.layers {
        let path = files
            .find(name)
            .ok_or_else(|| invalid(WHAT, format!("its layer '{name}' is not there")))?;
        let (digest, bytes) = digest_of(path)?;
        let media_type = media_type_of(path).map_err(|error| disk("read", path, &error))?;
        layers.push(Descriptor::new(media_type, &digest, bytes));
        paths.push(path.to_owned());
    }
    if layers.len() != parsed.rootfs.diff_ids.len() {
        return Err(invalid(
            WHAT,
            "its config has another number of layers than its manifest",
        ));
    }
    let manifest = encode(&Manifest {
        schema_version: 2,
        media_type: Some(OCI_MANIFEST.to_owned()),
        config: Descriptor::new(OCI_CONFIG, &Digest::of(&config), config.len() as u64),
        layers,
    })?;
    Ok(Found {
        plan: Plan::new(manifest, config).map_err(|none| none.about(WHAT))?,
        names: saved
            .repo_tags
            .unwrap_or_default()
            .iter()
            .map(|name| name.parse())
            .collect::<Result<_, vulcan_api::ImageNameError>>()
            .map_err(|error| invalid(WHAT, error))?,
        files: paths,
    })
}

fn parse<T: serde::de::DeserializeOwned>(content: &[u8], what: &str) -> Result<T, Box<Problem>> {
    serde_json::from_slice(content)
        .map_err(|error| invalid(WHAT, format!("its {what} cannot be read: {error}")))
}

fn digest_of(path: &Path) -> ImageResult<(Digest, u64)> {
    let hash = || -> io::Result<_> {
        let mut hashing = Hashing::new(File::open(path)?);
        io::copy(&mut hashing, &mut io::sink())?;
        Ok(hashing.finish())
    };
    let (_, digest, bytes) = hash().map_err(|error| disk("read", path, &error))?;
    Ok((digest, bytes))
}
