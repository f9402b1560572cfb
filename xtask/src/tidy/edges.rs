//! Which room may depend on which: the table of ARCHITECTURE.md.

use super::{
    finding::Finding,
    manifests::{Kind, Manifest, manifests},
    tree::Tree,
};

/// Crates that a room must never know, by what they are for.
const ASYNC: &[&str] = &[
    "tokio",
    "tokio-util",
    "tokio-stream",
    "futures",
    "async-std",
    "smol",
];
const HTTP: &[&str] = &[
    "axum",
    "axum-extra",
    "hyper",
    "hyper-util",
    "http",
    "reqwest",
    "tower",
    "tower-http",
    "utoipa-axum",
];
const HTTP_SERVER: &[&str] = &["axum", "axum-extra", "tower-http", "utoipa-axum"];
const DATABASE: &[&str] = &["sqlx", "rusqlite", "diesel", "sea-orm", "tokio-postgres"];
const CONFINEMENT: &[&str] = &["landlock", "seccompiler", "caps", "nix"];
const KERNEL: &[&str] = &["rustix", "libc", "landlock", "seccompiler", "caps", "nix"];

/// Where the table stands for people.
const ARCHITECTURE: &str = "ARCHITECTURE.md";

/// Whatever is built static and embedded is built by it, in the build scripts and tests of any room.
const BUILD_TOOL: &str = "vulcan-static-build";

/// One row of the table.
struct Room {
    /// The package; with `*` at the end all packages that start like this.
    name: &'static str,
    /// Rooms that it may depend on.
    may: &'static [&'static str],
    /// Rooms that its tests may use beside those.
    tests_may: &'static [&'static str],
    /// External crates that it must never know, its tests included.
    never: &'static [&'static [&'static str]],
}

const ROOMS: &[Room] = &[
    Room {
        name: "vulcan-api",
        may: &[],
        tests_may: &[],
        never: &[ASYNC, HTTP, DATABASE, KERNEL],
    },
    Room {
        name: "vulcan-guest-protocol",
        may: &[],
        tests_may: &[],
        never: &[ASYNC, HTTP, DATABASE, KERNEL],
    },
    Room {
        name: "vulcan-guest-agent",
        may: &["vulcan-guest-protocol"],
        tests_may: &[],
        never: &[ASYNC, HTTP, DATABASE],
    },
    Room {
        name: "vulcan-backend",
        may: &["vulcan-api", "vulcan-guest-protocol"],
        tests_may: &[],
        never: &[HTTP, DATABASE],
    },
    Room {
        name: "vulcan-host",
        may: &[],
        tests_may: &[],
        never: &[HTTP, DATABASE],
    },
    Room {
        name: "vulcan-slots",
        may: &["vulcan-backend", "vulcan-host", "vulcan-api"],
        tests_may: &[],
        never: &[HTTP, DATABASE],
    },
    Room {
        name: "vulcan-backend-*",
        may: &["vulcan-backend", "vulcan-host", "vulcan-slots", "vulcan-api"],
        tests_may: &[],
        never: &[HTTP, DATABASE],
    },
    Room {
        name: "vulcan-bus",
        may: &["vulcan-api"],
        tests_may: &[],
        never: &[HTTP, DATABASE, KERNEL],
    },
    Room {
        name: "vulcan-node",
        may: &["vulcan-backend", "vulcan-bus", "vulcan-api"],
        // Steps of builds run in real containers.
        tests_may: &["vulcan-backend-oci"],
        never: &[HTTP_SERVER],
    },
    Room {
        name: "vulcan-control",
        may: &["vulcan-bus", "vulcan-api"],
        tests_may: &[],
        never: &[CONFINEMENT],
    },
    Room {
        name: "vulcan-client",
        may: &["vulcan-api"],
        tests_may: &[],
        never: &[HTTP_SERVER, DATABASE, KERNEL],
    },
    Room {
        name: "vulcan",
        may: &[
            "vulcan-api",
            "vulcan-backend",
            "vulcan-backend-*",
            "vulcan-bus",
            "vulcan-client",
            "vulcan-control",
            "vulcan-host",
            "vulcan-node",
        ],
        tests_may: &[],
        never: &[],
    },
    Room {
        name: BUILD_TOOL,
        may: &[],
        tests_may: &[],
        never: &[ASYNC, HTTP, DATABASE],
    },
    Room {
        name: "vulcan-system-tests",
        may: &[],
        tests_may: &["vulcan", "vulcan-api", "vulcan-client"],
        never: &[DATABASE],
    },
    Room {
        name: "vulcan-benches",
        may: &["vulcan-api", "vulcan-client"],
        tests_may: &[],
        never: &[DATABASE],
    },
    Room {
        name: "xtask",
        may: &["vulcan-api", "vulcan-control"],
        tests_may: &[],
        never: &[],
    },
];

/// Finds dependencies that the table does not have, and rooms without a row.
pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let manifests = manifests(tree);
    let architecture = tree.files.iter().find(|file| file.path == ARCHITECTURE);
    let architecture = architecture.map_or("", |file| file.text.as_str());
    let packages: Vec<&str> = manifests.iter().map(|manifest| manifest.name.as_str()).collect();
    manifests
        .iter()
        .flat_map(|manifest| manifest_findings(manifest, &packages, architecture))
        .collect()
}

fn manifest_findings(manifest: &Manifest, packages: &[&str], architecture: &str) -> Vec<Finding> {
    let Some(room) = ROOMS.iter().find(|room| is_match(room.name, &manifest.name)) else {
        let message = "the package has no row in xtask/src/tidy/edges.rs and ARCHITECTURE.md: say what it may depend on";
        return vec![Finding::new(&manifest.path, 1, message)];
    };
    let mut findings = Vec::from_iter(undocumented(room, architecture));
    for dependency in &manifest.dependencies {
        let is_room = packages.contains(&dependency.name.as_str());
        if is_room && !may_use(room, &dependency.name, dependency.kind) {
            let message = format!(
                "{} must not depend on {}: see the table in ARCHITECTURE.md",
                manifest.name, dependency.name
            );
            findings.push(Finding::new(&manifest.path, dependency.line, message));
        }
        if room
            .never
            .iter()
            .any(|group| group.contains(&dependency.name.as_str()))
        {
            let message = format!(
                "{} must never know {}: see the table in ARCHITECTURE.md",
                manifest.name, dependency.name
            );
            findings.push(Finding::new(&manifest.path, dependency.line, message));
        }
    }
    findings
}

fn undocumented(room: &Room, architecture: &str) -> Option<Finding> {
    let row = format!("| `{}` |", room.name);
    let message = || {
        format!(
            "the table of rooms lacks a row for {}: say what it is and what it may depend on",
            room.name
        )
    };
    (!architecture.contains(&row)).then(|| Finding::new(ARCHITECTURE, 1, message()))
}

fn may_use(room: &Room, name: &str, kind: Kind) -> bool {
    let has = |list: &[&str]| list.iter().any(|pattern| is_match(pattern, name));
    match kind {
        Kind::Normal => has(room.may),
        Kind::Build => has(room.may) || name == BUILD_TOOL,
        Kind::Dev => has(room.may) || has(room.tests_may) || name == BUILD_TOOL,
    }
}

fn is_match(pattern: &str, name: &str) -> bool {
    pattern
        .strip_suffix('*')
        .map_or(pattern == name, |prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(name: &str, table: &str, dependency: &str) -> Vec<String> {
        let text = format!("[package]\nname = \"{name}\"\n[{table}]\n{dependency}.workspace = true\n");
        let rooms = [
            "vulcan-api",
            "vulcan-node",
            "vulcan-backend-sandbox",
            "vulcan-static-build",
        ];
        let mut files = vec![("crates/x/Cargo.toml".to_owned(), text)];
        files.extend(rooms.map(|room| {
            (
                format!("crates/{room}/Cargo.toml"),
                format!("[package]\nname = \"{room}\"\n"),
            )
        }));
        let table: String = ROOMS
            .iter()
            .map(|room| format!("| `{}` |\n", room.name))
            .collect();
        files.push((ARCHITECTURE.to_owned(), table));
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        findings(&Tree::of(&files))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_dependency_that_the_table_does_not_have_is_found() {
        assert_eq!(
            messages("vulcan-control", "dependencies", "vulcan-node"),
            [
                "crates/x/Cargo.toml:4: vulcan-control must not depend on vulcan-node: see the table in ARCHITECTURE.md"
            ]
        );
        assert_eq!(messages("vulcan-control", "dependencies", "vulcan-api"), [""; 0]);
    }

    #[test]
    fn the_tests_of_a_room_do_not_reach_further() {
        assert_eq!(
            messages("vulcan-control", "dev-dependencies", "vulcan-backend-sandbox").len(),
            1
        );
        assert_eq!(
            messages("vulcan-system-tests", "dev-dependencies", "vulcan-api"),
            [""; 0]
        );
        assert_eq!(
            messages("vulcan-system-tests", "dependencies", "vulcan-api").len(),
            1
        );
    }

    #[test]
    fn one_backend_does_not_know_another() {
        assert_eq!(
            messages("vulcan-backend-oci", "dependencies", "vulcan-backend-sandbox").len(),
            1
        );
        assert_eq!(
            messages("vulcan", "dependencies", "vulcan-backend-sandbox"),
            [""; 0]
        );
    }

    #[test]
    fn a_crate_that_a_room_must_never_know_is_found() {
        assert_eq!(
            messages("vulcan-guest-protocol", "dependencies", "tokio"),
            [
                "crates/x/Cargo.toml:4: vulcan-guest-protocol must never know tokio: see the table in ARCHITECTURE.md"
            ]
        );
    }

    #[test]
    fn the_build_tool_is_for_build_scripts() {
        assert_eq!(
            messages("vulcan", "build-dependencies", "vulcan-static-build"),
            [""; 0]
        );
        assert_eq!(messages("vulcan", "dependencies", "vulcan-static-build").len(), 1);
    }

    #[test]
    fn a_package_without_a_row_is_found() {
        assert!(messages("vulcan-surprise", "dependencies", "serde")[0].contains("has no row"));
    }

    #[test]
    fn a_room_that_the_architecture_leaves_out_is_found() {
        let tree = Tree::of(&[
            ("crates/api/Cargo.toml", "[package]\nname = \"vulcan-api\"\n"),
            (ARCHITECTURE, "| `vulcan-node` |"),
        ]);
        assert!(
            findings(&tree)[0]
                .to_string()
                .contains("lacks a row for vulcan-api")
        );
    }
}
