//! The nested build.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{dep_info, environment};

/// Builds the binary `bin` of the workspace's `package`, linked statically, and returns its path.
///
/// For build scripts only: it reads what cargo tells them, and prints the lines that make cargo run the script again when a
/// source, a manifest or the lock file changes. Works under `cargo clippy`, with `CARGO_TARGET_DIR`, and without network once
/// the dependencies are fetched. May be called by several build scripts at once: they wait for each other.
///
/// # Panics
///
/// When the build fails, with the command and what the compiler printed; a build script has no better way to fail.
#[must_use]
pub fn static_binary(package: &str, bin: &str) -> PathBuf {
    let root = workspace_root(&path_var("CARGO_MANIFEST_DIR"));
    let target_dir = target_dir(&path_var("OUT_DIR")).join("static");
    let triple = var("TARGET");
    run(&mut command(package, bin, &root, &target_dir, &triple));
    let folder = target_dir.join(triple).join("guest");
    watch(&root, &folder.join(bin).with_extension("d"));
    folder.join(bin)
}

fn command(package: &str, bin: &str, root: &Path, target_dir: &Path, triple: &OsString) -> Command {
    let mut command = Command::new(var("CARGO"));
    command
        .current_dir(root)
        .args([
            "build",
            "--locked",
            "--profile",
            "guest",
            "--package",
            package,
            "--bin",
            bin,
            "--target",
        ])
        .arg(triple)
        .arg("--target-dir")
        .arg(target_dir)
        .env_clear()
        .envs(env::vars_os().filter(|(name, _)| environment::is_kept(name)))
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    command
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("could not start {command:?}: {error}"));
    assert!(
        output.status.success(),
        "could not build a static binary ({}): {command:?}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

fn watch(root: &Path, dep_info_file: &Path) {
    let text = std::fs::read_to_string(dep_info_file)
        .unwrap_or_else(|error| panic!("could not read {}: {error}", dep_info_file.display()));
    let sources = dep_info::sources(&text);
    let manifests = dep_info::manifests(&sources, root);
    for path in sources.iter().chain(&manifests) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    for name in ["Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(name).display());
    }
}

/// Returns the folder that holds everything cargo builds: the one with cargo's `CACHEDIR.TAG`.
///
/// `OUT_DIR` is three or four levels below it, depending on `--target`, so counting would be fragile.
fn target_dir(out_dir: &Path) -> PathBuf {
    out_dir
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())
        .map(Path::to_path_buf)
        .or_else(|| env::var_os("CARGO_TARGET_DIR").map(PathBuf::from))
        .unwrap_or_else(|| panic!("no target folder around {}", out_dir.display()))
}

fn workspace_root(manifest_dir: &Path) -> PathBuf {
    manifest_dir
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file())
        .map(Path::to_path_buf)
        .unwrap_or_else(|| panic!("no Cargo.lock above {}", manifest_dir.display()))
}

fn path_var(name: &str) -> PathBuf {
    PathBuf::from(var(name))
}

fn var(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: call this from a build script"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_folder_is_found_at_any_depth() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("triple/debug/build/crate-0/out");
        std::fs::create_dir_all(&out).unwrap();
        std::fs::write(root.path().join("CACHEDIR.TAG"), "").unwrap();

        assert_eq!(target_dir(&out), root.path());
    }

    #[test]
    fn the_workspace_is_where_the_lock_file_is() {
        let root = tempfile::tempdir().unwrap();
        let member = root.path().join("crates/member");
        std::fs::create_dir_all(&member).unwrap();
        std::fs::write(root.path().join("Cargo.lock"), "").unwrap();

        assert_eq!(workspace_root(&member), root.path());
    }
}
