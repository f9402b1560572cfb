//! Where Deno is, and what it makes of the host script.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;
use vulcan_host::launcher::{Placed, ViewFile};
use vulcan_slots::ViewParts;

use crate::{
    Options,
    command::{DENO_PATH, HOST_FOLDER},
    host_script::{MODULES, STRIP},
};

/// How to get it, for whoever has not.
const ADVICE: &str = "install the npm package deno: npm install --prefix <data directory>/deno deno";
/// The package with the executable for this machine; `deno` itself only starts it through Node.
#[cfg(target_arch = "x86_64")]
const PACKAGE: &str = "@deno/linux-x64-glibc/deno";
#[cfg(target_arch = "aarch64")]
const PACKAGE: &str = "@deno/linux-arm64-glibc/deno";

/// Deno on this host, ready to be put into slots.
#[derive(Debug)]
pub(crate) struct Deno {
    /// Its version: "2.9.6".
    pub(crate) version: String,
    /// Its executable and the host script.
    pub(crate) view: ViewParts,
}

/// What the stripping script prints.
#[derive(Deserialize)]
struct Stripped {
    version: String,
    modules: BTreeMap<String, String>,
}

impl Deno {
    /// Finds Deno, and has it make JavaScript of the host script. Blocks: it runs Deno once, some 50 ms.
    ///
    /// # Errors
    ///
    /// What is missing, and how to get it, in words.
    pub(crate) fn find(options: &Options) -> Result<Self, String> {
        let executable = locate(options)?;
        let stripped = strip(&executable)?;
        let files = stripped.modules.into_iter().map(|(name, text)| ViewFile {
            at: format!("{HOST_FOLDER}/{name}.js").into(),
            text,
        });
        Ok(Self {
            version: stripped.version,
            view: ViewParts {
                files: files.collect(),
                placed: vec![Placed {
                    from: executable,
                    at: DENO_PATH.into(),
                }],
            },
        })
    }
}

/// Returns the first Deno that is an executable.
fn locate(options: &Options) -> Result<PathBuf, String> {
    if let Some(path) = &options.deno {
        return executable_of(path)
            .ok_or_else(|| format!("{} is not an executable of Deno; {ADVICE}", path.display()));
    }
    let installed = options
        .data_dir
        .iter()
        .map(|folder| folder.join("deno/node_modules").join(PACKAGE));
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|folder| folder.join("deno"));
    installed
        .chain(on_path)
        .find_map(|path| executable_of(&path))
        .ok_or_else(|| format!("Deno is neither in the data directory nor on PATH; {ADVICE}"))
}

/// Follows links, and npm's starter to the executable that it starts.
fn executable_of(path: &Path) -> Option<PathBuf> {
    let path = fs::canonicalize(path).ok()?;
    if is_elf(&path) {
        return Some(path);
    }
    let beside = path.ancestors().map(|folder| folder.join(PACKAGE));
    beside
        .filter_map(|path| fs::canonicalize(path).ok())
        .find(|path| is_elf(path))
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    path.is_file()
        && fs::File::open(path)
            .and_then(|mut file| file.read_exact(&mut magic))
            .is_ok_and(|()| magic == *b"\x7fELF")
}

fn strip(executable: &Path) -> Result<Stripped, String> {
    let unusable = |why: &dyn std::fmt::Display| format!("{} cannot be used: {why}", executable.display());
    let mut child = Command::new(executable)
        .args([
            "run",
            "--quiet",
            "--no-remote",
            "--no-npm",
            "--no-config",
            "--no-lock",
        ])
        .args(["--no-prompt", "--no-code-cache", "-"])
        .env_clear()
        .envs([("NO_COLOR", "1"), ("DENO_NO_UPDATE_CHECK", "1")])
        // Nothing is kept: where it would be, nothing can be made.
        .envs([("HOME", "/"), ("DENO_DIR", "/dev/null/deno")])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| unusable(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read says so by its end.
        let _ = stdin.write_all(script().as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| unusable(&error))?;
    serde_json::from_slice(&output.stdout).map_err(|_| unusable(&first_lines(&output.stderr)))
}

fn script() -> String {
    let modules: BTreeMap<&str, &str> = MODULES
        .iter()
        .map(|module| (module.name, module.source))
        .collect();
    let modules = serde_json::to_string(&modules).expect("texts can be written as JSON");
    format!("const MODULES = {modules};\n{STRIP}")
}

fn first_lines(stderr: &[u8]) -> String {
    const CHARS_MAX: usize = 300;
    let text = String::from_utf8_lossy(stderr);
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_executable_is_refused_with_advice() {
        let options = Options {
            deno: Some("/etc/hostname".into()),
            ..Options::new("x")
        };
        let reason = Deno::find(&options).unwrap_err();
        assert!(reason.contains("npm install --prefix"), "{reason}");
    }

    #[test]
    fn a_program_that_is_not_deno_cannot_be_used() {
        let options = Options {
            deno: Some("/bin/true".into()),
            ..Options::new("x")
        };
        let reason = Deno::find(&options).unwrap_err();
        assert!(reason.contains("cannot be used"), "{reason}");
    }

    #[test]
    fn the_layout_of_npm_is_found_in_the_data_directory_and_through_its_starter() {
        let data = tempfile::tempdir().unwrap();
        let modules = data.path().join("deno/node_modules");
        let real = modules.join(PACKAGE);
        fs::create_dir_all(real.parent().unwrap()).unwrap();
        fs::copy("/bin/true", &real).unwrap();
        let starter = modules.join("deno/bin.cjs");
        fs::create_dir_all(starter.parent().unwrap()).unwrap();
        fs::write(&starter, "#!/usr/bin/env node\n").unwrap();
        let real = fs::canonicalize(real).unwrap();
        let options = Options {
            data_dir: Some(data.path().to_owned()),
            ..Options::new("x")
        };

        assert_eq!(locate(&options), Ok(real.clone()));
        assert_eq!(executable_of(&starter), Some(real));
    }
}
