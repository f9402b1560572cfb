//! Manifests, indexes and configs of images, in OCI's words and in Docker's, as far as they matter here.
//!
//! Own types and not a library's: a field that is null, absent or unknown is common in the wild and no reason to refuse.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vulcan_api::{ImageConfig, Timestamp};

use super::{digest::Digest, layer::Layer};

pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(super) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A reference to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

/// What machine something is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Platform {
    pub(super) os: String,
    pub(super) architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) variant: Option<String>,
}

impl Platform {
    /// Returns what this machine is.
    pub(super) fn own() -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                "x86" => "386",
                other => other,
            }
            .to_owned(),
            variant: None,
        }
    }

    pub(super) fn is_own(&self) -> bool {
        let own = Self::own();
        (&self.os, &self.architecture) == (&own.os, &own.architecture)
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .as_ref()
            .map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// A manifest: what an image consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<String>,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

/// An index: manifests for several machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    pub(super) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<String>,
    pub(super) manifests: Vec<Descriptor>,
}

/// The config blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Config {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) created: Option<String>,
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) config: Option<Program>,
    pub(super) rootfs: RootFs,
}

/// What a config says of the program.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Program {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) env: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) labels: Option<BTreeMap<String, String>>,
}

/// The digests of the plain layers, the lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RootFs {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) diff_ids: Vec<Digest>,
}

impl Config {
    /// Makes the config of an image that is made here.
    pub(super) fn new(config: &ImageConfig, layers: &[Layer], created: Option<Timestamp>) -> Self {
        let own = Platform::own();
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        let list = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        let env = config.env.iter().map(|(name, value)| format!("{name}={value}"));
        Self {
            created: created.map(|time| time.to_string()),
            architecture: own.architecture,
            os: own.os,
            config: Some(Program {
                user: text(&config.user),
                env: list(&env.collect()),
                entrypoint: list(&config.entrypoint),
                cmd: list(&config.command),
                working_dir: text(&config.working_dir),
                labels: (!config.labels.is_empty()).then(|| config.labels.clone()),
            }),
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: layers.iter().map(|layer| layer.diff_id.clone()).collect(),
            },
        }
    }

    /// Returns what it says of the program.
    pub(super) fn program(&self) -> ImageConfig {
        let program = self.config.clone().unwrap_or_default();
        let env = program.env.unwrap_or_default();
        ImageConfig {
            env: env
                .iter()
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            entrypoint: program.entrypoint.unwrap_or_default(),
            command: program.cmd.unwrap_or_default(),
            working_dir: program.working_dir.unwrap_or_default(),
            user: program.user.unwrap_or_default(),
            labels: program.labels.unwrap_or_default(),
        }
    }

    pub(super) fn created_at(&self) -> Option<Timestamp> {
        let text = self.created.clone()?;
        serde_json::from_value(serde_json::Value::String(text)).ok()
    }

    pub(super) fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: None,
        }
    }
}

impl Descriptor {
    pub(super) fn new(media_type: &str, digest: &Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: digest.clone(),
            size,
            platform: None,
            annotations: None,
        }
    }
}
