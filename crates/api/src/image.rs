//! Images: names, what a node has of them, and what is told while one is made.

// tidy(hosts): names of images hold them, and Docker's is the one that people leave out

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{NodeName, Problem, Timestamp};

/// The longest name, in bytes: host, repository, tag and digest at their longest (OCI distribution specification).
pub const IMAGE_NAME_BYTES_MAX: usize = 255 + 256 + 128 + 72;
const DOCKER_HUB: &str = "docker.io";
/// The namespace of images that are made here and belong to the platform: they are never asked of a registry.
const OWN_NAMESPACE: &str = "vulcan/";
const TAG_DEFAULT: &str = "latest";

/// The name of an image, normalised as Docker does: `alpine` is `docker.io/library/alpine:latest`.
///
/// `vulcan/python` and its like are the platform's own and stay as they are; no registry is asked for them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "docker.io/library/alpine:latest")]
pub struct ImageName(Parts);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Parts {
    registry: Option<String>,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Why a name is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{name}' is no image name: {rule}; write it as [host[:port]/]repository[:tag][@sha256:digest]")]
pub struct ImageNameError {
    name: String,
    rule: &'static str,
}

impl ImageName {
    /// Returns the registry's host, with its port where it has one; `None` for an image of the platform's own.
    #[must_use]
    pub fn registry(&self) -> Option<&str> {
        self.0.registry.as_deref()
    }

    /// Returns the path below the registry: `library/alpine`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.0.repository
    }

    /// Returns the tag; `None` exactly when the name has a digest and no tag was written.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.0.tag.as_deref()
    }

    /// Returns the digest, as `sha256:` and 64 hexadecimal digits, where the name has one.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.0.digest.as_deref()
    }

    /// Returns whether it is the platform's own, made here by `vulcan image bootstrap`.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        self.0.registry.is_none()
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(registry) = &self.0.registry {
            write!(f, "{registry}/")?;
        }
        f.write_str(&self.0.repository)?;
        if let Some(tag) = &self.0.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.0.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for ImageName {
    type Error = ImageNameError;

    fn try_from(name: String) -> Result<Self, ImageNameError> {
        name.parse()
    }
}

impl FromStr for ImageName {
    type Err = ImageNameError;

    fn from_str(name: &str) -> Result<Self, ImageNameError> {
        parse(name).map_err(|rule| ImageNameError {
            name: name.chars().take(200).collect(),
            rule,
        })
    }
}

fn parse(name: &str) -> Result<ImageName, &'static str> {
    if name.len() > IMAGE_NAME_BYTES_MAX {
        return Err("it is too long");
    }
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (name, None),
    };
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return Err("its digest is not sha256: and 64 lower-case hexadecimal digits");
    }
    let (rest, tag) = match rest.rsplit_once(':') {
        // What has a slash behind the colon is a port.
        Some((rest, tag)) if !tag.contains('/') => (rest, Some(tag)),
        _ => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(
            "its tag is not 1 to 128 letters, digits, '_', '.' and '-', beginning with none of the last two",
        );
    }
    let (registry, path) = match rest.split_once('/') {
        Some((host, path)) if is_host_like(host) => (host.to_owned(), path.to_owned()),
        _ => (DOCKER_HUB.to_owned(), rest.to_owned()),
    };
    let registry = match registry.as_str() {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        _ => registry,
    };
    if !is_host(&registry) {
        return Err("its registry is not a host name, with a port or without");
    }
    let repository = if registry == DOCKER_HUB && !path.contains('/') {
        format!("library/{path}")
    } else {
        path
    };
    if repository.len() > 255 || !repository.split('/').all(is_component) {
        return Err(
            "its repository is not lower-case letters and digits, with single '.', '_', '-' and '/' between them",
        );
    }
    let is_own = registry == DOCKER_HUB && repository.starts_with(OWN_NAMESPACE);
    Ok(ImageName(Parts {
        registry: (!is_own).then_some(registry),
        repository,
        tag: match (tag, digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, None) => Some(TAG_DEFAULT.to_owned()),
            (None, Some(_)) => None,
        },
        digest: digest.map(str::to_owned),
    }))
}

/// Whether the first part of a name is a host: it has a dot or a port, or is `localhost`.
fn is_host_like(part: &str) -> bool {
    part.contains(['.', ':', '[']) || part == "localhost"
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
            let port = rest.strip_prefix(':');
            return is_address && (rest.is_empty() || port.is_some_and(is_port));
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    port.is_none_or(is_port) && name.split('.').all(is_label)
}

fn is_port(port: &str) -> bool {
    port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    is_word(*first)
        && is_word(*last)
        && bytes
            .iter()
            .all(|byte| is_word(*byte) || matches!(byte, b'.' | b'_' | b'-'))
        && !component.contains("..")
        && !component.contains("___")
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// What an image says of its program; all of it may be empty (OCI image specification, `config`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ImageConfig {
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The program, with arguments that are always there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Arguments where nobody gives others; the program itself where there is no entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The working directory; `/` where it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// `user`, `uid`, `user:group` or `uid:gid`; root where it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Marks of whoever made it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// An image that a node has, unpacked and ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Image {
    /// Its names; the same content may have several.
    pub names: Vec<ImageName>,
    /// The digest of its manifest: what `name@digest` asks a registry for.
    pub digest: String,
    /// Where it is.
    pub node: NodeName,
    /// `linux/amd64` and the like.
    pub platform: String,
    /// Bytes of its layers as they travel, compressed.
    pub packed_bytes: u64,
    /// Bytes of its files, unpacked; layers that it shares with other images count in each.
    pub unpacked_bytes: u64,
    /// Its layers, the lowest first.
    pub layers: Vec<ImageLayer>,
    /// What it says of its program.
    pub config: ImageConfig,
    /// When it was made, where it says so.
    pub created_at: Option<Timestamp>,
    /// When it came here.
    pub added_at: Timestamp,
    /// When it was last used.
    pub used_at: Timestamp,
    /// Instances that use it now; it cannot be removed while there are any.
    pub in_use: u32,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ImageLayer {
    /// The digest of the layer as it travels.
    pub digest: String,
    /// Its size as it travels.
    pub packed_bytes: u64,
    /// Its size unpacked.
    pub unpacked_bytes: u64,
}

/// All images of all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ImageList {
    /// By name.
    pub images: Vec<Image>,
    /// Bytes on disk, of blobs and unpacked layers, each counted once.
    pub disk_bytes: u64,
    /// What the store may take; images that nobody uses go when it is exceeded, the least recently used first.
    pub disk_bytes_max: u64,
}

/// What went with an image, or with all that nobody needs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ImagesRemoved {
    /// Names that are gone.
    pub names: Vec<ImageName>,
    /// Digests of images that went with their last name.
    pub digests: Vec<String>,
    /// Bytes of disk that are free again.
    pub freed_bytes: u64,
}

/// Asks for an image of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImagePull {
    /// Which one.
    pub image: ImageName,
    /// Whom to pull as, for this time; the node's configured credentials where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<RegistryCredentials>,
}

/// A name and a password at a registry.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistryCredentials {
    /// The name.
    pub username: String,
    /// The password or token; never logged and never sent back.
    pub password: String,
}

impl fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryCredentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Says what to remove of what nobody needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImagePrune {
    /// Whether images with names go as well, where no instance uses them and no default of a runtime names them.
    #[serde(default)]
    pub all: bool,
}

/// Says which of the platform's own images to make.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageBootstrap {
    /// Their names, as `vulcan/python`; all of them where it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<ImageName>,
}

/// Says how to build an image; the context, a tar archive with gzip or without, is the body of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageBuild {
    /// What it is to be called.
    pub name: ImageName,
    /// The recipe or Dockerfile inside the context: `vulcan.toml` at its end, or anything else, says which of the two it is.
    pub file: String,
    /// Values of the file's `ARG`s.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
    /// The stage to stop after; the last one where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whether to run every step, also those whose result is kept from an earlier build.
    #[serde(default)]
    pub no_cache: bool,
}

/// The shape of an archive with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImageArchive {
    /// An OCI image layout.
    #[default]
    Oci,
    /// What `docker save` writes and `docker load` reads.
    Docker,
}

/// What is told while an image is made: one JSON object per line. The last one is `done` or `failed`; an answer that ends
/// without it was cut off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum ImageEvent {
    /// Something began, in words: "layer sha256:1234…", "step 3/7: RUN apt-get update".
    Step {
        /// What.
        text: String,
    },
    /// How far something is.
    Progress {
        /// What: a layer's digest, for example.
        what: String,
        /// Bytes so far.
        bytes: u64,
        /// Bytes in all, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes_total: Option<u64>,
    },
    /// A line that a step of a build printed.
    Log {
        /// The line, without its end.
        text: String,
    },
    /// All of it is there.
    Done {
        /// What was made.
        images: Vec<Image>,
    },
    /// It came to nothing, and left nothing but what a repetition may use.
    Failed {
        /// Why.
        problem: Box<Problem>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_as_docker_does() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let table: Vec<String> = [
            "alpine",
            "alpine:3.20",
            "library/alpine",
            "someone/app",
            "docker.io/alpine",
            "index.docker.io/library/alpine",
            "ghcr.io/a/b/c:v1",
            "localhost/app",
            "localhost:5000/app",
            "127.0.0.1:5000/a/b:1",
            "[::1]:5000/app",
            "vulcan/python",
            "vulcan/python:12",
            &format!("alpine@{digest}"),
            &format!("alpine:3@{digest}"),
            "",
            "Alpine",
            "a//b",
            "alpine:",
            "alpine:.x",
            "alpine@sha256:1",
            "host:99999/a",
            "-host.x/a",
            "../etc",
            "a b",
            "a/../b",
        ]
        .into_iter()
        .map(|text| match text.parse::<ImageName>() {
            Ok(name) => format!("{text} → {name}"),
            Err(error) => format!("{text} ✗ {}", error.rule),
        })
        .map(|line| line.replace(&"a".repeat(64), "aa…"))
        .collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        alpine → docker.io/library/alpine:latest
        alpine:3.20 → docker.io/library/alpine:3.20
        library/alpine → docker.io/library/alpine:latest
        someone/app → docker.io/someone/app:latest
        docker.io/alpine → docker.io/library/alpine:latest
        index.docker.io/library/alpine → docker.io/library/alpine:latest
        ghcr.io/a/b/c:v1 → ghcr.io/a/b/c:v1
        localhost/app → localhost/app:latest
        localhost:5000/app → localhost:5000/app:latest
        127.0.0.1:5000/a/b:1 → 127.0.0.1:5000/a/b:1
        [::1]:5000/app → [::1]:5000/app:latest
        vulcan/python → vulcan/python:latest
        vulcan/python:12 → vulcan/python:12
        alpine@sha256:aa… → docker.io/library/alpine@sha256:aa…
        alpine:3@sha256:aa… → docker.io/library/alpine:3@sha256:aa…
         ✗ its repository is not lower-case letters and digits, with single '.', '_', '-' and '/' between them
        Alpine ✗ its repository is not lower-case letters and digits, with single '.', '_', '-' and '/' between them
        a//b ✗ its repository is not lower-case letters and digits, with single '.', '_', '-' and '/' between them
        alpine: ✗ its tag is not 1 to 128 letters, digits, '_', '.' and '-', beginning with none of the last two
        alpine:.x ✗ its tag is not 1 to 128 letters, digits, '_', '.' and '-', beginning with none of the last two
        alpine@sha256:1 ✗ its digest is not sha256: and 64 lower-case hexadecimal digits
        host:99999/a ✗ its registry is not a host name, with a port or without
        -host.x/a ✗ its registry is not a host name, with a port or without
        ../etc ✗ its registry is not a host name, with a port or without
        a b ✗ its repository is not lower-case letters and digits, with single '.', '_', '-' and '/' between them
        a/../b ✗ its repository is not lower-case letters and digits, with single '.', '_', '-' and '/' between them
        ");
    }

    #[test]
    fn a_normalised_name_stays_as_it_is() {
        for text in ["alpine", "vulcan/python", "localhost:5000/app", "ghcr.io/a/b:v1"] {
            let name: ImageName = text.parse().unwrap();
            assert_eq!(name.to_string().parse(), Ok(name));
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let credentials = RegistryCredentials {
            username: "somebody".into(),
            password: "hunter2".into(),
        };
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
