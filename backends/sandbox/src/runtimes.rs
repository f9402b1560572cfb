//! Which interpreters the host has where instances can see them.

use std::{path::Path, process::Command};

use vulcan_api::{Runtime, RuntimeInfo};
use vulcan_backend::Readying;

/// What one runtime needs: any one of some programs, and the Debian package that brings it.
struct Need {
    runtime: Runtime,
    programs: &'static [&'static str],
    version_argument: &'static str,
    package: &'static str,
}

const NEEDS: [Need; 4] = [
    Need {
        runtime: Runtime::Python,
        programs: &["/usr/bin/python3"],
        version_argument: "--version",
        package: "python3",
    },
    Need {
        runtime: Runtime::Node,
        programs: &[
            "/usr/bin/node",
            "/usr/local/bin/node",
            "/usr/bin/deno",
            "/usr/local/bin/deno",
        ],
        version_argument: "--version",
        package: "nodejs",
    },
    Need {
        runtime: Runtime::Bash,
        programs: &["/bin/bash"],
        version_argument: "--version",
        package: "bash",
    },
    Need {
        runtime: Runtime::Go,
        programs: &["/usr/bin/go", "/usr/lib/go/bin/go", "/usr/local/go/bin/go"],
        version_argument: "version",
        package: "golang-go",
    },
];
/// Programs that strip types where Node does not (before 22.6).
const TYPE_STRIPPERS: [&str; 4] = [
    "/usr/bin/esbuild",
    "/usr/local/bin/esbuild",
    "/usr/bin/deno",
    "/usr/local/bin/deno",
];
const NODE_THAT_STRIPS: (u32, u32) = (22, 6);

/// Node proper: its substitute, Deno, is not started ahead.
const NODE: [&str; 2] = ["/usr/bin/node", "/usr/local/bin/node"];

/// Returns what the agent can have ready for which runtime.
pub(crate) fn readying() -> Vec<Readying> {
    let python = Readying {
        runtime: Runtime::Python,
        blank: Some(Runtime::Python),
        warm: true,
        forked: true,
    };
    let has_node = NODE.iter().any(|program| Path::new(program).exists());
    let node = [Runtime::Node, Runtime::Typescript].map(|runtime| Readying {
        runtime,
        blank: Some(Runtime::Node),
        warm: true,
        forked: false,
    });
    [python]
        .into_iter()
        .chain(node.into_iter().filter(|_| has_node))
        .collect()
}

/// Looks for every runtime. Blocks: it asks each interpreter for its version.
pub(crate) fn detect() -> Vec<RuntimeInfo> {
    let mut found: Vec<RuntimeInfo> = NEEDS.iter().map(look_for).collect();
    let node = found.iter().find(|info| info.runtime == Runtime::Node).cloned();
    found.extend(node.map(|node| typescript(&node)));
    found.push(RuntimeInfo {
        runtime: Runtime::Binary,
        available: true,
        detail: "any static executable for this machine".to_owned(),
        packages: Vec::new(),
    });
    found.sort_by_key(|info| info.runtime);
    found
}

fn look_for(need: &Need) -> RuntimeInfo {
    let version = need
        .programs
        .iter()
        .find_map(|program| version_of(program, need.version_argument));
    info(
        need.runtime,
        version,
        &format!("{} is not installed", need.programs[0]),
        need.package,
    )
}

fn info(runtime: Runtime, version: Option<String>, missing: &str, package: &str) -> RuntimeInfo {
    let available = version.is_some();
    RuntimeInfo {
        runtime,
        available,
        detail: version.unwrap_or_else(|| missing.to_owned()),
        packages: if available {
            Vec::new()
        } else {
            vec![package.to_owned()]
        },
    }
}

fn typescript(node: &RuntimeInfo) -> RuntimeInfo {
    let runtime = Runtime::Typescript;
    if !node.available {
        return RuntimeInfo {
            runtime,
            ..node.clone()
        };
    }
    if strips_types(&node.detail) {
        return RuntimeInfo {
            runtime,
            detail: format!("{} strips types itself", node.detail),
            ..node.clone()
        };
    }
    let stripper = TYPE_STRIPPERS.iter().find(|program| Path::new(program).exists());
    let version = stripper.map(|program| format!("{}, types stripped by {program}", node.detail));
    info(
        runtime,
        version,
        &format!("{} cannot strip types, and esbuild is not installed", node.detail),
        "esbuild",
    )
}

fn strips_types(version: &str) -> bool {
    let mut numbers = version
        .trim_start_matches('v')
        .split('.')
        .map_while(|number| number.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) >= NODE_THAT_STRIPS)
}

/// Returns the first line of what a program says of its version, with an empty environment.
fn version_of(program: &str, argument: &str) -> Option<String> {
    const CHARS_MAX: usize = 100;
    if !Path::new(program).exists() {
        return None;
    }
    let output = Command::new(program)
        .arg(argument)
        .env_clear()
        .env("HOME", "/")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(
        text.lines()
            .next()
            .unwrap_or("unknown version")
            .chars()
            .take(CHARS_MAX)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_strips_types_since_22_6() {
        assert_eq!(
            ["v20.20.2", "v22.5.9", "v22.6.0", "v23.0.0", "nonsense"].map(strips_types),
            [false, false, true, true, false]
        );
    }

    #[test]
    fn every_runtime_of_processes_is_reported_once() {
        let found: Vec<Runtime> = detect().iter().map(|info| info.runtime).collect();
        let of_processes = Runtime::ALL
            .into_iter()
            .filter(|runtime| !matches!(runtime, Runtime::Wasm | Runtime::Image));
        assert_eq!(found, Vec::from_iter(of_processes));
    }
}
