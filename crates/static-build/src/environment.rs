//! Which variables of a build script the nested cargo may see.

use std::ffi::OsStr;

/// What the nested cargo needs to find itself, its compiler, its registry and the outer build's job slots.
const KEPT: [&str; 9] = [
    "CARGO_HOME",
    "CARGO_MAKEFLAGS",
    "HOME",
    "LANG",
    "PATH",
    "RUSTC",
    "TMPDIR",
    "USER",
    "MAKEFLAGS",
];
const KEPT_PREFIXES: [&str; 9] = [
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
    "CURL_",
    "GIT_",
    "RUSTUP_",
    "SSL_",
];

/// Returns whether the nested cargo sees the variable.
///
/// An allow-list: the outer cargo, clippy and nextest set flags, wrappers, profiles and target folders that are meant for
/// the outer build alone, and new ones appear with every release.
pub(crate) fn is_kept(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    KEPT.contains(&name)
        || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name.to_ascii_lowercase().ends_with("_proxy")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_wrappers_of_the_outer_build_are_dropped() {
        for name in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "CLIPPY_ARGS",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET_DIR",
            "CARGO_PROFILE_RELEASE_LTO",
            "TARGET",
        ] {
            assert!(!is_kept(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn what_finds_the_toolchain_and_the_registry_is_kept() {
        for name in [
            "CARGO_HOME",
            "RUSTUP_TOOLCHAIN",
            "PATH",
            "HTTPS_PROXY",
            "CARGO_NET_OFFLINE",
        ] {
            assert!(is_kept(OsStr::new(name)), "{name}");
        }
    }
}
