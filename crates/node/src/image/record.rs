//! What is noted on disk of layers, images and results of build steps: one JSON file each, with a version.
//!
//! A file is written beside its place and moved into it, so that a reader finds the old or the new one.

use serde::{Deserialize, Serialize};
use vulcan_api::{ImageName, Timestamp};

use super::digest::Digest;

/// The version of all three.
pub(super) const VERSION: u32 = 1;

/// A layer as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Packed {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) bytes: u64,
}

/// A layer that is unpacked in `layers/<hex of diff_id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LayerRecord {
    pub(super) version: u32,
    /// The digest of its plain tar.
    pub(super) diff_id: Digest,
    pub(super) unpacked_bytes: u64,
    /// The shapes in which it is among the blobs: the same tar may be packed in several ways.
    pub(super) packed: Vec<Packed>,
    /// The boot of the machine in which it was made, for as long as its files may not be on the disk: after a power cut they
    /// may be empty, and it is had again. Records without it are of layers that are on the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unsynced_boot: Option<String>,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LayerOf {
    pub(super) digest: Digest,
    pub(super) diff_id: Digest,
}

/// An image. Its manifest and its config are blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImageRecord {
    pub(super) version: u32,
    pub(super) digest: Digest,
    pub(super) config_digest: Digest,
    pub(super) names: Vec<ImageName>,
    pub(super) platform: String,
    /// The lowest first.
    pub(super) layers: Vec<LayerOf>,
    pub(super) config: vulcan_api::ImageConfig,
    pub(super) created_at: Option<Timestamp>,
    pub(super) added_at: Timestamp,
    pub(super) used_at: Timestamp,
}

/// The result of a step of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepRecord {
    pub(super) version: u32,
    pub(super) key: Digest,
    pub(super) layer: LayerOf,
    pub(super) used_at: Timestamp,
}
