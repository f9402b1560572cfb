//! What a machine lacks, and the commands that install it.

use std::path::Path;

use vulcan_api::{BackendList, RuntimeInfo};

use crate::{embedded::config_of_environment, failure::Failure, paths};

/// How [`vulcan_api::RuntimeInfo::packages`] marks a package of npm.
const NPM: &str = "npm:";
/// What a server makes its own images with.
const MMDEBSTRAP: &str = "mmdebstrap";

/// The packages that a machine lacks, and the images that a server lacks, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Missing {
    debian: Vec<String>,
    npm: Vec<String>,
    images: Vec<String>,
}

impl Missing {
    /// Gathers what would make the runtimes available that are not.
    pub(super) fn of(list: &BackendList) -> Self {
        let runtimes = list.backends.iter().flat_map(|backend| &backend.runtimes);
        let mut packages: Vec<&String> = runtimes
            .filter(|info| !info.available)
            .flat_map(|info| &info.packages)
            .collect();
        packages.sort_unstable();
        packages.dedup();
        let mut missing = Self::default();
        for name in packages {
            if let Some(name) = name.strip_prefix(NPM) {
                missing.npm.push(name.to_owned());
            } else if let Some(name) = name.strip_prefix(RuntimeInfo::IMAGE) {
                missing.images.push(name.to_owned());
            } else {
                missing.debian.push(name.clone());
            }
        }
        missing
    }

    /// Returns the command that makes the images; `None` where none is missing. It asks a server, and installs nothing.
    pub(super) fn bootstrap(&self) -> Option<String> {
        (!self.images.is_empty()).then(|| format!("vulcan image bootstrap {}", self.images.join(" ")))
    }

    /// Returns the images that are to be made.
    pub(super) fn images(&self) -> &[String] {
        &self.images
    }

    /// Returns a name that no package has.
    pub(super) fn bad_name(&self) -> Option<&str> {
        let names = self.debian.iter().chain(&self.npm);
        names.map(String::as_str).find(|name| !is_package(name))
    }

    /// Returns the commands that install all of it on this machine, in order; none where nothing is missing.
    ///
    /// # Errors
    ///
    /// A [`Failure`] when there is no folder for what comes from npm.
    pub(super) fn commands(&self) -> Result<Vec<Vec<String>>, Failure> {
        let place = paths::data_dir_of(&config_of_environment()?)?;
        let has = |program: &str| {
            std::env::var_os("PATH")
                .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
        };
        Ok(self.commands_for(&Machine {
            place: &place,
            has_npm: has("npm"),
            has_mmdebstrap: has(MMDEBSTRAP),
            is_root: paths::is_root(),
        }))
    }

    fn commands_for(&self, machine: &Machine<'_>) -> Vec<Vec<String>> {
        let mut debian = self.debian.clone();
        if !self.npm.is_empty() && !machine.has_npm {
            debian.push("npm".to_owned());
        }
        if !self.images.is_empty() && !machine.has_mmdebstrap {
            debian.push(MMDEBSTRAP.to_owned());
        }
        let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
        let mut commands = Vec::new();
        if !debian.is_empty() {
            let sudo = if machine.is_root { "" } else { "sudo " };
            commands.push(words(&format!("{sudo}apt-get update")));
            let mut install = words(&format!("{sudo}apt-get install -y --no-install-recommends"));
            install.extend(debian);
            commands.push(install);
        }
        for package in &self.npm {
            let mut install = words("npm install --no-audit --no-fund --prefix");
            install.push(machine.place.join(package).display().to_string());
            install.push(package.clone());
            commands.push(install);
        }
        commands
    }
}

/// What decides how it is installed.
#[derive(Debug, Clone, Copy)]
struct Machine<'a> {
    /// The folder for what comes from npm.
    place: &'a Path,
    has_npm: bool,
    has_mmdebstrap: bool,
    is_root: bool,
}

/// Whether it is a package as apt takes it: a name, with the release behind a slash where that is not the machine's own.
fn is_package(name: &str) -> bool {
    match name.split_once('/') {
        Some((name, release)) => is_name(name) && is_name(release),
        None => is_name(name),
    }
}

/// Debian Policy 5.6.7: lower-case letters, digits, plus, minus and full stops, at least two, not beginning with a sign. Names
/// of releases are within that.
fn is_name(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(debian: &[&str], npm: &[&str]) -> Missing {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Missing {
            debian: owned(debian),
            npm: owned(npm),
            images: Vec::new(),
        }
    }

    /// A machine with everything that installs and makes, for root.
    fn machine() -> Machine<'static> {
        Machine {
            place: Path::new("/data"),
            has_npm: true,
            has_mmdebstrap: true,
            is_root: true,
        }
    }

    fn text(missing: &Missing, machine: Machine<'_>) -> String {
        let commands = missing.commands_for(&machine);
        let lines: Vec<String> = commands.iter().map(|command| command.join(" ")).collect();
        lines.join("\n")
    }

    #[test]
    fn each_source_has_its_own_command() {
        insta::assert_snapshot!(text(&missing(&["esbuild", "python3"], &["deno"]), Machine { is_root: false, ..machine() }), @r"
        sudo apt-get update
        sudo apt-get install -y --no-install-recommends esbuild python3
        npm install --no-audit --no-fund --prefix /data/deno deno
        ");
    }

    #[test]
    fn npm_itself_comes_first_where_it_is_missing() {
        insta::assert_snapshot!(text(&missing(&[], &["deno"]), Machine { has_npm: false, ..machine() }), @r"
        apt-get update
        apt-get install -y --no-install-recommends npm
        npm install --no-audit --no-fund --prefix /data/deno deno
        ");
        assert_eq!(
            text(
                &missing(&[], &[]),
                Machine {
                    has_npm: false,
                    ..machine()
                }
            ),
            ""
        );
    }

    #[test]
    fn images_need_what_makes_them_and_a_server() {
        let missing = Missing {
            debian: vec!["crun".to_owned(), "runsc/bookworm-backports".to_owned()],
            npm: Vec::new(),
            images: vec!["vulcan/python:latest".to_owned()],
        };
        insta::assert_snapshot!(text(&missing, Machine { has_mmdebstrap: false, ..machine() }), @r"
        apt-get update
        apt-get install -y --no-install-recommends crun runsc/bookworm-backports mmdebstrap
        ");
        assert!(!text(&missing, machine()).contains(MMDEBSTRAP));
        assert_eq!(
            missing.bootstrap().as_deref(),
            Some("vulcan image bootstrap vulcan/python:latest")
        );
    }

    #[test]
    fn a_name_that_could_be_more_than_a_name_is_refused() {
        for bad in [
            "--version",
            "a b",
            "x;y",
            "A",
            "../x",
            "runsc/-t",
            "runsc/a/b",
            "/etc",
            "",
        ] {
            assert_eq!(missing(&["bash"], &[bad]).bad_name(), Some(bad));
        }
        assert_eq!(
            missing(&["golang-go", "g++", "runsc/bookworm-backports"], &["deno"]).bad_name(),
            None
        );
    }
}
