//! The workspace's manifests: what they depend on, and what all of them must have.

use toml::{Table, Value};

use super::{
    finding::Finding,
    tree::{File, Tree},
};

/// Which table a dependency stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `[dependencies]`, for any target.
    Normal,
    /// `[build-dependencies]`.
    Build,
    /// `[dev-dependencies]`.
    Dev,
}

/// One line of a manifest's dependencies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dependency {
    /// The package, whatever it is called in the code.
    pub(super) name: String,
    /// Its table.
    pub(super) kind: Kind,
    /// Its line in the manifest.
    pub(super) line: usize,
    /// Whether its version comes from the root.
    pub(super) is_inherited: bool,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Where it is.
    pub(super) path: String,
    /// The package's name.
    pub(super) name: String,
    /// Whether it has the workspace's lints.
    pub(super) has_lints: bool,
    /// All tables in one list.
    pub(super) dependencies: Vec<Dependency>,
}

/// Returns the packages of the tree.
pub(super) fn manifests(tree: &Tree) -> Vec<Manifest> {
    tree.files
        .iter()
        .filter(|file| file.name() == "Cargo.toml")
        .filter_map(manifest)
        .collect()
}

/// Finds manifests that go their own way, and a lock file that is missing or ignored.
pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in manifests(tree) {
        if !manifest.has_lints {
            findings.push(Finding::new(
                &manifest.path,
                1,
                "lacks the lints: add [lints] workspace = true",
            ));
        }
        for dependency in manifest
            .dependencies
            .iter()
            .filter(|dependency| !dependency.is_inherited)
        {
            let message = format!(
                "{} has a version of its own: versions live in the root manifest, write {}.workspace = true",
                dependency.name, dependency.name
            );
            findings.push(Finding::new(&manifest.path, dependency.line, message));
        }
    }
    findings.extend(lock_findings(tree));
    findings
}

fn lock_findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !tree.has("Cargo.lock") {
        findings.push(Finding::new(
            "Cargo.lock",
            1,
            "is missing: commit it, a build is to be repeatable",
        ));
    }
    let ignored = tree
        .files
        .iter()
        .filter(|file| file.name() == ".gitignore")
        .flat_map(|file| {
            let lines = file.text.lines().enumerate();
            lines
                .filter(|(_, line)| line.trim_start_matches('/') == "Cargo.lock")
                .map(move |(index, _)| (file, index + 1))
        });
    findings
        .extend(ignored.map(|(file, line)| Finding::new(&file.path, line, "ignores Cargo.lock: commit it")));
    findings
}

fn manifest(file: &File) -> Option<Manifest> {
    let table: Table = file.text.parse().ok()?;
    let name = table.get("package")?.get("name")?.as_str()?.to_owned();
    let has_lints = table
        .get("lints")
        .and_then(|lints| lints.get("workspace"))
        .and_then(Value::as_bool);
    let mut dependencies = dependencies(&file.text, &table);
    for target in table
        .get("target")
        .and_then(Value::as_table)
        .into_iter()
        .flat_map(Table::values)
    {
        dependencies.extend(
            target
                .as_table()
                .map(|table| self::dependencies(&file.text, table))
                .unwrap_or_default(),
        );
    }
    Some(Manifest {
        path: file.path.clone(),
        name,
        has_lints: has_lints == Some(true),
        dependencies,
    })
}

fn dependencies(text: &str, table: &Table) -> Vec<Dependency> {
    let kinds = [
        ("dependencies", Kind::Normal),
        ("build-dependencies", Kind::Build),
        ("dev-dependencies", Kind::Dev),
    ];
    let mut dependencies = Vec::new();
    for (key, kind) in kinds {
        let Some(entries) = table.get(key).and_then(Value::as_table) else {
            continue;
        };
        dependencies.extend(entries.iter().map(|(alias, entry)| {
            Dependency {
                name: entry
                    .get("package")
                    .and_then(Value::as_str)
                    .unwrap_or(alias)
                    .to_owned(),
                kind,
                line: line_of(text, key, alias),
                is_inherited: entry.get("workspace").and_then(Value::as_bool) == Some(true),
            }
        }));
    }
    dependencies
}

/// Returns the line of a key in the table that ends with `table`; 1 where it is written in an unusual way.
fn line_of(text: &str, table: &str, key: &str) -> usize {
    let mut is_inside = false;
    for (index, line) in text.lines().enumerate() {
        if let Some(header) = line.trim().strip_prefix('[') {
            let header = header.trim_end_matches(']');
            is_inside = header == table || header.ends_with(&format!(".{table}"));
        } else if is_inside && line.trim().split(['.', '=', ' ']).next() == Some(key) {
            return index + 1;
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        findings(&Tree::of(files))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_package_without_the_workspaces_lints_is_found() {
        assert_eq!(
            messages(&[("Cargo.lock", ""), ("a/Cargo.toml", "[package]\nname = \"a\"\n")]),
            ["a/Cargo.toml:1: lacks the lints: add [lints] workspace = true"]
        );
    }

    #[test]
    fn a_version_beside_the_root_manifest_is_found() {
        let text = "[package]\nname = \"a\"\n[lints]\nworkspace = true\n[target.'cfg(unix)'.dependencies]\nserde = \"1\"\n";
        assert_eq!(
            messages(&[("Cargo.lock", ""), ("a/Cargo.toml", text)]),
            [
                "a/Cargo.toml:6: serde has a version of its own: versions live in the root manifest, write serde.workspace = true"
            ]
        );
    }

    #[test]
    fn a_missing_and_an_ignored_lock_file_are_found() {
        assert_eq!(
            messages(&[(".gitignore", "/target\nCargo.lock\n")]),
            [
                "Cargo.lock:1: is missing: commit it, a build is to be repeatable",
                ".gitignore:2: ignores Cargo.lock: commit it"
            ]
        );
    }
}
