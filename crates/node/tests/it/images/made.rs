//! Images made in memory, as a registry has them.

use std::{fmt::Write as _, io::Write as _};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub(super) fn digest(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .fold("sha256:".to_owned(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
}

/// A tar with files.
pub(super) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

pub(super) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(content).unwrap();
    gzip.finish().unwrap()
}

/// Bytes that do not compress, always the same.
pub(super) fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = 2 * seed + 1;
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .collect()
}

/// An image of one or more layers.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) manifest: Value,
    pub(super) config: Vec<u8>,
    pub(super) layers: Vec<Vec<u8>>,
}

impl Made {
    /// An image of plain tars, packed with gzip.
    pub(super) fn new(tars: &[Vec<u8>]) -> Self {
        let layers: Vec<Vec<u8>> = tars.iter().map(|tar| gzip(tar)).collect();
        let diff_ids: Vec<String> = tars.iter().map(|tar| digest(tar)).collect();
        Self::of(&diff_ids, layers, std::env::consts::ARCH)
    }

    pub(super) fn for_other_machine(mut self) -> Self {
        let mut config: Value = serde_json::from_slice(&self.config).unwrap();
        config["architecture"] = json!("s390x");
        self.config = config.to_string().into_bytes();
        self.manifest["config"]["digest"] = json!(digest(&self.config));
        self.manifest["config"]["size"] = json!(self.config.len());
        self
    }

    pub(super) fn of(diff_ids: &[String], layers: Vec<Vec<u8>>, arch: &str) -> Self {
        let config = json!({
            "architecture": if arch == "x86_64" { "amd64" } else { "arm64" },
            "os": "linux",
            "config": {"Env": ["GREETING=hello"], "Cmd": ["/hello"], "Labels": null},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
        .to_string()
        .into_bytes();
        let descriptors: Vec<Value> = layers
            .iter()
            .map(|layer| {
                json!({
                    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                    "digest": digest(layer),
                    "size": layer.len(),
                })
            })
            .collect();
        Self {
            manifest: json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {
                    "mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": digest(&config),
                    "size": config.len(),
                },
                "layers": descriptors,
            }),
            config,
            layers,
        }
    }

    pub(super) fn manifest_bytes(&self) -> Vec<u8> {
        self.manifest.to_string().into_bytes()
    }
}
