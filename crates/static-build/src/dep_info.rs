//! Cargo's dep-info files: which files of the workspace went into a binary.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Returns the files that the dep-info text names: `target: file file …`, with spaces escaped by a backslash.
pub(crate) fn sources(text: &str) -> BTreeSet<PathBuf> {
    text.lines()
        .filter_map(|line| line.split_once(": "))
        .flat_map(|(_, files)| split_escaped(files))
        .collect()
}

/// Returns the manifests of the packages that the files belong to.
pub(crate) fn manifests(sources: &BTreeSet<PathBuf>, root: &Path) -> BTreeSet<PathBuf> {
    sources
        .iter()
        .filter(|source| source.starts_with(root))
        .filter_map(|source| {
            source
                .ancestors()
                .map(|folder| folder.join("Cargo.toml"))
                .find(|manifest| manifest.is_file())
        })
        .collect()
}

fn split_escaped(files: &str) -> Vec<PathBuf> {
    files
        .replace("\\ ", "\0")
        .split(' ')
        .filter(|file| !file.is_empty())
        .map(|file| PathBuf::from(file.replace('\0', " ")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_spaces_stay_whole() {
        let found = sources("/t/agent: /w/a\\ b/main.rs /w/lib.rs\n");
        let expected: BTreeSet<PathBuf> = ["/w/a b/main.rs", "/w/lib.rs"].map(PathBuf::from).into();
        assert_eq!(found, expected);
    }
}
