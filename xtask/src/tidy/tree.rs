//! The repository's files in memory: read once, or made up by a test.

use std::{fs, io, path::Path};

/// Folders that are not the repository's own.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", "__pycache__"];

/// A larger file is listed, and its text is not looked at.
const TEXT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Its path, relative to the root, with `/`.
    pub(super) path: String,
    /// Its text; empty where it has none that can be read.
    pub(super) text: String,
}

impl File {
    /// Returns the name without folders.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Returns the extension without the dot; empty where there is none.
    pub(super) fn extension(&self) -> &str {
        self.name()
            .rsplit_once('.')
            .map_or("", |(_, extension)| extension)
    }

    /// Returns whether the file only holds tests.
    pub(super) fn is_test(&self) -> bool {
        self.path.starts_with("system-tests/") || self.path.split('/').any(|part| part == "tests")
    }
}

/// The files of the repository, sorted by path.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    /// All of them.
    pub(super) files: Vec<File>,
}

impl Tree {
    /// Reads everything under `root` but what is built or fetched.
    ///
    /// # Errors
    ///
    /// Whatever the file system says of a folder or file that cannot be read.
    pub(super) fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.read_folder(root, "")?;
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                self.read_folder(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file() {
                self.files.push(File {
                    path,
                    text: read_text(&entry)?,
                });
            }
        }
        Ok(())
    }

    /// Returns whether a file or a folder is at `path`.
    pub(super) fn has(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty()
            || self
                .files
                .iter()
                .any(|file| file.path == path || file.path.starts_with(&folder))
    }

    /// Returns the files with one of the extensions.
    pub(super) fn with_extension<'a>(&'a self, extensions: &'a [&str]) -> impl Iterator<Item = &'a File> {
        self.files
            .iter()
            .filter(|file| extensions.contains(&file.extension()))
    }
}

fn read_text(entry: &fs::DirEntry) -> io::Result<String> {
    if entry.metadata()?.len() > TEXT_BYTES_MAX {
        return Ok(String::new());
    }
    Ok(String::from_utf8(fs::read(entry.path())?).unwrap_or_default())
}

#[cfg(test)]
impl Tree {
    /// Makes a tree of paths and texts.
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| File {
                path: (*path).into(),
                text: (*text).into(),
            })
            .collect();
        Self { files }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_leaves_out_what_is_built_and_keeps_hidden_folders() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["target", ".ci"] {
            fs::create_dir(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join("run"), "x").unwrap();
        }

        let tree = Tree::read(root.path()).unwrap();

        assert_eq!(
            tree.files,
            [File {
                path: ".ci/run".into(),
                text: "x".into()
            }]
        );
        assert!(tree.has(".ci") && tree.has(".ci/run") && !tree.has("target"));
    }
}
